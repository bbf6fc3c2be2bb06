//! What can go wrong between a request and its tokens.

use thiserror::Error;

/// An error of the engine; `E` is the runner's.
#[derive(Debug, Error)]
pub enum EngineError<E: std::error::Error> {
    /// Nothing to continue.
    #[error("the prompt is empty: at least one token is needed")]
    EmptyPrompt,
    /// A token id beyond the vocabulary.
    #[error(
        "token id {id} at position {position} of the prompt is not in the vocabulary of {vocabulary}"
    )]
    UnknownToken {
        /// The id.
        id: u32,
        /// Where in the prompt.
        position: usize,
        /// `V`.
        vocabulary: usize,
    },
    /// The prompt does not fit.
    #[error("the prompt has {prompt} tokens, but the context holds {context}")]
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens the context holds.
        context: usize,
    },
    /// A sampling parameter outside its range.
    #[error("{parameter} is {value}, but must be {expected}")]
    InvalidParameter {
        /// Its name.
        parameter: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: &'static str,
    },
    /// The model computed something that is not a number.
    #[error(
        "the logits after {tokens} tokens are not finite (token id {id}): the weights or the compiled model are damaged"
    )]
    NotFinite {
        /// Tokens of the sequence so far.
        tokens: usize,
        /// The first id whose logit is not a number.
        id: usize,
    },
    /// No token can follow.
    #[error(
        "no token can follow the {tokens} so far: each has the logit -inf, is forbidden by a logit bias, or ends the text too early"
    )]
    NothingAllowed {
        /// Tokens of the sequence so far.
        tokens: usize,
    },
    /// The runner failed.
    #[error(transparent)]
    Runner(#[from] E),
}
