//! Runs steps on a device: the engine's [`Runner`].

use crate::{Progress, ProgressSink};
use stablemate_engine::{Runner, StepInput};
use stablemate_models::{BLOCK_LENGTH, Bucket, Decoder, EntryPoint, Output, StepArgument};
use stablemate_runtime::{Buffer, Device, REVISION, Session, Target, Toolchain, VmfbCache};
use std::collections::HashMap;
use std::path::PathBuf;
use thiserror::Error;

/// What can go wrong while steps are compiled and run.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// Building the graph.
    #[error(transparent)]
    Model(#[from] stablemate_models::ModelError),
    /// Compiling or running.
    #[error(transparent)]
    Runtime(#[from] stablemate_runtime::Error),
    /// A step that does not fit the room reserved for it; a bug of the caller.
    #[error("the step does not fit: {message}")]
    Step {
        /// What does not fit.
        message: String,
    },
    /// A tensor changed between being described and being read.
    #[error("tensor {tensor:?} is stored differently than when the checkpoint was opened")]
    Inconsistent {
        /// Its name.
        tensor: String,
    },
}

/// `T` of the steps that are compiled; work is padded to the next. Few, since each costs seconds to
/// compile; 1 since most steps are single tokens.
const STEP_TOKENS: [usize; 3] = [1, 16, 128];

/// Tokens of context that a step is compiled for: powers of two of these, up to the model's own.
const LEAST_CONTEXT: usize = 512;

/// How steps become programs.
pub(crate) struct Programs {
    pub cache: VmfbCache,
    pub data: PathBuf,
    pub target: Target,
    pub progress: ProgressSink,
}

/// A model with its weights and cache on a device.
pub struct Executor {
    device: Device,
    decoder: Decoder,
    arguments: Vec<StepArgument>,
    programs: Programs,
    sessions: HashMap<Bucket, Session>,
    weights: Vec<Buffer>,
    pools: Vec<Buffer>,
    /// `M` and `B` of the steps to come.
    pages: usize,
    blocks: usize,
    context: usize,
}

impl Executor {
    pub(crate) fn new(
        device: Device,
        decoder: Decoder,
        programs: Programs,
        weights: Vec<Buffer>,
        context: usize,
    ) -> Self {
        let arguments = StepArgument::of(&decoder);
        let (sessions, pools) = (HashMap::new(), Vec::new());
        let (pages, blocks) = (0, 0);
        Self {
            device,
            decoder,
            arguments,
            programs,
            sessions,
            weights,
            pools,
            pages,
            blocks,
            context,
        }
    }

    /// The model.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    fn bucket(
        &self,
        tokens: usize,
        sequences: usize,
        rows: usize,
    ) -> Result<Bucket, ExecutorError> {
        let Some(tokens) = STEP_TOKENS.into_iter().find(|size| *size >= tokens) else {
            return Err(misfit(format!(
                "{tokens} tokens, at most {} are possible",
                self.step_tokens()
            )));
        };
        Ok(Bucket {
            tokens,
            sequences: sequences.max(1).next_power_of_two(),
            rows: rows.max(1).next_power_of_two(),
            pages: self.pages,
            blocks: self.blocks,
        })
    }

    /// Compiles what is missing, several at a time, and loads it.
    fn prepare(&mut self, buckets: &[Bucket]) -> Result<(), ExecutorError> {
        let mut missing: Vec<Bucket> = Vec::new();
        for bucket in buckets {
            if !self.sessions.contains_key(bucket) && !missing.contains(bucket) {
                missing.push(*bucket);
            }
        }
        let compiled: Vec<Result<PathBuf, ExecutorError>> = std::thread::scope(|scope| {
            let this = &*self;
            let threads: Vec<_> =
                missing.iter().map(|bucket| scope.spawn(move || this.program(bucket))).collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        for (bucket, path) in missing.into_iter().zip(compiled) {
            let session = Session::load(&self.device, &path?)?;
            self.sessions.insert(bucket, session);
        }
        Ok(())
    }

    /// The compiled step of a bucket: from the cache, or compiled now.
    fn program(&self, bucket: &Bucket) -> Result<PathBuf, ExecutorError> {
        let entry = EntryPoint { name: STEP.to_string(), bucket: *bucket, output: Output::Logits };
        let text = self.decoder.module(&[entry])?.to_string();
        let Programs { cache, data, target, progress } = &self.programs;
        if let Some(path) = cache.lookup(&text, target, REVISION)? {
            return Ok(path);
        }
        let toolchain = Toolchain::at(data)?;
        let what =
            format!("step of {} tokens, context {}", bucket.tokens, bucket.pages * BLOCK_LENGTH);
        progress(Progress::CompileBegin { what: what.clone() });
        let compiled = cache.compile(&toolchain, &text, target);
        progress(Progress::CompileEnd { what });
        Ok(compiled?.path)
    }

    /// Arguments of a step, padded to its bucket.
    fn inputs(&self, step: &StepInput<'_>, bucket: &Bucket) -> Result<Vec<Buffer>, ExecutorError> {
        let values = |argument| match argument {
            StepArgument::Tokens => padded(step.tokens, bucket.tokens, 0),
            StepArgument::Positions => padded(step.positions, bucket.tokens, -1),
            StepArgument::Sequences => padded(step.sequences, bucket.tokens, 0),
            StepArgument::Lengths => padded(step.lengths, bucket.tokens, 0),
            StepArgument::Rows => padded(step.rows, bucket.rows, 0),
            StepArgument::BlockTables => {
                let rows = step.block_tables.iter();
                let mut values: Vec<i32> =
                    rows.flat_map(|table| padded(table, bucket.pages, 0)).collect();
                values.resize(bucket.sequences * bucket.pages, 0);
                values
            }
        };
        let buffer = |argument: &StepArgument| {
            let sizes = argument.ty(bucket).sizes();
            Ok(Buffer::from_slice(&self.device, &sizes, &values(*argument))?)
        };
        self.arguments.iter().map(buffer).collect()
    }

    fn check(&self, step: &StepInput<'_>) -> Result<(), ExecutorError> {
        let tokens = step.tokens.len();
        let expect = |holds: bool, message: &str| {
            if holds { Ok(()) } else { Err(misfit(message.to_string())) }
        };
        expect(tokens > 0, "there are no tokens")?;
        let per_token = [step.positions.len(), step.sequences.len(), step.lengths.len()];
        expect(per_token == [tokens; 3], "per-token inputs differ in length")?;
        expect(step.rows.iter().all(|row| (*row as usize) < tokens), "a row is no token's")?;
        let vocabulary = self.decoder.vocabulary;
        let known = step.tokens.iter().all(|token| (*token as usize) < vocabulary);
        expect(known, "a token is not in the vocabulary")?;
        for table in step.block_tables {
            expect(table.len() <= self.pages, "a sequence has more blocks than are reserved")?;
            let reserved = |block: &u32| *block > 0 && (*block as usize) < self.blocks;
            expect(table.iter().all(reserved), "a block is outside the reserved room")?;
        }
        for (position, sequence) in step.positions.iter().zip(step.sequences) {
            let table = step.block_tables.get(*sequence as usize).map_or(0, Vec::len);
            let room = (*position as usize) < table * BLOCK_LENGTH;
            expect(room, "a token has no block in its sequence")?;
        }
        Ok(())
    }

    /// Larger pools with the content of the present ones.
    fn grow(&mut self, pages: usize, blocks: usize) -> Result<(), ExecutorError> {
        let bucket = Bucket { tokens: 1, sequences: 1, rows: 1, pages, blocks };
        let mut pools = Vec::with_capacity(self.decoder.states.len());
        for (n, ty) in self.decoder.state_types(&bucket).into_iter().enumerate() {
            let old = self.pools.get(n);
            let pool = self.device.buffer(ty.element, &ty.sizes(), |bytes| {
                let kept = old.map_or(0, Buffer::bytes);
                if let Some(old) = old {
                    old.read_into::<f32>(0, bytemuck::cast_slice_mut(&mut bytes[..kept]))?;
                }
                Ok::<(), ExecutorError>(())
            })?;
            pools.push(pool);
        }
        (self.pools, self.pages, self.blocks) = (pools, pages, blocks);
        // Programs of other sizes cannot run on these pools again.
        self.sessions.clear();
        Ok(())
    }
}

/// The entry point's name in the programs compiled here.
const STEP: &str = "step";

fn misfit(message: String) -> ExecutorError {
    ExecutorError::Step { message }
}

/// `values` as i32, followed by as many `padding` as are missing from `length`.
fn padded(values: &[u32], length: usize, padding: i32) -> Vec<i32> {
    let mut padded: Vec<i32> = values.iter().map(|value| *value as i32).collect();
    padded.resize(length, padding);
    padded
}

impl Runner for Executor {
    type Error = ExecutorError;

    fn vocabulary(&self) -> usize {
        self.decoder.vocabulary
    }

    fn context(&self) -> usize {
        self.context
    }

    fn block_length(&self) -> usize {
        BLOCK_LENGTH
    }

    fn step_tokens(&self) -> usize {
        STEP_TOKENS.into_iter().max().unwrap_or(1)
    }

    fn reuses_prefixes(&self) -> bool {
        !self.decoder.needs_lengths()
    }

    fn reserve(&mut self, sequences: usize, tokens: usize) -> Result<(), ExecutorError> {
        let context = tokens.next_power_of_two().max(LEAST_CONTEXT).min(self.context.max(tokens));
        let pages = context.div_ceil(BLOCK_LENGTH).max(self.pages);
        let blocks = (pages * sequences.max(1) + 1).max(self.blocks);
        if (pages, blocks) != (self.pages, self.blocks) {
            self.grow(pages, blocks)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, ExecutorError> {
        self.check(step)?;
        let bucket = self.bucket(step.tokens.len(), step.block_tables.len(), step.rows.len())?;
        // After a prompt, single tokens will follow: their program is compiled beside the prompt's.
        let next = self.bucket(1, step.block_tables.len(), 1)?;
        self.prepare(&[bucket, next])?;
        let inputs = self.inputs(step, &bucket)?;
        let arguments: Vec<&Buffer> =
            inputs.iter().chain(&self.pools).chain(&self.weights).collect();
        let Some(session) = self.sessions.get(&bucket) else {
            return Err(misfit("its program is missing".to_string()));
        };
        let mut results = session.call(STEP, &arguments)?;
        let pools = results.split_off(1);
        self.pools = pools;
        if step.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut logits: Vec<f32> = results.remove(0).read()?;
        logits.truncate(step.rows.len() * self.decoder.vocabulary);
        Ok(logits)
    }
}
