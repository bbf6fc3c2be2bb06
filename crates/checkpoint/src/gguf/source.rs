//! What a describing function reads of a file: its keys and its tensors, with the conventions that
//! most architectures share.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::header::StoredTensor;
use super::keys::Keys;
use super::metadata::{Metadata, Value};
use super::names::{self, Names};
use crate::dequantize::{self, Row};
use crate::encoding::{Encoding, Float};
use crate::error::Error;
use crate::file::MappedFile;

/// A config.json in the making.
#[derive(Default)]
pub(super) struct Config(pub(super) Map<String, Json>);

impl Config {
    pub(super) fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// The object under `key`, to be added to.
    pub(super) fn object(&mut self, key: &str) -> Option<&mut Map<String, Json>> {
        self.0.get_mut(key)?.as_object_mut()
    }

    /// Puts `value`, if there is one.
    pub(super) fn put_some(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }
}

/// What a describing function says about a file.
pub(super) struct Description {
    pub(super) config: Config,
    pub(super) names: &'static Names,
    pub(super) layers: usize,
    /// Layers after those, which predict further tokens and are not read.
    pub(super) further_layers: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    /// Tensors that became keys of the configuration.
    pub(super) configuration: &'static [&'static str],
}

impl Description {
    pub(super) fn new(config: Config, names: &'static Names, sizes: &Sizes) -> Self {
        let Sizes { layers, heads, key_value_heads, .. } = *sizes;
        let configuration = &[];
        Self { config, names, layers, further_layers: 0, heads, key_value_heads, configuration }
    }

    /// The configuration has what these tensors say.
    pub(super) fn with_tensors(self, configuration: &'static [&'static str]) -> Self {
        Self { configuration, ..self }
    }
}

/// The sizes that other keys depend on.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) layers: usize,
    pub(super) hidden: usize,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
    /// The width of a head of queries and keys.
    pub(super) head_dim: usize,
    /// The part of it that is rotated.
    pub(super) rotary: usize,
    pub(super) context: usize,
}

impl Sizes {
    /// `partial_rotary_factor`: families round the product with the head size down.
    pub(super) fn rotary_factor(&self) -> f64 {
        let factor = self.rotary as f64 / self.head_dim as f64;
        let exact = (factor * self.head_dim as f64) as usize == self.rotary;
        if exact { factor } else { factor + f64::EPSILON }
    }
}

/// Routed experts.
pub(super) struct Experts {
    pub(super) count: usize,
    /// Experts of a token.
    pub(super) used: usize,
    /// Features of an expert.
    pub(super) width: usize,
}

/// The tensors of a file, or of all parts of a split model.
#[derive(Default)]
pub(super) struct Tensors<'a>(BTreeMap<&'a str, (&'a StoredTensor, &'a MappedFile)>);

impl<'a> Tensors<'a> {
    pub(super) fn of(
        parts: impl IntoIterator<Item = (&'a MappedFile, &'a [StoredTensor])>,
    ) -> Result<Self, Error> {
        let mut all = BTreeMap::new();
        for (file, tensors) in parts {
            for tensor in tensors {
                if all.insert(&*tensor.name, (tensor, file)).is_some() {
                    let message = "also in another part of the model";
                    return Err(Error::tensor(file.path(), &tensor.name, message));
                }
            }
        }
        Ok(Self(all))
    }

    /// The shape, row-major, if the tensor exists.
    pub(super) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.0.get(name).map(|(tensor, _)| tensor.shape.as_slice())
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.0.keys().copied()
    }

    /// The layers that have a tensor with this name behind `blk.N.`.
    pub(super) fn layers_with<'s>(&'s self, rest: &'s str) -> impl Iterator<Item = usize> + 's {
        let layers = self.names().filter_map(names::layer_of);
        layers.filter(move |(_, found)| *found == rest).map(|(layer, _)| layer)
    }

    /// The values of a vector of F32 numbers.
    pub(super) fn vector(&self, name: &str) -> Result<Option<Vec<f32>>, Error> {
        let Some((tensor, file)) = self.0.get(name) else { return Ok(None) };
        if tensor.encoding != Ok(Encoding::Dense(Float::F32)) || tensor.shape.len() != 1 {
            let kind = match &tensor.encoding {
                Ok(encoding) => encoding.to_string(),
                Err(name) => name.clone(),
            };
            let message = format!("is {kind} of shape {:?}; an F32 vector is needed", tensor.shape);
            return Err(Error::tensor(file.path(), name, message));
        }
        let bytes = file.bytes().get(tensor.bytes.clone()).unwrap_or_default();
        // As many floats as there are bytes for in the file.
        let mut values = vec![0.0; bytes.len() / 4];
        dequantize::decode(Encoding::Dense(Float::F32), Row::alone(bytes), &mut values);
        Ok(Some(values))
    }
}

