//! A configuration that knows which of its keys were read.
//!
//! A family of models reads the keys it understands. [`RawConfig::finish`] then refuses every key
//! that nobody read, unless it is known not to change what the model computes: a new option in a
//! config.json leads to an error with its name instead of to plausible, wrong tokens.

mod harmless;
mod value;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

pub use value::FromConfig;

use crate::error::Error;
use crate::json;

/// The JSON object of a config.json, or one that is nested in it.
///
/// Reading is recorded across the whole file: a clone and a nested view share one record.
#[derive(Clone, Debug)]
pub struct RawConfig {
    source: Arc<Path>,
    /// The keys that lead from the root to this object.
    place: Vec<String>,
    object: Arc<Map<String, Value>>,
    record: Arc<Mutex<Record>>,
}

/// What was read. Paths are lists of keys, since a key may contain a dot.
#[derive(Debug, Default)]
struct Record {
    /// Values that were read, or ignored on purpose, as a whole.
    read: BTreeSet<Vec<String>>,
    /// Objects that were opened: their keys count one by one.
    opened: BTreeSet<Vec<String>>,
}

impl RawConfig {
    /// Parses the text of a config.json. `file` is named in every later message.
    ///
    /// # Errors
    /// Text that is not a JSON object, or an object with a key twice. The bare words `NaN` and
    /// `Infinity`, which Python writes, are accepted.
    pub fn from_json(text: &str, file: &Path) -> Result<Self, Error> {
        match json::parse(text).map_err(|message| Error::malformed(file, message))? {
            Value::Object(object) => Ok(Self::from_object(object, file)),
            other => Err(Error::malformed(
                file,
                format!("a JSON object is needed, this is {}", value::describe(&other)),
            )),
        }
    }

    pub(crate) fn from_object(object: Map<String, Value>, file: &Path) -> Self {
        Self {
            source: file.into(),
            place: Vec::new(),
            object: Arc::new(object),
            record: Arc::default(),
        }
    }

    /// The file that this came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The family: the key `model_type`.
    ///
    /// # Errors
    /// The key is absent or not a string.
    pub fn model_type(&self) -> Result<String, Error> {
        self.require("model_type")
    }

