//! What can go wrong between a configuration and a graph.

use stablemate_graph::GraphError;
use std::path::PathBuf;
use thiserror::Error;

/// An error of this crate.
#[derive(Debug, Error)]
pub enum ModelError {
    /// The configuration lacks a key, or a key has the wrong type.
    #[error(transparent)]
    Config(#[from] stablemate_checkpoint::Error),
    /// A key has a value this family cannot honour.
    #[error("{file}: `{key}` is {found}, but {expected}")]
    Unsupported {
        /// The configuration's file.
        file: PathBuf,
        /// The key.
        key: String,
        /// Its value.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// No family has this `model_type`.
    #[error(
        "{file}: model_type {found:?}{place} is not supported; the nearest that are: {nearest}"
    )]
    UnknownFamily {
        /// The configuration's file.
        file: PathBuf,
        /// The model type.
        found: String,
        /// Empty, or the wrapper that it stands in, with a space before it.
        place: String,
        /// Supported ones.
        nearest: String,
    },
    /// The family of this `model_type` is known and not built.
    #[error("{file}: model_type {found:?}{place} is not supported: {reason}")]
    RefusedFamily {
        /// The configuration's file.
        file: PathBuf,
        /// The model type.
        found: String,
        /// Empty, or the wrapper that it stands in, with a space before it.
        place: String,
        /// What is missing.
        reason: &'static str,
    },
    /// A parameter's tensor is missing from the checkpoint.
    #[error("{file}: tensor {tensor:?} is missing; the model needs it as {expected}")]
    MissingTensor {
        /// The checkpoint.
        file: PathBuf,
        /// Its name in the checkpoint.
        tensor: String,
        /// The labelled shape that is needed.
        expected: String,
    },
    /// A parameter's tensor has another shape than the configuration says.
    #[error("{file}: tensor {tensor:?} has shape {found:?}; the configuration says {expected}")]
    WrongShape {
        /// The checkpoint.
        file: PathBuf,
        /// Its name in the checkpoint.
        tensor: String,
        /// Sizes found.
        found: Vec<usize>,
        /// The labelled shape that is needed.
        expected: String,
    },
    /// A parameter's tensor cannot be stored as it was asked for.
    #[error("{file}: tensor {tensor:?} {shape} cannot be held as {found}: {expected}")]
    WrongStorage {
        /// The checkpoint.
        file: PathBuf,
        /// Its name in the checkpoint.
        tensor: String,
        /// Its labelled shape.
        shape: String,
        /// The storage.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// The graph is ill-formed: a mistake in a family's code or sizes that do not fit together.
    #[error(transparent)]
    Graph(#[from] GraphError),
}
