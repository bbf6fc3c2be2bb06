//! What config.json says of MLX's quantisation: bits and groups, for all layers and for some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stablemate_encodings::{Bits, Float, Packing, Scales};

use crate::config::RawConfig;
use crate::encoding::Encoding;
use crate::error::Error;

/// The keys under which mlx-lm writes the same object twice.
pub(crate) const KEYS: [&str; 2] = ["quantization", "quantization_config"];

/// Keys of the object itself; all others are names of layers.
const OWN_KEYS: [&str; 3] = ["group_size", "bits", "mode"];

/// How a layer is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) bits: Bits,
    pub(crate) group: usize,
}

impl Parameters {
    pub(crate) fn encoding(self, scales: Float) -> Encoding {
        Encoding::Affine { bits: self.bits, group: self.group, scales }
    }
}

/// The object `quantization` of a config.json.
#[derive(Debug)]
pub(crate) struct Quantization {
    path: PathBuf,
    key: &'static str,
    all: Parameters,
    /// By layer; `None` for layers that are not quantised.
    layers: BTreeMap<String, Option<Parameters>>,
}

impl Quantization {
    /// Reads it; `None` if config.json has none, or one that some other program wrote.
    ///
    /// # Errors
    /// Modes other than "affine", bits and groups that MLX does not have, a second copy that differs.
    pub(crate) fn read(config: &RawConfig) -> Result<Option<Self>, Error> {
        let path = config.source();
        let mut found = KEYS
            .into_iter()
            .filter_map(|key| Some((key, config.peek(key)?)))
            .filter(|(_, value)| is_mlx(value));
        let Some((key, value)) = found.next() else {
            return Ok(None);
        };
        if let Some((other, second)) = found.next()
            && second != value
        {
            let message = format!("says something else than `{key}`: they have to agree");
            return Err(Error::key(path, other, message));
        }
        let Value::Object(object) = value else {
            return Ok(None);
        };
        let all = parameters(object, path, key)?;
        let mut layers = BTreeMap::new();
        for (name, value) in object.iter().filter(|(name, _)| !OWN_KEYS.contains(&name.as_str())) {
            let layer_key = format!("{key}.{name}");
            let layer = match value {
                Value::Bool(true) => Some(all),
                Value::Bool(false) => None,
                Value::Object(object) => {
                    if let Some(unknown) =
                        object.keys().find(|key| !OWN_KEYS.contains(&key.as_str()))
                    {
                        let message = "is not known; group_size, bits and mode are";
                        return Err(Error::key(path, format!("{layer_key}.{unknown}"), message));
                    }
                    Some(parameters(object, path, &layer_key)?)
                }
                other => {
                    let message = format!(
                        "is {other}; beside group_size, bits and mode there may be layers, with an object of \
                         these, true or false"
                    );
                    return Err(Error::key(path, layer_key, message));
                }
            };
            layers.insert(name.clone(), layer);
        }
        config.ignore(&KEYS);
        Ok(Some(Self { path: path.to_owned(), key, all, layers }))
    }

    /// The config.json.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key of a layer, for messages.
    pub(crate) fn key_of(&self, layer: &str) -> String {
        format!("{}.{layer}", self.key)
    }

    /// The parameters of a layer that has scales; `None` if config.json says that it is not quantised.
    pub(crate) fn of(&self, layer: &str) -> Option<Parameters> {
        self.layers.get(layer).copied().unwrap_or(Some(self.all))
    }

    /// The layers that have an entry of their own.
    pub(crate) fn named_layers(&self) -> impl Iterator<Item = &str> {
        self.layers.keys().map(String::as_str)
    }
}

/// MLX names no method, but bits and groups.
pub(crate) fn is_mlx(value: &Value) -> bool {
    value.get("quant_method").is_none()
        && (value.get("group_size").is_some() || value.get("mode").is_some())
}

/// Bits and group of one object.
fn parameters(object: &Map<String, Value>, path: &Path, key: &str) -> Result<Parameters, Error> {
    let mode = object.get("mode").filter(|mode| !mode.is_null());
    if let Some(mode) = mode
        && mode != "affine"
    {
        let message =
            format!("key `{key}.mode` is {mode}: of MLX's modes, only \"affine\" is read");
        return Err(Error::unsupported(path, message));
    }
    let number = |name: &str| {
        let value = object.get(name).unwrap_or(&Value::Null);
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| {
            Error::key(path, format!("{key}.{name}"), format!("is {value}; a number is needed"))
        })
    };
    let (bits, group) = (number("bits")?, number("group_size")?);
    let bits = Bits::new(bits).ok_or_else(|| {
        let message = format!("is {bits}; 2, 3, 4, 5, 6 and 8 are known");
        Error::key(path, format!("{key}.bits"), message)
    })?;
    if let Err(error) = Packing::new(bits, group, Scales::Affine(Float::F32)) {
        return Err(Error::key(path, format!("{key}.group_size"), error.to_string()));
    }
    Ok(Parameters { bits, group })
}
