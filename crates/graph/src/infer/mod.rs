//! Type inference: pure functions from operand types to the result's type.
//!
//! Each check cites its constraint in the StableHLO specification ("C9" of the operation's section).
//! Constraints that the argument types rule out (sorted attribute lists built by ourselves,
//! quantised element types we do not have) are not repeated. Rules of our own, about labels, say so.

mod control;
mod elementwise;
mod indexing;
mod product;
mod reshaping;

pub use control::while_loop;
pub use elementwise::{binary, bitcast_convert, compare, convert, select, unary};
pub use indexing::{concatenate, put, slice, take};
pub use product::{dot_general, reduce};
pub use reshaping::{broadcast_in_dim, constant, iota, reshape, transpose};

use crate::TensorType;

/// A broken constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Number in the operation's section of the specification (`C9`), or `labels` for our own rule.
    pub constraint: &'static str,
    /// What was found and what would be right.
    pub message: String,
}

/// The result's type, or the first constraint that is broken.
pub type Inferred = Result<TensorType, Violation>;

pub(crate) fn require(
    holds: bool,
    constraint: &'static str,
    message: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { constraint, message: message() }) }
}

/// Our own rule: a label names at most one dimension of a tensor, so that labels can address dimensions.
pub(crate) fn distinct_labels(ty: TensorType) -> Inferred {
    for (n, dimension) in ty.dimensions.iter().enumerate() {
        require(ty.position(dimension.label) == Some(n), "labels", || {
            format!("the result {ty} would have two dimensions labelled {}", dimension.label)
        })?;
    }
    Ok(ty)
}

pub(crate) fn check_axes(
    axes: &[usize],
    rank: usize,
    constraint: &'static str,
    what: &str,
) -> Result<(), Violation> {
    for &axis in axes {
        require(axis < rank, constraint, || format!("{what} {axis} is not below the rank {rank}"))?;
    }
    Ok(())
}

pub(crate) fn check_unique(
    axes: &[usize],
    constraint: &'static str,
    what: &str,
) -> Result<(), Violation> {
    for (n, axis) in axes.iter().enumerate() {
        require(!axes[..n].contains(axis), constraint, || format!("{what} {axis} is given twice"))?;
    }
    Ok(())
}
