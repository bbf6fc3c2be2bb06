//! What a family's description is written with: a configuration and the tables it fills.

use crate::decoder::HEAD;
use crate::dimensions::{
    FEATURE, HEAD_DIM, KEY, KV_HEAD, MIXED, MODEL, QUERY, VALUE, VALUE_DIM, VOCABULARY,
};
use crate::parts::{Activation, Block, Gated, Gqa, Linear, Norm, NormKind, Rope, Span};
use crate::{Decoder, Embedding, ModelError, Param, ParamTable, State, StateEntry, StateKind};
use stablemate_checkpoint::RawConfig;
use stablemate_graph::Dimension;

/// A configuration together with the parameters and the state declared so far.
pub struct Blueprint<'c> {
    /// The checkpoint's configuration.
    pub config: &'c RawConfig,
    params: ParamTable,
    states: Vec<StateEntry>,
}

/// Sizes that nearly every family has, under Hugging Face's names.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// `D`: `hidden_size`.
    pub hidden: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `K · G`: `num_attention_heads`.
    pub heads: usize,
    /// `K`: `num_key_value_heads`.
    pub kv_heads: usize,
    /// `H`: `head_dim`.
    pub head_dim: usize,
    /// `F`: `intermediate_size`.
    pub features: usize,
    /// `V`: `vocab_size`.
    pub vocabulary: usize,
    /// `rms_norm_eps`.
    pub epsilon: f64,
}

impl Sizes {
    /// Reads them. Without `num_key_value_heads` every head has its own keys; without `head_dim` it is
    /// `hidden / heads`. Gemma and Qwen3 pass the fixed `head_dim` their classes assume instead.
    ///
    /// # Errors
    /// Missing keys, zeros, and head counts that do not divide.
    pub fn read(config: &RawConfig, default_head_dim: Option<usize>) -> Result<Self, ModelError> {
        // Larger sizes overflow the products of sizes that shapes are made of.
        let positive = |key: &str| size(config, key, 1 << 30);
        let (hidden, heads) = (positive("hidden_size")?, positive("num_attention_heads")?);
        let kv_heads = match config.get::<usize>("num_key_value_heads")? {
            Some(kv_heads) => kv_heads,
            None => heads,
        };
        let divides = kv_heads > 0 && heads % kv_heads == 0;
        let expected = format!("it must divide num_attention_heads, {heads}");
        check(config, "num_key_value_heads", kv_heads, divides, &expected)?;
        let head_dim = match (config.get::<usize>("head_dim")?, default_head_dim) {
            (Some(head_dim), _) | (None, Some(head_dim)) => head_dim,
            (None, None) => {
                let expected = format!("it must be a multiple of num_attention_heads, {heads}");
                check(config, "hidden_size", hidden, hidden % heads == 0, &expected)?;
                hidden / heads
            }
        };
        let sane = head_dim > 0 && head_dim < 1 << 20;
        check(config, "head_dim", head_dim, sane, "it must be positive and below 2^20")?;
        Ok(Self {
            hidden,
            layers: Self::layers(config)?,
            heads,
            kv_heads,
            head_dim,
            features: positive("intermediate_size")?,
            vocabulary: positive("vocab_size")?,
            epsilon: epsilon(config)?,
        })
    }

    /// `num_hidden_layers`, for families that need it before the other sizes.
    ///
    /// # Errors
    /// No layers, or more than any model has: a description is made of each.
    pub fn layers(config: &RawConfig) -> Result<usize, ModelError> {
        size(config, "num_hidden_layers", 1 << 10)
    }
}

fn size(config: &RawConfig, key: &str, limit: usize) -> Result<usize, ModelError> {
    let value: usize = config.require(key)?;
    check(config, key, value, value > 0, "it must be positive")?;
    check(config, key, value, value < limit, &format!("it must be below {limit}"))?;
    Ok(value)
}

fn epsilon(config: &RawConfig) -> Result<f64, ModelError> {
    let epsilon = config.get("rms_norm_eps")?.unwrap_or(1e-6);
    if epsilon == 0.0 { Ok(epsilon) } else { positive(config, "rms_norm_eps", epsilon) }
}

/// `value`, if it is positive and finite in f32, which the graph computes in.
pub(crate) fn positive(config: &RawConfig, key: &str, value: f64) -> Result<f64, ModelError> {
    let rounded = value as f32;
    if rounded.is_finite() && rounded > 0.0 {
        return Ok(value);
    }
    Err(ModelError::Unsupported {
        file: config.source().to_path_buf(),
        key: key.to_string(),
        found: value.to_string(),
        expected: "it must be positive and neither vanish nor overflow in f32".to_string(),
    })
}

