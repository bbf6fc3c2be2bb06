//! What config.json says of MLX's quantisation: bits and groups, for all layers and for some.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use stablemate_encodings::{Bits, Codebook, Float, Packing, Scales};

use crate::config::RawConfig;
use crate::encoding::Encoding;
use crate::error::Error;

/// The keys under which mlx-lm writes the same object twice.
pub(crate) const KEYS: [&str; 2] = ["quantization", "quantization_config"];

/// Keys of the object itself; all others are names of layers.
const OWN_KEYS: [&str; 3] = ["group_size", "bits", "mode"];

/// The modes of MLX that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A scale and a bias per group.
    Affine,
    /// Elements of MXFP4, and a scale in U8 per group.
    Mxfp4,
}

/// How a layer is quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parameters {
    pub(crate) mode: Mode,
    pub(crate) bits: Bits,
    pub(crate) group: usize,
}

impl Parameters {
    /// The encoding of mode "affine" with scales of this type.
    pub(crate) fn affine(self, scales: Float) -> Encoding {
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
    /// Modes other than "affine" and "mxfp4", bits and groups that MLX does not have, a second copy that differs.
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

/// Mode, bits and group of one object. Without a mode it is "affine", also for a layer of a model in another one.
fn parameters(object: &Map<String, Value>, path: &Path, key: &str) -> Result<Parameters, Error> {
    let mode = match object.get("mode").filter(|mode| !mode.is_null()) {
        None => Mode::Affine,
        Some(mode) if mode == "affine" => Mode::Affine,
        Some(mode) if mode == "mxfp4" => Mode::Mxfp4,
        Some(mode) => {
            let message = format!(
                "key `{key}.mode` is {mode}: of MLX's modes, \"affine\" and \"mxfp4\" are read"
            );
            return Err(Error::unsupported(path, message));
        }
    };
    let number = |name: &str| {
        let value = object.get(name).unwrap_or(&Value::Null);
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.ok_or_else(|| {
            Error::key(path, format!("{key}.{name}"), format!("is {value}; a number is needed"))
        })
    };
    let (bits, group) = (number("bits")?, number("group_size")?);
    let refuse =
        |name: &str, message: String| Err(Error::key(path, format!("{key}.{name}"), message));
    let Some(width) = Bits::new(bits) else {
        return refuse("bits", format!("is {bits}; 2, 3, 4, 5, 6 and 8 are known"));
    };
    let scales = match mode {
        Mode::Affine => Scales::Affine(Float::F32),
        Mode::Mxfp4 if width != Bits::Four => {
            return refuse("bits", format!("is {bits}; mode \"mxfp4\" has 4"));
        }
        Mode::Mxfp4 => Scales::Codebook(Codebook::Mxfp4),
    };
    if let Err(error) = Packing::new(width, group, scales) {
        return refuse("group_size", error.to_string());
    }
    Ok(Parameters { mode, bits: width, group })
}
