//! A decoder-only language model, described.

use crate::dimensions::{MODEL, TOKEN};
use crate::parts::{Block, Norm};
use crate::{CacheElement, ModelError};
use crate::{Param, ParamTable, StateEntry, StateKind, Step, families, kernels};
use stablemate_checkpoint::RawConfig;
use stablemate_graph::Value;

/// Name of an untied head beside the model's own tensors.
pub const HEAD: &str = "lm_head.weight";

/// Token embedding: `norm(table[token] · scale + positions[position])`.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// `[V, D]`.
    pub table: Param,
    /// Multiplies the rows.
    pub scale: Option<f32>,
    /// `[P, D]`: learned positions, whose row for position 0 is the first after `offset`.
    pub positions: Option<LearnedPositions>,
    /// Normalises the sum.
    pub norm: Option<Norm>,
}

/// Learned positions.
#[derive(Clone, Copy, Debug)]
pub struct LearnedPositions {
    /// `[P, D]`.
    pub table: Param,
    /// Rows before that of position 0.
    pub offset: usize,
}

impl Embedding {
    /// Rows of `table` as they are.
    pub fn new(table: Param) -> Self {
        Self { table, scale: None, positions: None, norm: None }
    }

    /// Tokens `[T]` to `[T, D]`.
    fn forward<'b>(&self, step: &Step<'b>) -> Value<'b> {
        let _scope = step.scope("embedding");
        let rows = kernels::embed(step.weight(self.table), step.tokens());
        let rows = match self.scale {
            Some(scale) => rows * f64::from(scale),
            None => rows,
        };
        let rows = match self.positions {
            Some(LearnedPositions { table, offset }) => {
                let positions = step.addresses().positions;
                let inside = positions.maximum(step.builder().integer(0)) + offset as f64;
                rows + kernels::embed(step.weight(table), inside)
            }
            None => rows,
        };
        self.norm.map_or(rows, |norm| norm.forward(step, rows, MODEL))
    }
}

/// Computed once from tokens and their embedding, and read by every layer (Gemma 4's per-layer
/// embeddings).
pub trait Side: std::fmt::Debug + Send + Sync {
    /// `embedded [T, D]` to a value that layers find in [`Step::side`].
    fn forward<'b>(&self, step: &Step<'b>, embedded: Value<'b>) -> Value<'b>;
    /// One line for descriptions.
    fn describe(&self) -> String;
}

/// A description: everything a graph is built from. Schedules are expanded: each layer holds its own
/// window, rotation and network.
#[derive(Debug)]
pub struct Decoder {
    /// Hugging Face's `model_type`.
    pub model_type: String,
    /// `V`.
    pub vocabulary: usize,
    /// `D`.
    pub hidden: usize,
    /// Tokens of the longest sequence, if the configuration says.
    pub context: Option<usize>,
    /// First.
    pub embedding: Embedding,
    /// In order.
    pub layers: Vec<Box<dyn Block>>,
    /// After the last layer.
    pub norm: Norm,
    /// `[V, D]`; the embedding's table if tied.
    pub head: Param,
    /// `[V]`, added to the logits.
    pub head_bias: Option<Param>,
    /// Read by all layers beside the stream.
    pub side: Option<Box<dyn Side>>,
    /// Multiplies the logits.
    pub logit_scale: Option<f32>,
    /// Logits are bounded by `cap · tanh(logit / cap)`.
    pub logit_softcap: Option<f32>,
    /// Parameters, in the order of the graph's arguments.
    pub params: ParamTable,
    /// State, in the order of the graph's arguments and results.
    pub states: Vec<StateEntry>,
    /// Whether a step needs the length of each token's sequence.
    pub needs_lengths: bool,
    /// The longest sequence whose cache stays right when it grows: beyond, all of it is computed again
    /// with its new length.
    pub recomputed_beyond: Option<usize>,
}

impl Decoder {
    /// Describes the model of a configuration.
    ///
    /// # Errors
    /// An unknown family, values a family cannot honour, and keys that nobody read.
    pub fn describe(config: &RawConfig) -> Result<Self, ModelError> {
        let decoder = families::describe(config)?;
        config.finish()?;
        Ok(decoder)
    }

    /// Positions that the embedding has rows for, if positions are learned.
    pub fn learned_positions(&self) -> Option<usize> {
        let LearnedPositions { table, offset } = self.embedding.positions?;
        Some(self.params.entry(table).ty.sizes().first()?.saturating_sub(offset))
    }

    /// Whether the head is the embedding's table.
    pub fn tied(&self) -> bool {
        self.head == self.embedding.table
    }

    /// Gives the model a head of its own, `lm_head.weight`, although its configuration says "tied". The
    /// reference does so where a checkpoint holds a head that differs from the embedding.
    pub fn untie(&mut self) {
        let shape = self.params.entry(self.embedding.table).ty.dimensions.clone();
        let name = self.params.outer(HEAD);
        self.head = self.params.declare(name, shape, Vec::new(), false);
    }

