//! In: token ids and how to continue them.
//! Out: steps for a [`Runner`], and from its logits the tokens that follow.
//! Never: knows HTTP, text, IREE or any device: it owns the trait [`Runner`] and nothing behind it.

mod error;
mod generation;
mod runner;
mod sampler;

pub use error::EngineError;
pub use generation::{FinishReason, Generation, Generator, Limits};
pub use runner::{Runner, StepInput};
pub use sampler::{Sampler, Sampling};

#[cfg(test)]
mod tests;