fn check(
    config: &RawConfig,
    key: &str,
    found: usize,
    holds: bool,
    expected: &str,
) -> Result<(), ModelError> {
    if holds {
        return Ok(());
    }
    Err(ModelError::Unsupported {
        file: config.source().to_path_buf(),
        key: key.to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// Which projections of an attention layer have a bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionBias {
    /// Query, key and value.
    pub inputs: bool,
    /// Output.
    pub output: bool,
}

impl<'c> Blueprint<'c> {
    /// An empty blueprint of `config`.
    pub fn new(config: &'c RawConfig) -> Self {
        Self { config, params: ParamTable::default(), states: Vec::new() }
    }

    /// Declares the tensor `name`.
    pub fn param(
        &mut self,
        name: impl Into<String>,
        dimensions: impl Into<Vec<Dimension>>,
    ) -> Param {
        self.params.declare(name.into(), dimensions.into())
    }

    /// Declares `name.weight [out, in]` and, if there is one, `name.bias [out]`.
    pub fn linear(&mut self, name: &str, out: Dimension, input: Dimension, bias: bool) -> Linear {
        let weight = self.param(format!("{name}.weight"), [out, input]);
        let bias = bias.then(|| self.param(format!("{name}.bias"), [out]));
        Linear { weight, bias }
    }

    /// Declares `name.weight [n]`.
    pub fn norm(&mut self, name: &str, kind: NormKind, over: Dimension, epsilon: f64) -> Norm {
        Norm { kind, weight: self.param(format!("{name}.weight"), [over]), epsilon }
    }

    /// Declares a paged state tensor: a pool `[B, L, heads, width]`.
    pub fn state(&mut self, name: String, heads: Dimension, width: Dimension) -> State {
        self.states.push(StateEntry::paged(name, heads, width));
        State(self.states.len() - 1)
    }

    /// Declares per-sequence state: a pool `[N, dimensions…]` f32, a slot of which belongs to each
    /// sequence. A kernel reads and writes it; at position 0 it starts from zeros.
    pub fn sequence_state(&mut self, name: String, dimensions: Vec<Dimension>) -> State {
        self.states.push(StateEntry { name, kind: StateKind::PerSequence(dimensions) });
        State(self.states.len() - 1)
    }

    /// Attention of layer `n` under Llama's names (`q_proj`, …): all tokens visible, scores scaled by
    /// `1/√H`, no norms, no cap. A family changes the fields in which it differs.
    pub fn gqa(
        &mut self,
        name: &str,
        n: usize,
        sizes: &Sizes,
        rope: &Rope,
        bias: AttentionBias,
    ) -> Gqa {
        let Sizes { heads, kv_heads, head_dim, hidden, .. } = *sizes;
        let model = MODEL.of(hidden);
        let (query, mixed) = (QUERY.of(heads * head_dim), MIXED.of(heads * head_dim));
        let (key, value) = (KEY.of(kv_heads * head_dim), VALUE.of(kv_heads * head_dim));
        let kv = KV_HEAD.of(kv_heads);
        Gqa {
            kv_heads,
            group: heads / kv_heads,
            head_dim,
            query: self.linear(&format!("{name}.q_proj"), query, model, bias.inputs),
            key: self.linear(&format!("{name}.k_proj"), key, model, bias.inputs),
            value: self.linear(&format!("{name}.v_proj"), value, model, bias.inputs),
            output: self.linear(&format!("{name}.o_proj"), model, mixed, bias.output),
            query_norm: None,
            key_norm: None,
            rope: rope.clone(),
            span: Span::Full,
            scale: 1.0 / (head_dim as f32).sqrt(),
            softcap: None,
            sinks: None,
            keys: self.state(format!("cache.{n}.keys"), kv, HEAD_DIM.of(head_dim)),
            values: self.state(format!("cache.{n}.values"), kv, VALUE_DIM.of(head_dim)),
        }
    }

    /// Gated feed-forward network under Llama's names (`gate_proj`, …).
    pub fn gated(
        &mut self,
        name: &str,
        sizes: &Sizes,
        activation: Activation,
        bias: bool,
    ) -> Gated {
        let (model, feature) = (MODEL.of(sizes.hidden), FEATURE.of(sizes.features));
        Gated {
            gate: self.linear(&format!("{name}.gate_proj"), feature, model, bias),
            up: self.linear(&format!("{name}.up_proj"), feature, model, bias),
            down: self.linear(&format!("{name}.down_proj"), model, feature, bias),
            activation,
            features: sizes.features,
        }
    }

    /// The decoder around `layers` under Llama's names: embedding, final norm, a head of its own
    /// or (`tied`) the embedding's table.
    pub fn decoder(
        mut self,
        sizes: &Sizes,
        layers: Vec<Box<dyn Block>>,
        norm: NormKind,
        tied: bool,
    ) -> Result<Decoder, ModelError> {
        let shape = [VOCABULARY.of(sizes.vocabulary), MODEL.of(sizes.hidden)];
        let table = self.param("model.embed_tokens.weight", shape);
        let norm = self.norm("model.norm", norm, MODEL.of(sizes.hidden), sizes.epsilon);
        let head = if tied { table } else { self.param(HEAD, shape) };
        let positions = self.config.get::<usize>("max_position_embeddings")?;
        let stretched = |n| layers.iter().map(|layer| layer.mixer().context(n)).max().unwrap_or(n);
        let context = positions.map(stretched);
        Ok(Decoder {
            model_type: self.config.model_type()?,
            vocabulary: sizes.vocabulary,
            hidden: sizes.hidden,
            context,
            embedding: Embedding { table, scale: None },
            layers,
            norm,
            head,
            logit_softcap: None,
            params: self.params,
            states: self.states,
        })
    }
}