    /// Holds the cache of keys and values as `chosen`; f32 until this is called. Per-sequence state
    /// stays f32.
    pub fn set_cache_element(&mut self, chosen: CacheElement) {
        for state in &mut self.states {
            if let StateKind::Paged { element, .. } = &mut state.kind {
                *element = chosen;
            }
        }
    }

    /// How the cache of keys and values is held; `None` for a model without one.
    pub fn cache_element(&self) -> Option<CacheElement> {
        self.states.iter().find_map(|state| match state.kind {
            StateKind::Paged { element, .. } => Some(element),
            StateKind::PerSequence(_) => None,
        })
    }

    /// Bytes of paged state that one token takes in all layers.
    pub fn state_bytes_per_token(&self) -> usize {
        self.states.iter().map(StateEntry::bytes_per_token).fold(0, usize::saturating_add)
    }

    /// Bytes of per-sequence state that one slot takes in all layers.
    pub fn state_bytes_per_sequence(&self) -> usize {
        self.states.iter().map(StateEntry::bytes_per_sequence).fold(0, usize::saturating_add)
    }

    /// Whether the model keeps per-sequence state, so that a step needs each sequence's slot.
    pub fn has_sequence_state(&self) -> bool {
        self.states.iter().any(|state| matches!(state.kind, StateKind::PerSequence(_)))
    }

    /// Tokens `[T]` to the residual stream after the last layer `[T, D]`.
    pub(crate) fn stream<'b>(&self, step: &Step<'b>) -> Value<'b> {
        let mut x = self.embedding.forward(step);
        if let Some(side) = &self.side {
            let _scope = step.scope("side");
            step.set_side(side.forward(step, x));
        }
        for (n, layer) in self.layers.iter().enumerate() {
            let _scope = step.scope(format!("layers.{n}"));
            x = layer.forward(step, x);
        }
        x
    }

    /// The stream at `rows [R]` to logits `[R, V]`; those of negative rows mean nothing.
    pub(crate) fn logits<'b>(&self, step: &Step<'b>, x: Value<'b>, rows: Value<'b>) -> Value<'b> {
        let x = self.vectors(step, x, rows);
        let _scope = step.scope("head");
        let logits = kernels::linear(x, rows, step.weight(self.head), None);
        let logits = match self.head_bias {
            Some(bias) => logits + step.param(bias),
            None => logits,
        };
        let logits = match self.logit_scale {
            Some(scale) => logits * f64::from(scale),
            None => logits,
        };
        match self.logit_softcap {
            Some(cap) => (logits / f64::from(cap)).tanh() * f64::from(cap),
            None => logits,
        }
    }

    /// The stream `x [T, D]` at `rows [R]` after the last norm, `[R, D]`; that of negative rows means nothing.
    pub(crate) fn vectors<'b>(&self, step: &Step<'b>, x: Value<'b>, rows: Value<'b>) -> Value<'b> {
        let _scope = step.scope("head");
        let inside = rows.maximum(step.builder().integer(0));
        // The barrier for the same reason as in `kernels::embed`.
        self.norm.forward(step, x.take(TOKEN, inside).barrier(), MODEL)
    }

    /// The description as text: sizes, then one line per layer.
    pub fn summary(&self) -> String {
        let context = self.context.map_or("unstated".to_string(), |n| n.to_string());
        let mut text = format!(
            "{}: vocabulary {}, hidden {}, context {context}, {} layers, {} parameters in {} tensors\n",
            self.model_type,
            self.vocabulary,
            self.hidden,
            self.layers.len(),
            self.params.elements(),
            self.params.entries().len(),
        );
        if let Some(scale) = self.embedding.scale {
            text += &format!("embedding: scale {scale}\n");
        }
        if let Some(positions) = self.embedding.positions {
            text += &format!("embedding: learned positions, offset {}\n", positions.offset);
        }
        if let Some(norm) = self.embedding.norm {
            text += &format!("embedding: norm {}, epsilon {}\n", norm.describe(), norm.epsilon);
        }
        if let Some(side) = &self.side {
            text += &format!("side: {}\n", side.describe());
        }
        for (n, layer) in self.layers.iter().enumerate() {
            text += &format!("layer {n}: {}\n", layer.describe());
        }
        text += &format!("norm: {}, epsilon {}\n", self.norm.describe(), self.norm.epsilon);
        text += if self.tied() { "head: tied" } else { "head: own" };
        if self.head_bias.is_some() {
            text += ", bias";
        }
        if let Some(scale) = self.logit_scale {
            text += &format!(", scale {scale}");
        }
        if let Some(cap) = self.logit_softcap {
            text += &format!(", softcap {cap}");
        }
        text + "\n"
    }
}
