//! Lists of objects of several types, which say themselves of which they are.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::error::ApiError;
use crate::wire::{Reading, read_value};

/// A text, or a list of objects that are read one by one, each as what its `type` says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TextOrItems {
    Text(String),
    Items(Vec<Value>),
}

// By hand and not `untagged`, whose errors say neither where nor what.
impl<'de> Deserialize<'de> for TextOrItems {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Contents;
        impl<'de> Visitor<'de> for Contents {
            type Value = TextOrItems;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of objects")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TextOrItems, E> {
                Ok(TextOrItems::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<TextOrItems, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(TextOrItems::Items)
            }
        }
        deserializer.deserialize_any(Contents)
    }
}

/// An object of one of several types.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Where it lies in the body: `input[3]`.
    pub(crate) place: String,
    /// Its `type`; none if it has none, or null.
    pub(crate) kind: Option<String>,
    fields: Map<String, Value>,
}

impl Item {
    /// The value at `place`.
    ///
    /// # Errors
    /// 400 if it is no object, or its type is no string.
    pub(crate) fn new(value: Value, place: String) -> Result<Item, ApiError> {
        let Value::Object(mut fields) = value else {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) | Value::Object(_) => "sequence",
            };
            let message = format!("{place}: invalid type: {kind}, expected an object");
            return Err(ApiError::parameter(place, message).with_code("invalid_value"));
        };
        let kind = match fields.shift_remove("type") {
            None | Some(Value::Null) => None,
            Some(Value::String(kind)) => Some(kind),
            Some(_) => {
                let parameter = format!("{place}.type");
                let message = format!("{parameter} is not a string");
                return Err(ApiError::parameter(parameter, message).with_code("invalid_value"));
            }
        };
        Ok(Item { place, kind, fields })
    }

    /// The objects of a list at `place`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn list(values: Vec<Value>, place: &str) -> Result<Vec<Item>, ApiError> {
        let item = |(index, value)| Item::new(value, format!("{place}[{index}]"));
        values.into_iter().enumerate().map(item).collect()
    }

    /// Its fields but `type`, as those of `T`.
    ///
    /// # Errors
    /// 400 naming the field that is missing, unknown or wrong.
    pub(crate) fn read<T: DeserializeOwned>(self, reading: &Reading) -> Result<T, ApiError> {
        read_value(Value::Object(self.fields), &self.place, reading)
    }

    /// A field of it.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// That its type is none of those that are `known`.
    pub(crate) fn refused(&self, known: &str) -> ApiError {
        let parameter = format!("{}.type", self.place);
        match &self.kind {
            None => {
                ApiError::parameter(&parameter, format!("{parameter} is missing: give {known}"))
                    .with_code("missing_parameter")
            }
            Some(kind) => {
                let message = format!("{parameter} is {kind:?}, but only {known} is supported");
                ApiError::parameter(parameter, message).with_code("unsupported_parameter")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Picture {
        size: u64,
        more: Option<Vec<u64>>,
    }

    #[test]
    fn errors_say_where() {
        let item = |value| Item::new(value, "input[3]".to_owned());
        let wrong = |value| {
            item(value).and_then(|item| item.read::<Picture>(&Reading::default())).unwrap_err()
        };
        for (value, parameter) in [
            (json!(1), "input[3]"),
            (json!({"type": 1}), "input[3].type"),
            (json!({"type": "x"}), "input[3].size"),
            (json!({"size": -1}), "input[3].size"),
            (json!({"size": 1, "more": [1, "a"]}), "input[3].more[1]"),
            (json!({"size": 1, "mode": 1}), "input[3].mode"),
        ] {
            let error = wrong(value.clone());
            assert_eq!(error.detail().param.as_deref(), Some(parameter), "{value}: {error:?}");
        }
        let item = item(json!({"type": "image"})).unwrap();
        assert!(item.refused("\"text\"").detail().message.contains("\"image\", but only \"text\""));
    }
}
