//! JSON as checkpoints write it: strict about repeated keys, tolerant of `NaN` and `Infinity`.
//!
//! Python's `json` writes the non-finite floats as bare words, which JSON does not have, and
//! transformers 5 writes them as `{"__float__": "Infinity"}`. Both become the second form here.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The only key of the object that stands for a non-finite float.
const FLOAT_KEY: &str = "__float__";

/// Parses one JSON document. An object that has a key twice is an error: which of the two was
/// meant cannot be known.
pub(crate) fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str::<Strict>(&spell_out_non_finite(text))
        .map(|Strict(value)| value)
        .map_err(|error| format!("not valid JSON: {error}"))
}

/// `Some` if the value is the object form of a non-finite float.
pub(crate) fn non_finite(value: &Value) -> Option<f64> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    match object.get(FLOAT_KEY)?.as_str()? {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => None,
    }
}

/// Replaces the bare words `NaN`, `Infinity` and `-Infinity` by their object form, outside strings.
///
/// Text that was not JSON before is not JSON after: a word stuck to another token (`1NaN`) leaves
/// an object stuck to that token.
fn spell_out_non_finite(text: &str) -> Cow<'_, str> {
    let mut result = String::new();
    let mut copied = 0;
    let mut position = 0;
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(position) {
        if byte == b'"' {
            position = end_of_string(bytes, position);
            continue;
        }
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| {
            bytes.get(position..).is_some_and(|rest| rest.starts_with(word.as_bytes()))
        });
        let Some(word) = word else {
            position += 1;
            continue;
        };
        // Both ends lie beside ASCII bytes, hence on character boundaries.
        result.push_str(text.get(copied..position).unwrap_or_default());
        result.push_str(&format!("{{\"{FLOAT_KEY}\":\"{word}\"}}"));
        position += word.len();
        copied = position;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    result.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(result)
}

/// The position behind the string that opens at `start`, or the end of the text.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut position = start + 1;
    while let Some(&byte) = bytes.get(position) {
        match byte {
            b'"' => return position + 1,
            b'\\' => position += 2,
            _ => position += 1,
        }
    }
    bytes.len()
}

/// A [`Value`] whose objects have no key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` appears twice")));
            }
            let Strict(value) = map.next_value()?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_finite_floats_in_both_spellings() {
        let value =
            parse(r#"{"a": Infinity, "b": [-Infinity,NaN], "c": {"__float__": "Infinity"}}"#)
                .unwrap();
        assert_eq!(non_finite(&value["a"]), Some(f64::INFINITY));
        assert_eq!(non_finite(&value["b"][0]), Some(f64::NEG_INFINITY));
        assert!(non_finite(&value["b"][1]).is_some_and(f64::is_nan));
        assert_eq!(non_finite(&value["c"]), Some(f64::INFINITY));
        assert_eq!(non_finite(&parse(r#"{"__float__": "1.0"}"#).unwrap()), None);
    }

    #[test]
    fn strings_are_left_alone() {
        let text = r#"{"NaN": "Infinity \" NaN \\", "é": "-Infinity", "x": NaN}"#;
        let value = parse(text).unwrap();
        assert_eq!(value["NaN"], "Infinity \" NaN \\");
        assert_eq!(value["é"], "-Infinity");
        assert!(non_finite(&value["x"]).is_some());
    }

    #[test]
    fn what_is_not_json_stays_an_error() {
        for text in [
            "",
            "{",
            "1NaN",
            "NaNN",
            "-NaN",
            "[Infinity 1]",
            "\"",
            "\"\\",
            "{\"a\": 1,}",
            "[1e999]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn a_repeated_key_is_named() {
        let message = parse(r#"{"a": {"k": 1, "k": 1}}"#).unwrap_err();
        assert!(message.contains("`k` appears twice"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[\\-\"\\\\NaInfity{}:, é0-9]{0,40}") {
            let _ = parse(&text);
        }
    }
}
