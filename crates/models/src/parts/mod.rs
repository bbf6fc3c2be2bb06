//! Shared parts that families wire together.

mod activation;
mod attention;
mod beside;
mod delta_net;
mod experts;
mod feed_forward;
mod latent;
mod layer;
mod mamba2;
mod norm;
mod per_layer;
mod position;
pub mod rope;
mod router;
mod short_convolution;
mod trigonometry;

pub use crate::kernels::Span;
pub use activation::{Activation, GatedActivation};
pub use attention::{GateFunction, Gqa, KeysValues, OutputGate, QueryGrowth, softplus};
pub use beside::Beside;
pub use delta_net::DeltaNet;
pub use experts::{ExpertNetworks, Experts, Weighed};
pub use feed_forward::{Gated, Multiplied, Plain};
pub use latent::{Latent, LatentQuery};
pub use layer::{Block, Branch, Layer, Scaled};
pub use mamba2::{GatedNorm, Mamba2};
pub use norm::{HeadNorm, Norm, NormExtent, NormKind};
pub use per_layer::{PerLayer, PerLayerNetwork};
pub use position::{Alibi, Position};
pub use rope::{Rope, RopeReading};
pub use router::{Groups, Router, Score};
pub use short_convolution::ShortConvolution;
pub use trigonometry::cosine_and_sine;

use crate::{Param, Step};
use stablemate_graph::Value;
use std::fmt;

/// A part of a layer, `x [T, D] → [T, D]`: attention, another mixer of tokens, or a network that works
/// on each token by itself.
pub trait Part: fmt::Debug + Send + Sync {
    /// Appends the part to the step's graph. Its output is added to the `residual [T, D]` if there is one:
    /// the last product does that on the way.
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
