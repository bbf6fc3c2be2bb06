//! What the engine is asked for, and what it answers.

use crate::{Constraint, FinishReason, Limits, Sampling};
use std::ops::ControlFlow;

/// One sequence to be continued or embedded.
pub struct Request {
    /// Token ids, at least one.
    pub prompt: Vec<u32>,
    /// What is wanted of it.
    pub task: Task,
    /// Receives what happens, on the engine's thread.
    pub output: Box<dyn Output>,
}

/// What is wanted of a prompt.
pub enum Task {
    /// Tokens that follow.
    Generate(Box<Generate>),
    /// One vector.
    Embed(Pooling),
}

/// How a prompt is continued.
pub struct Generate {
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// When to stop.
    pub limits: Limits,
    /// Report each token's log-probability and so many of the most probable tokens'.
    pub logprobs: Option<usize>,
    /// The same of the prompt's tokens. No prefix is taken from the cache then: the logits of all
    /// positions are needed.
    pub prompt_logprobs: Option<usize>,
    /// What may follow.
    pub constraint: Option<Box<dyn Constraint>>,
}

/// How the vectors of a prompt's tokens become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// The last one's.
    Last,
}

/// Receives what happens to a request, on the engine's thread: it must return soon and never wait.
pub trait Output: Send {
    /// Takes an event. `Break` after a token ends the sequence as [`FinishReason::Stop`] at once.
    fn event(&mut self, event: Event) -> ControlFlow<()>;

    /// Whether nobody listens any more. Asked at every step: a sequence that nobody listens to is
    /// dropped, and its blocks are free before the next step.
    fn is_closed(&self) -> bool;
}

/// What happens to a request. Either [`Event::Finished`] or [`Event::Failed`] is the last.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// It has been admitted: its first step follows. Comes once, not again after a preemption.
    Admitted {
        /// Tokens of the prompt whose keys and values were there already.
        cached_tokens: usize,
    },
    /// Log-probabilities of the prompt's tokens, in order, the first one's missing; once, before the first token.
    PromptLogprobs(Vec<Option<Logprobs>>),
    /// A token was chosen.
    Token {
        /// Its id.
        id: u32,
        /// Its log-probability, if asked for.
        logprobs: Option<Logprobs>,
    },
    /// The vector that was asked for, `[D]`.
    Embedding(Vec<f32>),
    /// Nothing follows.
    Finished(FinishReason),
    /// The request failed; nothing follows.
    Failed(Failure),
}

/// Why a request failed after it was accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Failure {
    /// The model failed.
    #[error("the model failed: {message}")]
    Runner {
        /// How.
        message: String,
    },
    /// The model computed something that is not a number.
    #[error("the logits after {tokens} tokens are not finite (token id {id})")]
    NotFinite {
        /// Tokens of the sequence so far.
        tokens: usize,
        /// The first id whose logit is not a number.
        id: usize,
    },
    /// The constraint failed, or allows no token.
    #[error("the constraint cannot be followed: {message}")]
    Constraint {
        /// How.
        message: String,
    },
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
}

/// A token's natural log-probability under the model's own distribution: before penalties,
/// temperature, filters and constraints.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprobs {
    /// Of the token itself.
    pub logprob: f32,
    /// The most probable tokens, descending, smaller ids first among equals.
    pub top: Vec<(u32, f32)>,
}
