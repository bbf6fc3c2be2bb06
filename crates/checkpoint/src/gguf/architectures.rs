//! What each `general.architecture` means: GGUF metadata to the keys of a Hugging Face config.json.
//!
//! Sources: llama.cpp's converter (which keys it writes, what it does to tensors) and llama.cpp's
//! loader (what an absent key means). A key that GGUF does not have, because llama.cpp derives the
//! value itself, is derived here in the same way.
//!
//! Every metadata key under the architecture's name is read here, or says nothing (zero, false,
//! empty), or the file is refused: the rule of [`RawConfig::finish`].

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use super::keys::Keys;
use super::metadata::{Metadata, Value};
use super::model::Tensors;
use super::names;
use super::rope;
use crate::config::RawConfig;
use crate::error::Error;

/// One row of the table of architectures.
pub(super) struct Architecture {
    /// The value of `general.architecture`, and the first part of its metadata keys.
    pub(super) name: &'static str,
    /// The Hugging Face family.
    model_type: &'static str,
    /// The key that names the activation function, and its value, which GGUF does not state.
    activation: (&'static str, &'static str),
    /// The names of the norms in a layer.
    pub(super) norms: &'static [(&'static str, &'static str)],
    /// The converter interleaves the two halves of each head of the query and key projections.
    pub(super) interleaved_heads: bool,
    /// The converter adds 1 to every norm weight.
    pub(super) one_added_to_norms: bool,
    /// A tensor `rope_freqs.weight` divides the rotary frequencies.
    pub(super) rope_factors: bool,
    /// What an absent `rope.freq_base` means.
    default_rope_base: Option<f64>,
    /// Keys that say whether a kind of bias exists, and the tensor that shows it.
    biases: &'static [(&'static str, &'static str)],
    /// Soft-caps: metadata key, config key, and what its absence means.
    soft_caps: &'static [(&'static str, &'static str, Option<f64>)],
    /// Which layers have a sliding window.
    window: Window,
    /// The number of layers of the one model of the family that scales queries by its width per
    /// head, and not by its head size. `None` if the family has no such key.
    scaled_by_width: Option<usize>,
}

/// Which layers have a sliding window.
enum Window {
    /// None; a window in the metadata makes it this family, in which all layers have it.
    AllOf(&'static str),
    /// None; a window in the metadata is refused.
    Never,
    /// The last of every `period` layers has none. The window may be absent from the metadata:
    /// then it has the `default` size, or no layer has one.
    Alternating { period: usize, default: Option<usize>, local_rope_base: Option<f64> },
}

const ARCHITECTURES: &[Architecture] = &[
    // Also what Mistral, SmolLM and other models with llama's structure are converted to.
    Architecture {
        name: "llama",
        model_type: "llama",
        activation: ("hidden_act", "silu"),
        norms: names::TWO_NORMS,
        interleaved_heads: true,
        one_added_to_norms: false,
        rope_factors: true,
        default_rope_base: Some(10_000.0),
        biases: &[("attention_bias", "blk.0.attn_q.bias"), ("mlp_bias", "blk.0.ffn_gate.bias")],
        soft_caps: &[],
        window: Window::AllOf("mistral"),
        scaled_by_width: None,
    },
    Architecture {
        name: "qwen2",
        model_type: "qwen2",
        activation: ("hidden_act", "silu"),
        norms: names::TWO_NORMS,
        interleaved_heads: false,
        one_added_to_norms: false,
        rope_factors: false,
        default_rope_base: Some(10_000.0),
        biases: &[],
        soft_caps: &[],
        window: Window::Never,
        scaled_by_width: None,
    },
    Architecture {
        name: "qwen3",
        model_type: "qwen3",
        activation: ("hidden_act", "silu"),
        norms: names::TWO_NORMS,
        interleaved_heads: false,
        one_added_to_norms: false,
        rope_factors: false,
        default_rope_base: Some(10_000.0),
        biases: &[("attention_bias", "blk.0.attn_q.bias")],
        soft_caps: &[],
        window: Window::Never,
        scaled_by_width: None,
    },
    Architecture {
        name: "gemma2",
        model_type: "gemma2",
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        norms: names::FOUR_NORMS,
        interleaved_heads: false,
        one_added_to_norms: true,
        rope_factors: false,
        default_rope_base: Some(10_000.0),
        biases: &[("attention_bias", "blk.0.attn_q.bias")],
        soft_caps: &[
            ("attn_logit_softcapping", "attn_logit_softcapping", Some(50.0)),
            ("final_logit_softcapping", "final_logit_softcapping", Some(30.0)),
        ],
        window: Window::Alternating { period: 2, default: Some(4096), local_rope_base: None },
        scaled_by_width: Some(46),
    },
    Architecture {
        name: "gemma3",
        model_type: "gemma3_text",
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        norms: names::FOUR_NORMS,
        interleaved_heads: false,
        one_added_to_norms: true,
        rope_factors: false,
        // Written by every converter that knew gemma 3, and not the 10000 of other families.
        default_rope_base: None,
        biases: &[("attention_bias", "blk.0.attn_q.bias")],
        soft_caps: &[("final_logit_softcapping", "final_logit_softcapping", None)],
        window: Window::Alternating { period: 6, default: None, local_rope_base: Some(10_000.0) },
        scaled_by_width: Some(62),
    },
];

/// The row for a file.
pub(super) fn find(metadata: &Metadata, path: &Path) -> Result<&'static Architecture, Error> {
    const KEY: &str = "general.architecture";
    let name = metadata.string(KEY).ok_or_else(|| {
        Error::key(path, KEY, "missing; a string is needed: the file has no model")
    })?;
    if let Some(kind) = metadata.get("general.type")
        && *kind != Value::String("model".to_owned())
    {
        let message =
            format!("is {kind:?}; only `model` is read, not adapters, projectors or parts");
        return Err(Error::key(path, "general.type", message));
    }
    ARCHITECTURES.iter().find(|architecture| architecture.name == name).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        let message =
            format!("general.architecture is `{name}`; this version reads {}", known.join(", "));
        Error::unsupported(path, message)
    })
}