/// What a describing function reads.
pub(super) struct Source<'a> {
    pub(super) keys: Keys,
    pub(super) tensors: Tensors<'a>,
    metadata: &'a Metadata,
    path: &'a Path,
}

impl<'a> Source<'a> {
    pub(super) fn new(
        architecture: &str,
        metadata: &'a Metadata,
        tensors: Tensors<'a>,
        path: &'a Path,
    ) -> Result<Self, Error> {
        Ok(Self { keys: Keys::new(architecture, metadata, path)?, tensors, metadata, path })
    }

    /// The number of layers, without those that predict further tokens: `block_count` includes them.
    /// A file cannot have more layers than tensors, unless it has none.
    pub(super) fn layers(&self) -> Result<usize, Error> {
        let (all, further): (usize, usize) =
            (self.keys.require("block_count")?, self.further_layers()?);
        let found = self.tensors.names().count();
        if all > found && !self.tensors.is_empty() {
            let message = format!("is {all}, but the file has {found} tensors");
            return Err(self.keys.wrong("block_count", message));
        }
        match all.checked_sub(further) {
            Some(layers) if layers > 0 || further == 0 => Ok(layers),
            _ => {
                let message = format!("is {further}; less than the {all} layers is needed");
                Err(self.keys.wrong(FURTHER_LAYERS, message))
            }
        }
    }

    /// The number of layers that predict further tokens, after the others. They are not read.
    pub(super) fn further_layers(&self) -> Result<usize, Error> {
        Ok(self.keys.get(FURTHER_LAYERS)?.unwrap_or(0))
    }

    /// The sizes of a transformer whose layers are alike.
    pub(super) fn sizes(&self) -> Result<Sizes, Error> {
        let layers = self.layers()?;
        let hidden = self.keys.nonzero("embedding_length")?;
        let heads = self.keys.uniform("attention.head_count")?.unwrap_or(0);
        if heads == 0 {
            let message = "missing or 0; a count is needed";
            return Err(self.keys.wrong("attention.head_count", message.to_owned()));
        }
        let head_dim = self.head_dim(hidden, heads)?;
        let rotary = self.keys.get("rope.dimension_count")?.unwrap_or(head_dim);
        let key_value_heads = self.key_value_heads(heads)?;
        let context = self.keys.nonzero("context_length")?;
        Ok(Sizes { layers, hidden, heads, key_value_heads, head_dim, rotary, context })
    }

