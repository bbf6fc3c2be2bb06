//! What a kernel refuses.

use thiserror::Error;

/// Sizes or values that do not fit together; a bug of the caller, never computed with.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{kernel}: {message}")]
pub struct KernelError {
    /// Which kernel: `linear`.
    pub kernel: &'static str,
    /// What does not fit.
    pub message: String,
}