/// A converted configuration, and the head counts that the tensors' layout depends on.
pub(super) struct Converted {
    /// The config.json that a Hugging Face checkpoint of this model would have.
    pub(super) config: RawConfig,
    pub(super) heads: usize,
    pub(super) key_value_heads: usize,
}

/// Converts the metadata. `factors` divide the rotary frequencies.
pub(super) fn convert(
    architecture: &'static Architecture,
    metadata: &Metadata,
    tensors: &Tensors,
    factors: Option<Vec<f32>>,
    path: &Path,
) -> Result<Converted, Error> {
    let keys = Keys::new(architecture.name, metadata, path)?;
    let dimensions = Dimensions::read(&keys, tensors)?;
    let mut object = dimensions.to_json(&keys)?;
    let mut put = |key: &str, value: Json| object.insert(key.to_owned(), value);
    put("model_type", json!(architecture.model_type));
    put("rms_norm_eps", json!(keys.require::<f64>("attention.layer_norm_rms_epsilon")?));
    put("vocab_size", json!(vocabulary(&keys, metadata, tensors)?));
    put("tie_word_embeddings", json!(tensors.shape("output.weight").is_none()));
    put(architecture.activation.0, json!(architecture.activation.1));
    for (key, tensor) in architecture.biases {
        put(key, json!(tensors.shape(tensor).is_some()));
    }
    for (from, to, default) in architecture.soft_caps {
        // Zero is how a writer switches a soft-cap off.
        let cap = if keys.get::<f64>(from)?.is_some() { keys.positive(from)? } else { *default };
        put(to, json!(cap));
    }
    let base = keys.positive("rope.freq_base")?.or(architecture.default_rope_base);
    put("rope_theta", json!(base.map_or_else(|| keys.require("rope.freq_base"), Ok)?));
    if let Some(scaling) = rope::scaling(&keys, dimensions.context, dimensions.head_dim, factors)? {
        put("rope_scaling", scaling);
    }
    if let Some(layers) = architecture.scaled_by_width {
        put("query_pre_attn_scalar", dimensions.query_scalar(&keys, layers)?);
    }
    windows(&architecture.window, &keys, &dimensions, &mut object)?;
    if keys.get("attention.causal")? == Some(false) {
        let message = "is false; only causal models are read";
        return Err(keys.wrong("attention.causal", message.to_owned()));
    }
    // What the converter's input looked like; whether a long context came by fine-tuning.
    keys.ignore(&["tensor_data_layout", "rope.scaling.finetuned"]);
    keys.finish()?;
    let Dimensions { heads, key_value_heads, .. } = dimensions;
    Ok(Converted { config: RawConfig::from_object(object, path), heads, key_value_heads })
}

/// The sizes that other keys depend on.
struct Dimensions {
    layers: usize,
    hidden: usize,
    heads: usize,
    key_value_heads: usize,
    head_dim: usize,
    context: usize,
}

impl Dimensions {
    fn read(keys: &Keys, tensors: &Tensors) -> Result<Self, Error> {
        let layers: usize = keys.require("block_count")?;
        if layers > tensors.count() {
            let message = format!("is {layers}, but the file has {} tensors", tensors.count());
            return Err(keys.wrong("block_count", message));
        }
        let hidden = keys.require("embedding_length")?;
        let heads = keys.uniform("attention.head_count")?.unwrap_or(0);
        if heads == 0 {
            let message = "missing or 0; a count is needed";
            return Err(keys.wrong("attention.head_count", message.to_owned()));
        }
        Ok(Self {
            layers,
            hidden,
            heads,
            key_value_heads: key_value_heads(keys, heads)?,
            head_dim: head_dim(keys, hidden, heads)?,
            context: keys.require("context_length")?,
        })
    }