    /// The size of a head, which must be the same for keys and values.
    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize, Error> {
        let head_dim = match self.keys.get::<usize>("attention.key_length")? {
            Some(length) => length,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let message = format!(
                    "missing, and embedding_length {hidden} is no multiple of {heads} heads"
                );
                return Err(self.keys.wrong("attention.key_length", message));
            }
        };
        self.keys.equal("attention.value_length", head_dim)?;
        Ok(head_dim)
    }

    /// Each key–value head serves the same number of query heads.
    pub(super) fn key_value_heads(&self, heads: usize) -> Result<usize, Error> {
        const KEY: &str = "attention.head_count_kv";
        let count = self.keys.uniform(KEY)?.unwrap_or(heads);
        self.divisor(KEY, count, heads)?;
        Ok(count)
    }

    /// Refuses a count of key–value heads that does not divide the heads.
    pub(super) fn divisor(&self, key: &str, count: usize, heads: usize) -> Result<(), Error> {
        if count > 0 && heads.is_multiple_of(count) {
            return Ok(());
        }
        let message = format!("is {count}; a divisor of the {heads} heads is needed");
        Err(self.keys.wrong(key, message))
    }

    /// The keys of nearly every transformer of Hugging Face: sizes, vocabulary, tied embeddings and
    /// the epsilon of its RMS norms.
    pub(super) fn transformer(&self, model_type: &str, sizes: &Sizes) -> Result<Config, Error> {
        let mut config = self.model(model_type, sizes)?;
        config.put("intermediate_size", self.keys.required_uniform("feed_forward_length")?);
        config.put("rms_norm_eps", self.keys.require::<f64>(RMS_EPSILON)?);
        Ok(config)
    }

    /// [`Self::transformer`] without the keys of networks and norms.
    pub(super) fn model(&self, model_type: &str, sizes: &Sizes) -> Result<Config, Error> {
        let mut config = Config::default();
        config.put("model_type", model_type);
        config.put("num_hidden_layers", sizes.layers);
        config.put("hidden_size", sizes.hidden);
        config.put("num_attention_heads", sizes.heads);
        config.put("num_key_value_heads", sizes.key_value_heads);
        config.put("head_dim", sizes.head_dim);
        config.put("max_position_embeddings", sizes.context);
        config.put("vocab_size", self.vocabulary()?);
        config.put("tie_word_embeddings", self.tied());
        Ok(config)
    }

    /// Whether the head is the embedding.
    pub(super) fn tied(&self) -> bool {
        !self.tensors.contains("output.weight")
    }

    /// The counts and the width of routed experts.
    pub(super) fn experts(&self) -> Result<Experts, Error> {
        let count = self.keys.nonzero("expert_count")?;
        let used = self.keys.nonzero("expert_used_count")?;
        if used > count {
            let message = format!("is {used}; at most all {count} experts can be used");
            return Err(self.keys.wrong("expert_used_count", message));
        }
        Ok(Experts {
            count,
            used,
            width: self.keys.required_uniform("expert_feed_forward_length")?,
        })
    }

    /// The rows of the embedding: what the model has, whatever the metadata or the tokenizer say.
    pub(super) fn vocabulary(&self) -> Result<usize, Error> {
        let stated = self.keys.get::<usize>("vocab_size")?;
        if let Some(&[rows, _]) = self.tensors.shape("token_embd.weight") {
            return Ok(rows);
        }
        let tokens = self.metadata.array("tokenizer.ggml.tokens").map(<[Value]>::len);
        stated.or(tokens).ok_or_else(|| {
            let message = "missing, and there is no tensor `token_embd.weight`";
            self.keys.wrong("vocab_size", message.to_owned())
        })
    }

    /// Whether any layer has a bias of this company. That all have it is checked with the names.
    pub(super) fn has_biases(&self, stems: &[&str]) -> bool {
        stems.iter().any(|stem| self.tensors.layers_with(&format!("{stem}.bias")).next().is_some())
    }

    /// The size of the sliding window; 0 is how writers say "none".
    pub(super) fn window(&self) -> Result<Option<usize>, Error> {
        Ok(self.keys.get::<usize>(WINDOW)?.filter(|size| *size > 0))
    }

    /// Refuses a window that would hide anything.
    pub(super) fn no_window(&self, context: usize) -> Result<(), Error> {
        match self.window()? {
            Some(size) if size < context => {
                let message = format!("is {size}; windows are not read for this architecture");
                Err(self.keys.wrong(WINDOW, message))
            }
            _ => Ok(()),
        }
    }

    /// Which layers have a window: as listed, or all but the last of each period. The default is
    /// llama.cpp's.
    pub(super) fn windowed(&self, layers: usize, period: usize) -> Result<Vec<bool>, Error> {
        const PATTERN: &str = "attention.sliding_window_pattern";
        if let Some(listed) = self.keys.listed::<bool>(PATTERN, layers)? {
            return Ok(listed);
        }
        let period = self.keys.get::<usize>(PATTERN)?.unwrap_or(period);
        if period == 0 {
            return Err(self.keys.wrong(PATTERN, "is 0; a number of layers is needed".to_owned()));
        }
        Ok((0..layers).map(|layer| layer % period < period - 1).collect())
    }

    /// A fault of a tensor of this file.
    pub(super) fn tensor_fault(&self, tensor: &str, message: String) -> Error {
        Error::tensor(self.path, tensor, message)
    }
}

const WINDOW: &str = "attention.sliding_window";
const FURTHER_LAYERS: &str = "nextn_predict_layers";

/// The epsilon of RMS norms.
pub(super) const RMS_EPSILON: &str = "attention.layer_norm_rms_epsilon";

/// The epsilon of norms that take off the mean.
pub(super) const EPSILON: &str = "attention.layer_norm_epsilon";

/// `layer_types` of layers that have a window or see everything.
pub(super) fn layer_types(windowed: impl IntoIterator<Item = bool>) -> Json {
    let name = |windowed| if windowed { "sliding_attention" } else { "full_attention" };
    windowed.into_iter().map(name).map(|name| json!(name)).collect()
}
