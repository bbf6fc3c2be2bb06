//! Errors of the library.

use crate::executor::ExecutorError;
use crate::hub::HubError;
use stablemate_engine::EngineError;
use std::path::PathBuf;
use thiserror::Error;

/// Everything that can go wrong between a path and its tokens.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// MODEL is neither a path nor a hub id.
    #[error(
        "{model:?} is neither a directory, nor a .gguf file, nor a hub id like organisation/name"
    )]
    NoSuchModel {
        /// What was given.
        model: String,
    },
    /// The hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The checkpoint's files.
    #[error(transparent)]
    Checkpoint(#[from] stablemate_checkpoint::Error),
    /// The configuration, or its match with the tensors.
    #[error(transparent)]
    Model(#[from] stablemate_models::ModelError),
    /// The tokenizer or the chat template.
    #[error(transparent)]
    Text(#[from] stablemate_text::Error),
    /// The compiler or the device.
    #[error(transparent)]
    Runtime(#[from] stablemate_runtime::Error),
    /// Running steps.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// A request that cannot be honoured.
    #[error(transparent)]
    Engine(#[from] EngineError<ExecutorError>),
    /// The checkpoint has a description only.
    #[error("{}: there are no weights beside config.json", path.display())]
    NoWeights {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Text was given or is wanted, but the checkpoint has no tokenizer.
    #[error("{}: there is no tokenizer: only token ids can be given and are returned", path.display())]
    NoTokenizer {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Text was given or is wanted, but the checkpoint's tokenizer cannot be read.
    #[error("the tokenizer cannot be used: {message}")]
    TokenizerUnavailable {
        /// Why.
        message: String,
    },
    /// A conversation was given, but the checkpoint has no chat template.
    #[error("{}: there is no chat template; give the prompt as plain text", path.display())]
    NoChatTemplate {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Weights cannot be quantised like this.
    #[error("cannot quantise to {bits} bits; 2, 3, 4, 5, 6 and 8 are possible")]
    Quantize {
        /// What was asked for.
        bits: usize,
    },
    /// Weights cannot be quantised in such groups.
    #[error("cannot quantise in groups of {group_size}; 32, 64 and 128 are possible")]
    QuantizeGroup {
        /// What was asked for.
        group_size: usize,
    },
    /// There is no matrix that quantising would change.
    #[error(
        "{}: there is nothing to quantise: no matrix is dense with rows of whole groups of {group_size}",
        path.display()
    )]
    NothingToQuantize {
        /// The checkpoint.
        path: PathBuf,
        /// Weights that share a scale.
        group_size: usize,
    },
    /// Instructions that this machine lacks.
    #[error("this machine has no {asked} instructions; it has up to {best}")]
    Isa {
        /// What was asked for.
        asked: stablemate_kernels::Isa,
        /// The best there is.
        best: stablemate_kernels::Isa,
    },
    /// Something only native kernels do.
    #[error("{what} needs native kernels; the portable backend cannot do it")]
    NativeOnly {
        /// What.
        what: &'static str,
    },
    /// Weights and the cache of one sequence need more than they may have.
    #[error(
        "{} MiB of memory are too little: the weights take {} MiB, and with the cache of one sequence of {context} tokens {} MiB are needed{}",
        memory >> 20, weights >> 20, needed.div_ceil(1 << 20), of_state(*state)
    )]
    Memory {
        /// Bytes that they may have.
        memory: usize,
        /// Bytes of the weights.
        weights: usize,
        /// Tokens of the sequence.
        context: usize,
        /// Bytes of them for the per-sequence state of one sequence and a snapshot; 0 without state.
        state: usize,
        /// Bytes that they need.
        needed: usize,
    },
    /// A context that the model has no positions for.
    #[error("a context of {context} tokens was asked for; the model has {limit} learned positions")]
    Positions {
        /// Tokens that were asked for.
        context: usize,
        /// Positions there are.
        limit: usize,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The tokenizer and the model do not belong together.
    #[error("{}: the tokenizer made token id {id}, but the model's vocabulary has {vocabulary}", path.display())]
    TokenizerMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The id.
        id: u32,
        /// `V`.
        vocabulary: usize,
    },
}

/// What a message says of the memory for per-sequence state.
fn of_state(bytes: usize) -> String {
    match bytes {
        0 => String::new(),
        _ => format!(", {} MiB of them for its recurrent state", bytes.div_ceil(1 << 20)),
    }
}
