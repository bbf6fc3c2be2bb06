//! Shared parts that families wire together.

mod activation;
mod attention;
mod block;
mod feed_forward;
mod norm;
pub mod rope;
mod trigonometry;

pub use activation::{Activation, GatedActivation};
pub use attention::{Gqa, Span};
pub use block::{Block, PreNorm, Sandwich};
pub use feed_forward::Gated;
pub use norm::{Norm, NormKind};
pub use rope::Rope;
pub use trigonometry::cosine_and_sine;

use crate::{Param, Step};
use stablemate_graph::Value;
use std::fmt;

/// Mixes tokens: attention, and whatever takes its place. `x [T, D] → [T, D]`.
pub trait Mixer: fmt::Debug + Send + Sync {
    /// Appends the mixer to the step's graph. Its output is added to the `residual [T, D]` if there is one:
    /// the last product does that on the way.
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b>;
    /// One phrase for descriptions.
    fn describe(&self) -> String;
    /// The state it keeps and the number of latest tokens it ever reads (`None`: all).
    fn span(&self) -> Span;
    /// The longest sequence it is made for, if the configuration counts `positions`: position
    /// embeddings may stretch them.
    fn context(&self, positions: usize) -> usize {
        positions
    }
    /// Whether the step needs the length of each token's sequence.
    fn needs_lengths(&self) -> bool {
        false
    }
}

/// Works on each token by itself: `x [T, D] → [T, D]`.
pub trait FeedForward: fmt::Debug + Send + Sync {
    /// Appends the network to the step's graph. Its output is added to the `residual [T, D]` if there is one.
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b>;
    /// One phrase for descriptions.
    fn describe(&self) -> String;
}

/// A weight `[out, in]` with an optional bias `[out]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `[out, in]`.
    pub weight: Param,
    /// `[out]`.
    pub bias: Option<Param>,
}
