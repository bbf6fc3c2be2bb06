//! Entry points: a step with fixed sizes as a function of a module.

use crate::dimensions::{PAGE, ROW, SEQUENCE, TOKEN, VOCABULARY};
use crate::kernels::Addresses;
use crate::step::Inputs;
use crate::{Decoder, ModelError, ParamEntry, Step};
use stablemate_graph::{Builder, Direction, ElementType, Module, ModuleBuilder, TensorType, Value};

/// `L`: tokens of a cache block.
pub const BLOCK_LENGTH: usize = 16;

/// The fixed sizes of a step. Shorter work is padded: tokens at position -1, rows -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket {
    /// `T`.
    pub tokens: usize,
    /// `S`.
    pub sequences: usize,
    /// `R`.
    pub rows: usize,
    /// `M`: blocks that a sequence may have.
    pub pages: usize,
    /// `B`: blocks of the pools, the reserved block 0 among them.
    pub blocks: usize,
    /// `N`: slots of per-sequence state, the reserved slot 0 among them. Texts of models without
    /// per-sequence state do not depend on it.
    pub slots: usize,
}

impl Bucket {
    /// `tokens` of one sequence of at most `context` tokens, logits of one of them.
    pub fn prefill(tokens: usize, context: usize) -> Self {
        let pages = context.div_ceil(BLOCK_LENGTH);
        Self { tokens, sequences: 1, rows: 1, pages, blocks: pages + 1, slots: 2 }
    }

    /// One token of each of `sequences` of at most `context` tokens, logits of all.
    pub fn decode(sequences: usize, context: usize) -> Self {
        let pages = context.div_ceil(BLOCK_LENGTH);
        let blocks = pages * sequences + 1;
        let slots = sequences + 1;
        Self { tokens: sequences, sequences, rows: sequences, pages, blocks, slots }
    }
}

/// What a step returns besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// `[R, V]` f32.
    Logits,
    /// `[R]` i32: the token of the largest logit, the first of equals.
    Argmax,
    /// `[R, D]` f32: the stream after the last norm, from which logits are made.
    Vectors,
}

/// A named function of a module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryPoint {
    /// Symbol.
    pub name: String,
    /// Sizes.
    pub bucket: Bucket,
    /// What it returns.
    pub output: Output,
}

/// The arguments of every step that come before state and parameters, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepArgument {
    /// `[T]` i32: token ids.
    Tokens,
    /// `[T]` i32: positions in the sequence; -1 marks padding.
    Positions,
    /// `[T]` i32: rows of the block table.
    Sequences,
    /// `[S, M]` i32: blocks of each sequence.
    BlockTables,
    /// `[S]` i32: the state slot of each row of the block table; 0 for unused rows. Only where a
    /// model keeps per-sequence state.
    Slots,
    /// `[R]` i32: the tokens whose logits are returned; -1 marks padding, whose logits mean nothing.
    Rows,
    /// `[T]` i32: the length of the sequence the token was given with; only where a model needs it.
    Lengths,
}

impl StepArgument {
    /// The arguments of this model's steps, in order.
    pub fn of(decoder: &Decoder) -> Vec<Self> {
        let mut all = vec![Self::Tokens, Self::Positions, Self::Sequences, Self::BlockTables];
        if decoder.has_sequence_state() {
            all.push(Self::Slots);
        }
        all.push(Self::Rows);
        if decoder.needs_lengths {
            all.push(Self::Lengths);
        }
        all
    }

    /// Name in the graph.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Positions => "positions",
            Self::Sequences => "sequences",
            Self::BlockTables => "block_tables",
            Self::Slots => "state_slots",
            Self::Rows => "rows",
            Self::Lengths => "lengths",
        }
    }

    /// Type in a bucket.
    pub fn ty(self, bucket: &Bucket) -> TensorType {
        let dimensions = match self {
            Self::Tokens | Self::Positions | Self::Sequences | Self::Lengths => {
                vec![TOKEN.of(bucket.tokens)]
            }
            Self::BlockTables => vec![SEQUENCE.of(bucket.sequences), PAGE.of(bucket.pages)],
            Self::Slots => vec![SEQUENCE.of(bucket.sequences)],
            Self::Rows => vec![ROW.of(bucket.rows)],
        };
        TensorType::new(ElementType::I32, dimensions)
    }
}

