//! The metadata keys of one architecture, typed, with a record of what was read.

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::metadata::{Metadata, Value};
use crate::config::{FromConfig, RawConfig};
use crate::error::Error;

/// The metadata under an architecture's name, with a record of what was read.
pub(super) struct Keys {
    prefix: String,
    config: RawConfig,
}

impl Keys {
    pub(super) fn new(prefix: &str, metadata: &Metadata, path: &Path) -> Result<Self, Error> {
        let mut object = Map::new();
        for (key, value) in &metadata.0 {
            if key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')) {
                let value = to_json(value).ok_or_else(|| {
                    Error::key(path, key, format!("is {value}; a finite number is needed"))
                })?;
                object.insert(key.clone(), value);
            }
        }
        let zeros: Vec<&str> = object
            .iter()
            .filter(|(_, value)| value.as_f64() == Some(0.0))
            .map(|(key, _)| &**key)
            .collect();
        let config = RawConfig::from_object(object.clone(), path);
        // In GGUF, zero is how writers say "none".
        config.ignore(&zeros);
        Ok(Self { prefix: prefix.to_owned(), config })
    }

    /// The value of `general.architecture`.
    pub(super) fn architecture(&self) -> &str {
        &self.prefix
    }

    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(super) fn get<T: FromConfig>(&self, key: &str) -> Result<Option<T>, Error> {
        self.config.get(&self.full(key))
    }

    pub(super) fn require<T: FromConfig>(&self, key: &str) -> Result<T, Error> {
        self.config.require(&self.full(key))
    }

    /// A number above zero; zero counts as absent. In the range of 32-bit floats, so that its
    /// square and its inverse are finite.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.get::<f64>(key)? {
            None | Some(0.0) => Ok(None),
            Some(value) if (f32::MIN_POSITIVE.into()..=f32::MAX.into()).contains(&value) => {
                Ok(Some(value))
            }
            Some(value) => {
                Err(self.wrong(key, format!("is {value}; a number above zero is needed")))
            }
        }
    }

    /// A count that may be given once or once per layer; all layers must agree.
    pub(super) fn uniform(&self, key: &str) -> Result<Option<usize>, Error> {
        if !self.get::<Json>(key)?.is_some_and(|value| value.is_array()) {
            return self.get(key);
        }
        let counts: Vec<usize> = self.require(key)?;
        match counts.first() {
            Some(&first) if counts.iter().all(|count| *count == first) => Ok(Some(first)),
            _ => Err(self.wrong(key, "differs between layers, which is not read".to_owned())),
        }
    }

    /// A count as [`Self::uniform`], which must be there.
    pub(super) fn required_uniform(&self, key: &str) -> Result<usize, Error> {
        self.uniform(key)?.map_or_else(|| self.require(key), Ok)
    }

    /// A count above zero, which must be there.
    pub(super) fn nonzero(&self, key: &str) -> Result<usize, Error> {
        match self.require(key)? {
            0 => Err(self.wrong(key, "is 0; a number above zero is needed".to_owned())),
            count => Ok(count),
        }
    }

    /// A count for each layer; `None` if the key is absent or no list.
    pub(super) fn listed<T: FromConfig>(
        &self,
        key: &str,
        layers: usize,
    ) -> Result<Option<Vec<T>>, Error>
    where
        Vec<T>: FromConfig,
    {
        if !self.get::<Json>(key)?.is_some_and(|value| value.is_array()) {
            return Ok(None);
        }
        let listed: Vec<T> = self.require(key)?;
        if listed.len() != layers {
            let message = format!("has {} elements for {layers} layers", listed.len());
            return Err(self.wrong(key, message));
        }
        Ok(Some(listed))
    }

    /// Refuses any value but `expected`; the key may be absent.
    pub(super) fn equal(&self, key: &str, expected: usize) -> Result<(), Error> {
        match self.get::<usize>(key)? {
            Some(value) if value != expected => {
                let message = format!("is {value}; only the head size, {expected}, is read");
                Err(self.wrong(key, message))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn ignore(&self, keys: &[&str]) {
        let keys: Vec<String> = keys.iter().map(|key| self.full(key)).collect();
        self.config.ignore(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Refuses what nobody has read: the rule of [`RawConfig::finish`].
    pub(super) fn finish(&self) -> Result<(), Error> {
        self.config.finish()
    }

    pub(super) fn wrong(&self, key: &str, message: String) -> Error {
        Error::key(self.config.source(), self.full(key), message)
    }
}

/// A metadata value as JSON; `None` for floats that are not finite.
///
/// A 32-bit float becomes the shortest decimal that reads back as the same 32-bit float: 1e-5 is
/// stored as 9.99999974…e-6, and config.json says 1e-05.
fn to_json(value: &Value) -> Option<Json> {
    Some(match value {
        Value::Unsigned(number) => json!(number),
        Value::Signed(number) => json!(number),
        Value::Bool(flag) => json!(flag),
        Value::String(text) => json!(text),
        Value::Array(values) => Json::Array(values.iter().map(to_json).collect::<Option<_>>()?),
        Value::Float(number) if !number.is_finite() => return None,
        Value::Float(number) => json!(shortest(*number)),
    })
}

/// The decimal that was meant, if the number came from a 32-bit float.
fn shortest(number: f64) -> f64 {
    let narrow = number as f32;
    if f64::from(narrow) != number {
        return number;
    }
    narrow.to_string().parse().unwrap_or(number)
}
