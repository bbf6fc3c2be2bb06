//! What went wrong while a graph was built.

use std::panic::Location;
use thiserror::Error;

/// The first mistake in a function's construction.
///
/// Operations on [`Value`](crate::Value)s do not return `Result`s: a mistake makes the value
/// *poisoned*, later operations on it do nothing, and `finish` returns this error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{operation} in {place}: {message}; operands: {operands} (at {location})")]
pub struct GraphError {
    /// The operation that was refused, e.g. `dot_general`.
    pub operation: &'static str,
    /// Function and scope path, e.g. `prefill: layers.3.attention`.
    pub place: String,
    /// The rule that was broken, with the sizes at fault.
    pub message: String,
    /// Labelled types of all operands.
    pub operands: String,
    /// File and line of the call in the model's source.
    pub location: &'static Location<'static>,
}
