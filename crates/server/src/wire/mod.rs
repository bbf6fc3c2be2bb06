//! Requests as they come over the wire: strict, with errors that name the parameter.

pub(crate) mod body;
mod controls;
mod duplicates;
mod fields;
mod items;
mod scalars;
mod strict;

pub use body::Body;
pub(crate) use body::read_value;
pub use controls::{Controls, MaxTokens};
pub(crate) use fields::generation_request;
pub(crate) use items::{Item, TextOrItems, refuse_values};
pub use scalars::{LogitBias, OneOrMany, StreamOptions, StructuredOutputs};
pub(crate) use strict::shown;