    fn to_json(&self, keys: &Keys) -> Result<Map<String, Json>, Error> {
        const FEED_FORWARD: &str = "feed_forward_length";
        let intermediate = keys.uniform(FEED_FORWARD)?;
        let pairs = [
            ("num_hidden_layers", self.layers),
            ("hidden_size", self.hidden),
            ("intermediate_size", intermediate.map_or_else(|| keys.require(FEED_FORWARD), Ok)?),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.key_value_heads),
            ("head_dim", self.head_dim),
            ("max_position_embeddings", self.context),
        ];
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect())
    }

    /// Queries are multiplied by the inverse root of this. GGUF seldom states it; llama.cpp knows
    /// the one exception of each family by its number of layers, and so does this.
    fn query_scalar(&self, keys: &Keys, layers_scaled_by_width: usize) -> Result<Json, Error> {
        Ok(match keys.positive("attention.scale")? {
            Some(scale) => json!(1.0 / (scale * scale)),
            None if self.layers == layers_scaled_by_width => json!(self.hidden / self.heads),
            None => json!(self.head_dim),
        })
    }
}

/// The size of a head, which must be the same for queries, keys, values and rotation.
fn head_dim(keys: &Keys, hidden: usize, heads: usize) -> Result<usize, Error> {
    let head_dim = match keys.get::<usize>("attention.key_length")? {
        Some(length) => length,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => {
            let message =
                format!("missing, and embedding_length {hidden} is no multiple of {heads} heads");
            return Err(keys.wrong("attention.key_length", message));
        }
    };
    for key in ["attention.value_length", "rope.dimension_count"] {
        if let Some(length) = keys.get::<usize>(key)?
            && length != head_dim
        {
            let message = format!("is {length}; only the head size, {head_dim}, is read");
            return Err(keys.wrong(key, message));
        }
    }
    Ok(head_dim)
}

/// Each key–value head serves the same number of query heads.
fn key_value_heads(keys: &Keys, heads: usize) -> Result<usize, Error> {
    const KEY: &str = "attention.head_count_kv";
    let count = keys.uniform(KEY)?.unwrap_or(heads);
    if count == 0 || !heads.is_multiple_of(count) {
        let message = format!("is {count}; a divisor of the {heads} heads is needed");
        return Err(keys.wrong(KEY, message));
    }
    Ok(count)
}

/// The rows of the embedding: what the model has, whatever the metadata or the tokenizer say.
fn vocabulary(keys: &Keys, metadata: &Metadata, tensors: &Tensors) -> Result<usize, Error> {
    let stated = keys.get::<usize>("vocab_size")?;
    if let Some(&[rows, _]) = tensors.shape("token_embd.weight") {
        return Ok(rows);
    }
    let tokens = metadata.array("tokenizer.ggml.tokens").map(<[Value]>::len);
    stated.or(tokens).ok_or_else(|| {
        keys.wrong("vocab_size", "missing, and there is no tensor `token_embd.weight`".to_owned())
    })
}

const WINDOW: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";

/// `sliding_window`, `layer_types` and, where there are two rotary bases, `rope_local_base_freq`.
fn windows(
    window: &Window,
    keys: &Keys,
    dimensions: &Dimensions,
    object: &mut Map<String, Json>,
) -> Result<(), Error> {
    let size = keys.get::<usize>(WINDOW)?.filter(|size| *size > 0);
    let mut put = |key: &str, value: Json| object.insert(key.to_owned(), value);
    match (window, size) {
        (Window::AllOf(model_type), Some(size)) => {
            put("model_type", json!(model_type));
            put("sliding_window", json!(size));
        }
        (Window::Never, Some(size)) if size < dimensions.context => {
            let message = format!("is {size}; windows are not read for this architecture");
            return Err(keys.wrong(WINDOW, message));
        }
        (Window::AllOf(_) | Window::Never, _) => {}
        (Window::Alternating { period, default, local_rope_base }, size) => {
            let size = size.or(*default);
            let kind = |windowed: bool| match size {
                Some(_) if windowed => "sliding_attention",
                _ => "full_attention",
            };
            let schedule = schedule(keys, dimensions.layers, *period)?;
            put("layer_types", schedule.into_iter().map(kind).collect());
            put("sliding_window", json!(size));
            if let Some(default) = local_rope_base {
                let base = keys.positive("rope.freq_base_swa")?.unwrap_or(*default);
                put("rope_local_base_freq", json!(base));
            }
        }
    }
    Ok(())
}

/// Which layers have a window: as listed, or all but the last of each period.
fn schedule(keys: &Keys, layers: usize, default_period: usize) -> Result<Vec<bool>, Error> {
    if !keys.get::<Json>(PATTERN)?.is_some_and(|value| value.is_array()) {
        let period = keys.get::<usize>(PATTERN)?.unwrap_or(default_period);
        if period == 0 {
            return Err(keys.wrong(PATTERN, "is 0; a number of layers is needed".to_owned()));
        }
        return Ok((0..layers).map(|layer| layer % period < period - 1).collect());
    }
    let listed: Vec<bool> = keys.require(PATTERN)?;
    if listed.len() != layers {
        let message = format!("has {} elements for {layers} layers", listed.len());
        return Err(keys.wrong(PATTERN, message));
    }
    Ok(listed)
}
