//! Requests as they come over the wire: strict, with errors that name the parameter.

pub(crate) mod body;
mod controls;
mod duplicates;
mod fields;
mod scalars;

pub use body::Body;
pub use controls::{Controls, MaxTokens};
pub(crate) use fields::generation_request;
pub use scalars::{LogitBias, OneOrMany, StreamOptions, StructuredOutputs};