    /// Whether `key` is present and not null. Does not count as reading it.
    pub fn contains(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether `key` is present and null: the file says "none" where a family's default may be
    /// something. Does not count as reading it.
    pub fn is_null(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(Value::is_null)
    }

    /// The value as it stands, without counting as read: for what this crate looks at beside the
    /// family.
    pub(crate) fn peek(&self, key: &str) -> Option<&Value> {
        self.object.get(key)
    }

    /// The value of `key`; `None` if it is absent or null.
    ///
    /// Whole numbers written with a point (`2.0`) are not integers; integers are floats.
    ///
    /// # Errors
    /// A value of another type: the message names file, key, the value found and what is expected.
    pub fn get<T: FromConfig>(&self, key: &str) -> Result<Option<T>, Error> {
        self.record().read.insert(self.path_of(key));
        let Some(value) = self.object.get(key).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let parsed = T::from_config(value).ok_or_else(|| self.mismatch::<T>(key, value))?;
        Ok(Some(parsed))
    }

    /// The value of `key`, which must be there.
    ///
    /// # Errors
    /// As [`Self::get`], and if the key is absent or null.
    pub fn require<T: FromConfig>(&self, key: &str) -> Result<T, Error> {
        self.get(key)?.ok_or_else(|| {
            let message = format!("missing; {} is needed", T::expected());
            Error::key(&self.source, self.display_of(key), message)
        })
    }

    /// The object under `key`, with the same methods; `None` if the key is absent or null.
    ///
    /// # Errors
    /// The value is not an object.
    pub fn nested(&self, key: &str) -> Result<Option<Self>, Error> {
        let place = self.path_of(key);
        self.record().opened.insert(place.clone());
        let value = self.object.get(key).filter(|value| !value.is_null());
        let Some(value) = value else { return Ok(None) };
        let Value::Object(object) = value else {
            let message = format!("is {}, but an object is needed", value::describe(value));
            return Err(Error::key(&self.source, self.display_of(key), message));
        };
        Ok(Some(Self {
            source: Arc::clone(&self.source),
            place,
            object: Arc::new(object.clone()),
            record: Arc::clone(&self.record),
        }))
    }

    /// The same object where keys that are absent have the values of `defaults`, a JSON object. Keys
    /// that are null stay so.
    ///
    /// # Errors
    /// `defaults` is not a JSON object.
    pub fn with_defaults(&self, defaults: &str) -> Result<Self, Error> {
        let defaults = Self::from_json(defaults, &self.source)?;
        let mut object = Map::clone(&defaults.object);
        object.extend(Map::clone(&self.object));
        Ok(Self { object: Arc::new(object), ..self.clone() })
    }

    /// States that these keys of this object do not matter, whatever their values. Keys that are
    /// absent may be named.
    pub fn ignore(&self, keys: &[&str]) {
        let mut record = self.record();
        record.read.extend(keys.iter().map(|key| self.path_of(key)));
    }

    /// States that keys named by a person do not matter: `key`, or `object.key` for one that is
    /// nested. Returns the first that the file does not have, where there is one.
    pub fn ignore_named<'k>(&self, names: &'k [String]) -> Option<&'k str> {
        let mut absent = None;
        for name in names {
            match self.find(name) {
                Some(path) => _ = self.record().read.insert(path),
                None => absent = absent.or(Some(&**name)),
            }
        }
        absent
    }

    /// The path of `name` in this object: a key, or keys with dots between.
    fn find(&self, name: &str) -> Option<Vec<String>> {
        fn within(object: &Map<String, Value>, name: &str) -> Option<Vec<String>> {
            if object.contains_key(name) {
                return Some(vec![name.to_owned()]);
            }
            name.match_indices('.').find_map(|(at, _)| {
                let (key, rest) = (name.get(..at)?, name.get(at + 1..)?);
                let mut path = within(object.get(key)?.as_object()?, rest)?;
                path.insert(0, key.to_owned());
                Some(path)
            })
        }
        Some(self.place.iter().cloned().chain(within(&self.object, name)?).collect())
    }

    /// Checks that every key of this object, and of the objects opened in it, was read or ignored,
    /// is known to be harmless for inference, or says nothing (null, false, empty).
    ///
    /// # Errors
    /// Lists all other keys at once.
    pub fn finish(&self) -> Result<(), Error> {
        let mut unread = Vec::new();
        self.collect_unread(&self.record(), &self.place, &self.object, &mut unread);
        if unread.is_empty() {
            return Ok(());
        }
        Err(Error::UnreadKeys { path: self.source.to_path_buf(), keys: unread })
    }

    fn collect_unread(
        &self,
        record: &Record,
        place: &[String],
        object: &Map<String, Value>,
        unread: &mut Vec<String>,
    ) {
        for (key, value) in object {
            let path = join(place, key);
            if record.read.contains(&path) || is_neutral(value) {
                continue;
            }
            match value {
                Value::Object(inner) if record.opened.contains(&path) => {
                    self.collect_unread(record, &path, inner, unread);
                }
                _ if harmless::is_harmless(place, key) || harmless::is_neutral(key, value) => {}
                _ => unread.push(format!("`{}` = {}", path.join("."), value::shortened(value))),
            }
        }
    }

    fn mismatch<T: FromConfig>(&self, key: &str, value: &Value) -> Error {
        let found = value::describe(value);
        let message = format!("is {found}, but {} is needed", T::expected());
        Error::key(&self.source, self.display_of(key), message)
    }

    fn path_of(&self, key: &str) -> Vec<String> {
        join(&self.place, key)
    }

    fn display_of(&self, key: &str) -> String {
        self.path_of(key).join(".")
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        // A panic while holding the lock cannot leave a set half changed in a way that matters.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn join(place: &[String], key: &str) -> Vec<String> {
    place.iter().cloned().chain([key.to_owned()]).collect()
}

/// Values that switch nothing on.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(values) => values.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
