//! Sizes that nearly every family has, and how a family spells them.

use crate::ModelError;
use crate::parts::{Activation, NormKind};
use crate::reading::{Read, SIZE_LIMIT};
use stablemate_checkpoint::RawConfig;

/// How a family spells and defaults the keys of [`Sizes`]. A family states the fields in which it
/// differs from [`Style::LLAMA`].
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Key of `D`.
    pub hidden: &'static str,
    /// Key of the number of layers.
    pub layers: &'static str,
    /// Key of `K · G`.
    pub heads: &'static str,
    /// Key of `K`; `None` where every head has its own keys.
    pub kv_heads: Option<&'static str>,
    /// `K` must be in the configuration: the class has a default of its own that files do not mean.
    pub kv_heads_required: bool,
    /// `H` where the configuration has no `head_dim`; `None` for hidden / heads, which null means, too.
    pub head_dim: Option<usize>,
    /// The inner features of networks.
    pub features: Features,
    /// Formula of the norms.
    pub norm: NormKind,
    /// Whether norms have biases.
    pub norm_bias: bool,
    /// Key and default of the norms' epsilon.
    pub epsilon: (&'static str, f64),
    /// Key and default of the networks' activation.
    pub activation: (&'static str, Activation),
    /// Key of the longest sequence.
    pub positions: &'static str,
    /// Whether the head is the embedding's table where the configuration does not say.
    pub tied: bool,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Names of the tensors around the layers.
    pub names: Names,
}

/// Where `F` comes from.
#[derive(Clone, Copy, Debug)]
pub enum Features {
    /// A key that must be there.
    Key(&'static str),
    /// A key; a multiple of the hidden size where it is absent or null.
    KeyOrTimes(&'static str, usize),
}

/// Names of the tensors around the layers, without `.weight`.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Before a layer's number.
    pub layers: &'static str,
    /// The embedding's table.
    pub embedding: &'static str,
    /// The last norm.
    pub norm: &'static str,
    /// The head.
    pub head: &'static str,
}

impl Names {
    /// Llama's, which most families share.
    pub const LLAMA: Self = Self {
        layers: "model.layers",
        embedding: "model.embed_tokens",
        norm: "model.norm",
        head: "lm_head",
    };
}

impl Names {
    /// The place of the model's own tensors: `model`.
    pub fn root(&self) -> &'static str {
        self.embedding.rsplit_once('.').map_or("", |(root, _)| root)
    }
}

impl Style {
    /// Llama's.
    pub const LLAMA: Self = Self {
        hidden: "hidden_size",
        layers: "num_hidden_layers",
        heads: "num_attention_heads",
        kv_heads: Some("num_key_value_heads"),
        kv_heads_required: false,
        head_dim: None,
        features: Features::Key("intermediate_size"),
        norm: NormKind::Rms,
        norm_bias: false,
        epsilon: ("rms_norm_eps", 1e-6),
        activation: ("hidden_act", Activation::Silu),
        positions: "max_position_embeddings",
        tied: false,
        head_bias: false,
        names: Names::LLAMA,
    };
}

/// Sizes that nearly every family has.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// `D`.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// `K · G`.
    pub heads: usize,
    /// `K`.
    pub kv_heads: usize,
    /// `H`.
    pub head_dim: usize,
    /// `F`.
    pub features: usize,
    /// `V`.
    pub vocabulary: usize,
    /// Formula of the norms.
    pub norm: NormKind,
    /// Whether norms have biases.
    pub norm_bias: bool,
    /// Epsilon of the norms.
    pub epsilon: f64,
    /// Activation of the networks.
    pub activation: Activation,
    /// Tokens of the longest sequence before any stretching, if the configuration says.
    pub positions: Option<usize>,
    /// Whether the head is the embedding's table.
    pub tied: bool,
    /// Whether the head has a bias.
    pub head_bias: bool,
    /// Names of the tensors around the layers.
    pub names: Names,
}

impl Sizes {
    /// Reads them.
    ///
    /// # Errors
    /// Missing keys, zeros, and head counts that do not divide.
    pub fn read(config: &RawConfig, style: &Style) -> Result<Self, ModelError> {
        let hidden = config.size(style.hidden, SIZE_LIMIT)?;
        let heads = config.size(style.heads, SIZE_LIMIT)?;
        let kv_heads = kv_heads(config, style, heads)?;
        let head_dim = head_dim(config, style, hidden, heads)?;
        let (epsilon_key, epsilon) = style.epsilon;
        let epsilon = config.get(epsilon_key)?.unwrap_or(epsilon);
        if epsilon != 0.0 {
            config.positive(epsilon_key, epsilon)?;
        }
        let features = match style.features {
            Features::Key(key) => config.size(key, SIZE_LIMIT)?,
            Features::KeyOrTimes(key, factor) => {
                config.size_or(key, SIZE_LIMIT, factor * hidden)?
            }
        };
        Ok(Self {
            hidden,
            layers: layers(config, style)?,
            heads,
            kv_heads,
            head_dim,
            features,
            vocabulary: config.size("vocab_size", SIZE_LIMIT)?,
            norm: style.norm,
            norm_bias: style.norm_bias,
            epsilon,
            activation: Activation::read(config, style.activation.0, style.activation.1)?,
            positions: config.get(style.positions)?,
            tied: config.flag("tie_word_embeddings", style.tied)?,
            head_bias: style.head_bias,
            names: style.names,
        })
    }
}

/// The number of layers. A description is made of each, so there is a limit.
fn layers(config: &RawConfig, style: &Style) -> Result<usize, ModelError> {
    config.size(style.layers, 1 << 10)
}

fn kv_heads(config: &RawConfig, style: &Style, heads: usize) -> Result<usize, ModelError> {
    let Some(key) = style.kv_heads else { return Ok(heads) };
    if style.kv_heads_required && !config.is_null(key) {
        config.require::<usize>(key)?;
    }
    let kv_heads = config.get::<usize>(key)?.unwrap_or(heads);
    divides(config, key, kv_heads, style.heads, heads)?;
    Ok(kv_heads)
}

/// That `kv_heads`, the value of `key`, is a positive divisor of `heads`.
pub(crate) fn divides(
    config: &RawConfig,
    key: &str,
    kv_heads: usize,
    heads_key: &str,
    heads: usize,
) -> Result<(), ModelError> {
    let divides = kv_heads > 0 && heads.is_multiple_of(kv_heads);
    config.check(divides, key, kv_heads, format_args!("it must divide {heads_key}, {heads}"))
}

fn head_dim(
    config: &RawConfig,
    style: &Style,
    hidden: usize,
    heads: usize,
) -> Result<usize, ModelError> {
    let stated = match style.head_dim {
        Some(default) => config.or_default("head_dim", default)?,
        None => config.get("head_dim")?,
    };
    let head_dim = match stated {
        Some(head_dim) => head_dim,
        None => {
            let expected = format!("it must be a multiple of {}, {heads}", style.heads);
            config.check(hidden.is_multiple_of(heads), style.hidden, hidden, expected)?;
            hidden / heads
        }
    };
    let sane = head_dim > 0 && head_dim < 1 << 20;
    config.check(sane, "head_dim", head_dim, "it must be positive and below 2^20")?;
    Ok(head_dim)
}
