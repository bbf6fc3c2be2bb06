//! From logits to a token.

pub(crate) mod candidates;
mod dry;
pub(crate) mod exponential;
mod logprobs;
pub(crate) mod mass;
mod parameters;
pub(crate) mod penalties;
mod sampler;
pub(crate) mod scan;

pub use logprobs::logprobs;
pub use parameters::{Dry, InvalidParameter, Sampling};
pub use sampler::{Sampler, Unchoosable};
pub use scan::first_not_finite;
