//! Keys that an object has twice: JSON leaves open which one counts, so neither does.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::ApiError;
use crate::wire::body::explain;

/// Reads all of `bytes` as JSON.
///
/// # Errors
/// 400 if it is not JSON in UTF-8, is nested too deeply, or has a key twice in an object.
pub(crate) fn check(bytes: &[u8]) -> Result<(), ApiError> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let message = format!("the body is not UTF-8 from byte {} on", error.valid_up_to());
        return Err(ApiError::invalid(message));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let checked = serde_path_to_error::deserialize::<_, Unique>(&mut deserializer);
    checked.map_err(|error| {
        let inner = error.inner();
        if inner.is_data() {
            return explain(&error.path().to_string(), inner);
        }
        ApiError::invalid(format!("the body is not JSON: {inner}"))
    })?;
    deserializer.end().map_err(|error| ApiError::invalid(format!("the body is not JSON: {error}")))
}

/// A value without duplicate keys; holds nothing of it.
struct Unique;

impl<'de> serde::Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unique)
    }
}

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Unique;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Unique, D::Error> {
        deserializer.deserialize_any(Unique)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Unique;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E: Error>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element_seed(Unique)?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Unique, A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if let Some(key) = keys.replace(key) {
                return Err(Error::custom(format!("the key {key:?} is there twice")));
            }
            entries.next_value_seed(Unique)?;
        }
        Ok(Unique)
    }
}
