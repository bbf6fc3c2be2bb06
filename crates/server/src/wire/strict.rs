//! JSON read as strictly as its schema says: what serde would take besides is refused.

use serde::de::value::{MapDeserializer, SeqDeserializer, StringDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, Error as _, Expected, IntoDeserializer, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Error, Number, Value};

use crate::wire::reading::Reading;

/// 2^64, the first number that no integer here holds.
const BEYOND_INTEGERS: f64 = 18_446_744_073_709_551_616.0;

/// Numbers are written out up to so many characters.
const LONGEST_NUMBER: usize = 20;

/// Reads `value` as `T`. Serde would read a struct from an array of its fields and a name from an object; here an
/// object is an object and a name a string. As in JSON Schema, `2.0` is an integer. What becomes of fields that a struct
/// does not have is for `reading` to say.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read<T: DeserializeOwned>(
    value: Value,
    reading: &Reading,
) -> Result<T, serde_path_to_error::Error<Error>> {
    serde_path_to_error::deserialize(Strict { value, reading })
}

/// A number in few characters: 0.5, -2, 1e308.
pub(crate) fn shown(number: f64) -> String {
    let plain = number.to_string();
    if plain.len() <= LONGEST_NUMBER { plain } else { format!("{number:e}") }
}

struct Strict<'r> {
    value: Value,
    reading: &'r Reading,
}

impl<'de> IntoDeserializer<'de, Error> for Strict<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Strict<'_> {
    /// That it is something else than `expected`.
    fn mismatch(&self, expected: &dyn Expected) -> Error {
        let number = |number: &Number| match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => format!("floating point `{}`", shown(float)),
            None => format!("integer `{number}`"),
        };
        match &self.value {
            Value::Null => Error::invalid_type(Unexpected::Unit, expected),
            Value::Bool(value) => Error::invalid_type(Unexpected::Bool(*value), expected),
            Value::Number(value) => {
                Error::invalid_type(Unexpected::Other(&number(value)), expected)
            }
            Value::String(text) => Error::invalid_type(Unexpected::Str(text), expected),
            Value::Array(_) => Error::invalid_type(Unexpected::Seq, expected),
            Value::Object(_) => Error::invalid_type(Unexpected::Map, expected),
        }
    }

    /// An integer, also where it is written as a float.
    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let float = match &self.value {
            Value::Number(number) if number.is_f64() => number.as_f64(),
            _ => return self.deserialize_any(visitor),
        };
        match float.filter(|float| float.fract() == 0.0) {
            Some(float) if (0.0..BEYOND_INTEGERS).contains(&float) => {
                visitor.visit_u64(float as u64)
            }
            Some(float) if (i64::MIN as f64..0.0).contains(&float) => {
                visitor.visit_i64(float as i64)
            }
            _ => Err(self.mismatch(&visitor)),
        }
    }
}

macro_rules! integers {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.integer(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Strict<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let reading = self.reading;
        let strict = |value| Strict { value, reading };
        match self.value {
            Value::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(strict));
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| (name, strict(value)));
                let mut fields = MapDeserializer::new(fields);
                let value = visitor.visit_map(&mut fields)?;
                fields.end()?;
                Ok(value)
            }
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let reading = self.reading;
        match self.value {
            Value::Object(object) => {
                let value = Value::Object(reading.sift(name, fields, object)?);
                Strict { value, reading }.deserialize_any(visitor)
            }
            value => Err(Strict { value, reading }.mismatch(&"an object")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.value {
            Value::String(name) => {
                let name: StringDeserializer<Error> = name.into_deserializer();
                visitor.visit_enum(name)
            }
            other => Err(Strict { value: other, reading: self.reading }.mismatch(&"a string")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    forward_to_deserialize_any! {
        bool i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: String,
        size: Option<u64>,
    }

    #[derive(Debug, PartialEq, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        Plain,
    }

    #[derive(Debug, Default, PartialEq, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Outer {
        inner: Option<Inner>,
        list: Vec<Inner>,
        kind: Option<Kind>,
        count: u32,
        offset: i64,
        any: Value,
    }

    fn wrong(value: Value) -> (String, String) {
        let error = read::<Outer>(value, &Reading::default()).unwrap_err();
        (error.path().to_string(), error.inner().to_string())
    }

    #[test]
    fn only_objects_are_structs_and_only_strings_are_names() {
        for (value, path, words) in [
            (json!(["a"]), ".", "sequence, expected an object"),
            (json!({"inner": ["a", 1]}), "inner", "sequence, expected an object"),
            (json!({"inner": "a"}), "inner", "string \"a\", expected an object"),
            (json!({"list": [{"name": "a"}, ["a", 1]]}), "list[1]", "sequence, expected an object"),
            (json!({"list": {"name": "a"}}), "list", "map, expected a sequence"),
            (json!({"kind": {"plain": null}}), "kind", "map, expected a string"),
            (json!({"kind": 1}), "kind", "integer `1`, expected a string"),
            (json!({"kind": "x"}), "kind", "unknown variant `x`"),
            (json!({"inner": {"name": null}}), "inner", "missing field `name`"),
            (json!({"inner": {"name": "a", "other": 1}}), "inner", "unknown field `other`"),
            (json!({"inner": {}}), "inner", "missing field `name`"),
        ] {
            let (found, message) = wrong(value.clone());
            assert_eq!(found, path, "{value}: {message}");
            assert!(message.contains(words), "{value}: {message}");
        }
        let whole = json!({"inner": {"name": "a"}, "list": [{"name": "b", "size": 3}], "kind": "plain",
            "any": [{"x": 2.0}, [null]]});
        let read = read::<Outer>(whole, &Reading::default()).unwrap();
        assert_eq!(read.inner, Some(Inner { name: "a".to_owned(), size: None }));
        assert_eq!((read.list[0].size, read.kind), (Some(3), Some(Kind::Plain)));
        assert_eq!(read.any, json!([{"x": 2.0}, [null]]));
    }

    #[test]
    fn whole_floats_are_integers() {
        let read = |value| read::<Outer>(value, &Reading::default()).unwrap();
        assert_eq!(read(json!({"count": 2.0, "offset": -3.0})).offset, -3);
        assert_eq!(read(json!({"count": 2.0})).count, 2);
        assert_eq!(read(json!({"count": -0.0})).count, 0);
        assert_eq!(
            read(json!({"list": [{"name": "", "size": 1e19}]})).list[0].size,
            Some(10u64.pow(19))
        );
        for (value, words) in [
            (json!({"count": 2.5}), "floating point `2.5`, expected u32"),
            (json!({"count": 1e308}), "floating point `1e308`, expected u32"),
            (json!({"count": 4294967296.0}), "integer `4294967296`, expected u32"),
            (json!({"count": -1.0}), "integer `-1`, expected u32"),
            (json!({"offset": 1e19}), "integer `10000000000000000000`, expected i64"),
            (json!({"offset": -1e19}), "floating point `-1e19`, expected i64"),
        ] {
            let (_, message) = wrong(value.clone());
            assert!(message.contains(words), "{value}: {message}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.5, "0.5"),
            (-2.0, "-2"),
            (1e308, "1e308"),
            (-1.7976931348623157e308, "-1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(shown(number), text);
        }
    }
}
