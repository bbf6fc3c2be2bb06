//! What can be wrong with a checkpoint.

use std::path::{Path, PathBuf};

/// Everything that can go wrong while a checkpoint is opened or read.
///
/// Each message names the file and, where there is one, the key or the tensor; then what was found
/// and what would be right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },

    /// The path leads to something that is not one checkpoint.
    #[error("{}: {message}", path.display())]
    NotACheckpoint {
        /// The path that was opened.
        path: PathBuf,
        /// What was found there, and what would be right.
        message: String,
    },

    /// The file breaks the rules of its own format (JSON, safetensors, GGUF).
    #[error("{}: {message}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The rule, and what was found.
        message: String,
    },

    /// A tensor's entry is wrong, or its type is one that Stablemate does not read.
    #[error("{}: tensor `{tensor}`: {message}", path.display())]
    Tensor {
        /// The file that holds it.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What was found, and what would be right.
        message: String,
    },

    /// A key of a configuration or of GGUF metadata is missing or has a value that cannot be used.
    #[error("{}: key `{key}`: {message}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The key, with the keys of the objects around it: `rope_scaling.factor`.
        key: String,
        /// What was found, and what would be right.
        message: String,
    },

    /// Keys that nobody read, that are not known to be harmless, and that say something.
    #[error(
        "{}: nothing reads {}: they may change what the model computes, and Stablemate refuses rather than \
         mis-compute",
        path.display(),
        keys.join(", ")
    )]
    UnreadKeys {
        /// The file.
        path: PathBuf,
        /// Each key with its value: `` `attn_scale` = 2 ``.
        keys: Vec<String>,
    },

    /// The checkpoint is fine, but this version does not read what it uses.
    #[error("{}: {message}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What it uses, and what is read instead.
        message: String,
    },

    /// A checkpoint cannot be written there.
    #[error("{}: {message}", path.display())]
    Destination {
        /// The path that was to be written.
        path: PathBuf,
        /// What is there, and what would be right.
        message: String,
    },

    /// A caller asked for rows or gave a buffer that do not fit the tensor: a mistake in the program,
    /// not in the file.
    #[error("tensor `{tensor}`: {message}")]
    Request {
        /// The tensor's name.
        tensor: String,
        /// What was asked, and what the tensor has.
        message: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn not_a_checkpoint(path: &Path, message: impl Into<String>) -> Self {
        Self::NotACheckpoint { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn malformed(path: &Path, message: impl Into<String>) -> Self {
        Self::Malformed { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), message: message.into() }
    }

    pub(crate) fn key(path: &Path, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Key { path: path.to_owned(), key: key.into(), message: message.into() }
    }

    pub(crate) fn unsupported(path: &Path, message: impl Into<String>) -> Self {
        Self::Unsupported { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn destination(path: &Path, message: impl Into<String>) -> Self {
        Self::Destination { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn request(tensor: &str, message: impl Into<String>) -> Self {
        Self::Request { tensor: tensor.to_owned(), message: message.into() }
    }
}
