//! In: token ids and how to continue them.
//! Out: steps for a [`Runner`], and from its logits the tokens that follow.
//! Never: knows HTTP, text, IREE or any device: it owns the trait [`Runner`] and nothing behind it.

mod blocks;
mod constraint;
mod engine;
mod error;
mod generation;
mod handle;
mod pace;
mod request;
mod runner;
mod sampling;
mod scheduler;
mod slots;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod thread;

pub use constraint::{Constraint, Continuation, TokenMask};
pub use error::EngineError;
pub use generation::{FinishReason, Generation, Generator, Limits};
pub use handle::{EngineHandle, Plan, Refusal, Statistics};
pub use request::{Event, Failure, Generate, Logprobs, Output, Pooling, Request, Task};
pub use runner::{Room, Runner, StepInput};
pub use sampling::{
    Dry, InvalidParameter, Sampler, Sampling, Unchoosable, first_not_finite, logprobs,
};

#[cfg(test)]
mod tests;