impl Decoder {
    /// The type of a state tensor in a bucket.
    pub fn state_types(&self, bucket: &Bucket) -> Vec<TensorType> {
        self.states.iter().map(|entry| entry.ty(bucket, BLOCK_LENGTH)).collect()
    }

    /// The module of these entry points. Arguments of each: the [`StepArgument`]s, the state, the
    /// parameters; results: the output, then the state, which overwrites its argument.
    ///
    /// # Errors
    /// Sizes in the configuration that do not fit together.
    pub fn module(&self, entries: &[EntryPoint]) -> Result<Module, ModelError> {
        let module = ModuleBuilder::new(&self.model_type);
        for entry in entries {
            self.build(&module.function(&entry.name), entry)?;
        }
        Ok(module.finish()?)
    }

    fn build(&self, builder: &Builder<'_>, entry: &EntryPoint) -> Result<(), ModelError> {
        let argument =
            |which: StepArgument| builder.argument(which.name(), which.ty(&entry.bucket));
        let inputs: Vec<(StepArgument, Value<'_>)> =
            StepArgument::of(self).into_iter().map(|which| (which, argument(which))).collect();
        let states: Vec<Value<'_>> = self
            .state_types(&entry.bucket)
            .into_iter()
            .zip(&self.states)
            .enumerate()
            .map(|(n, (ty, state))| {
                let value = builder.argument(&state.name, ty);
                builder.alias(value, n + 1);
                value
            })
            .collect();
        let argument = |entry: &ParamEntry| builder.argument(&entry.name, entry.argument());
        let params =
            self.params.entries().iter().map(|entry| (argument(entry), entry.clone())).collect();
        let find = |which| inputs.iter().find(|(w, _)| *w == which).map(|(_, value)| *value);
        let [Some(tokens), Some(positions), Some(sequences), Some(block_tables), Some(rows)] = [
            find(StepArgument::Tokens),
            find(StepArgument::Positions),
            find(StepArgument::Sequences),
            find(StepArgument::BlockTables),
            find(StepArgument::Rows),
        ] else {
            unreachable!("every step has these arguments")
        };
        let inputs = Inputs {
            tokens,
            addresses: Addresses { positions, sequences, block_tables },
            slots: find(StepArgument::Slots),
            lengths: find(StepArgument::Lengths),
        };
        let step = Step::new(builder, inputs, entry.bucket.blocks, states, params);
        if self.cache_element().is_some() {
            // Made here, the places stand before all layers in the text.
            step.places();
        }
        let stream = self.stream(&step);
        let output = match entry.output {
            Output::Logits => ("logits", self.logits(&step, stream, rows)),
            Output::Argmax => ("token_ids", argmax(self.logits(&step, stream, rows))),
            Output::Vectors => ("vectors", self.vectors(&step, stream, rows)),
        };
        let states = step.states();
        let names = self.states.iter().map(|state| state.name.as_str());
        let mut results = vec![output];
        results.extend(names.zip(states));
        Ok(builder.finish(&results)?)
    }
}

/// `logits [R, V]` → `[R]` i32: the index of the largest, the first of equals.
fn argmax(logits: Value<'_>) -> Value<'_> {
    let builder = logits.builder();
    let _scope = builder.scope("argmax");
    let dimensions = logits.ty().dimensions;
    let largest = logits.compare(Direction::Ge, logits.max(VOCABULARY));
    let index = builder.iota(VOCABULARY.of(logits.size(VOCABULARY))).broadcast(&dimensions);
    let none = builder.integer(i32::MAX).broadcast(&dimensions);
    largest.select(index, none).min(VOCABULARY).named("token_ids")
}
