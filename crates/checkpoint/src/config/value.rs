//! From JSON values to Rust types, without conversions that lose something.

use serde_json::Value;

use crate::json;

/// A type that a key of a configuration can have.
pub trait FromConfig: Sized {
    /// What is expected, for messages: "a non-negative integer".
    fn expected() -> String;

    /// The value, or `None` if it is not of this type.
    fn from_config(value: &Value) -> Option<Self>;
}

impl FromConfig for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_bool()
    }
}

impl FromConfig for usize {
    fn expected() -> String {
        "a non-negative integer".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl FromConfig for u32 {
    fn expected() -> String {
        "a non-negative integer below 2^32".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_u64()?.try_into().ok()
    }
}

impl FromConfig for i64 {
    fn expected() -> String {
        "an integer".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_i64()
    }
}

/// Integers are accepted, and so are the non-finite floats that transformers writes.
impl FromConfig for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_f64().or_else(|| json::non_finite(value))
    }
}

impl FromConfig for String {
    fn expected() -> String {
        "a string".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl<T: FromConfig> FromConfig for Vec<T> {
    fn expected() -> String {
        format!("a list in which each element is {}", T::expected())
    }

    fn from_config(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(T::from_config).collect()
    }
}

impl FromConfig for Value {
    fn expected() -> String {
        "any value".to_owned()
    }

    fn from_config(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

/// A value and its type, for messages.
pub(super) fn describe(value: &Value) -> String {
    let kind = match value {
        Value::Null => return "null".to_owned(),
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    format!("{} ({kind})", shortened(value))
}

/// A value as JSON, cut after 60 characters.
pub(super) fn shortened(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
