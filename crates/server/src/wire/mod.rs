//! Requests as they come over the wire: strict, with errors that name the parameter.

pub(crate) mod body;
mod controls;
mod duplicates;
mod fields;
mod items;
mod reading;
mod scalars;
mod strict;
pub(crate) mod table;

pub(crate) use body::Body;
pub(crate) use body::read_value;
pub use controls::{Controls, MaxTokens};
pub(crate) use fields::generation_request;
pub(crate) use items::{Item, TextOrItems};
pub(crate) use reading::{Ignored, Reading};
pub(crate) use scalars::StreamUsage;
pub use scalars::{LogitBias, OneOrMany, StreamOptions, StructuredOutputs, TokenLimit};
pub(crate) use strict::shown;
