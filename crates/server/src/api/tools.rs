//! How requests say whether the model calls functions.

use serde_json::{Map, Value};
use utoipa::ToSchema;

/// `auto`, `none`, `required`, or the function to call.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub enum ChoiceSchema {
    /// Without a name.
    Mode(ChoiceMode),
    /// The function to call.
    #[schema(value_type = Object)]
    Named(Map<String, Value>),
}

/// Whether functions are called.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)]
pub enum ChoiceMode {
    /// As the model sees fit.
    Auto,
    /// None is.
    None,
    /// At least one is.
    Required,
}
