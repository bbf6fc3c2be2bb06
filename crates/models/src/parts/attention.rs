//! Grouped-query attention over the paged cache.

use super::{HeadNorm, Linear, Part, Position};
use crate::dimensions::{GROUP, HEAD, HEAD_DIM, KEY, KV_HEAD, MIXED, QUERY, VALUE, VALUE_DIM};
use crate::kernels::{self, Attention, Span};
use crate::{Param, State, Step};
use stablemate_graph::{ElementType, Value};

/// Grouped-query attention (Ainslie et al., arXiv 2305.13245); `K = 1` is multi-query, `G = 1` multi-head.
#[derive(Debug)]
pub struct Gqa {
    /// `K`.
    pub kv_heads: usize,
    /// `G`.
    pub group: usize,
    /// `H`.
    pub head_dim: usize,
    /// `E`.
    pub value_dim: usize,
    /// `[K·G·H, D]`.
    pub query: Linear,
    /// Normalises queries.
    pub query_norm: Option<HeadNorm>,
    /// Keys and values of this layer; `None` where the pools are those of an earlier layer.
    pub own: Option<KeysValues>,
    /// Multiplies the output before its projection.
    pub gate: Option<OutputGate>,
    /// `[D, K·G·E]`.
    pub output: Linear,
    /// How positions enter.
    pub position: Position,
    /// Biases of positions are multiplied by the scale of the scores.
    pub scaled_biases: bool,
    /// Queries grow with their position.
    pub query_growth: Option<QueryGrowth>,
    /// What is visible.
    pub span: Span,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Scores are bounded by `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Projections are clamped to `±clip`.
    pub clip: Option<f32>,
    /// A logit `[K·G]` per query head that takes part in the softmax and has no value (attention sinks).
    pub sinks: Option<Param>,
    /// Pool `[B, L, K, H]`.
    pub keys: State,
    /// Pool `[B, L, K, E]`.
    pub values: State,
}

/// How a layer makes its keys and values.
#[derive(Debug)]
pub struct KeysValues {
    /// `[K·H, D]`.
    pub key: Linear,
    /// `[K·E, D]`; `None` where values are the projected keys, before their norm and rotation.
    pub value: Option<Linear>,
    /// Normalises keys.
    pub key_norm: Option<HeadNorm>,
    /// Normalises values.
    pub value_norm: Option<HeadNorm>,
    /// Multiplies projected keys.
    pub key_scale: Option<f32>,
}

/// `output · function(gate(x))`.
#[derive(Clone, Copy, Debug)]
pub struct OutputGate {
    /// `[K·G·E, D]`, or `[K·G, D]` for one gate per head.
    pub projection: Linear,
    /// One gate per head.
    pub per_head: bool,
    /// Applied to the projection.
    pub function: GateFunction,
}

/// The function of an [`OutputGate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateFunction {
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `ln(1 + exp(x))`.
    Softplus,
}

impl GateFunction {
    fn apply(self, x: Value<'_>) -> Value<'_> {
        match self {
            Self::Sigmoid => x.logistic(),
            Self::Softplus => softplus(x),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
        }
    }
}

/// `ln(1 + exp(x))`, without overflow: `max(x, 0) + ln(1 + exp(-|x|))`.
pub fn softplus(x: Value<'_>) -> Value<'_> {
    let zero = x.builder().scalar(0.0);
    x.maximum(zero) + ((-x.abs()).exponential() + 1.0).log()
}

/// Queries are multiplied by `1 + rate · ln(1 + ⌊(position + offset) / original⌋)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueryGrowth {
    /// The rate.
    pub rate: f32,
    /// Positions per step of the growth.
    pub original: usize,
    /// Added to positions.
    pub offset: usize,
}

impl QueryGrowth {
    /// The factor of each token, `[T]`, for `positions [T]` (i32).
    fn factors(self, positions: Value<'_>) -> Value<'_> {
        let builder = positions.builder();
        let shifted = positions + self.offset as f64;
        let original = i32::try_from(self.original).unwrap_or(i32::MAX);
        let steps = shifted.maximum(builder.integer(0)) / f64::from(original);
        let steps = steps.convert(ElementType::F32);
        (steps + 1.0).log() * f64::from(self.rate) + 1.0
    }
}

impl Gqa {
    /// The projections of `x [T, D]`: query `[T, K, G, H]`, gate, key `[T, K, H]`, value `[T, K, E]`.
    fn project<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Projections<'b> {
        let (kv_heads, group) = (KV_HEAD.of(self.kv_heads), GROUP.of(self.group));
        let (head_dim, value_dim) = (HEAD_DIM.of(self.head_dim), VALUE_DIM.of(self.value_dim));
        let mut linears = vec![self.query];
        linears.extend(self.own.iter().map(|own| own.key));
        linears.extend(self.own.iter().filter_map(|own| own.value));
        linears.extend(self.gate.map(|gate| gate.projection));
        let clip = |x: Value<'b>| match self.clip {
            Some(clip) => {
                let bound = |bound: f32| x.builder().scalar(bound);
                x.maximum(bound(-clip)).minimum(bound(clip))
            }
            None => x,
        };
        let mut products = step.linears(&linears, x).into_iter();
        let mut next = || products.next().unwrap_or(x);
        let query = clip(next()).split(QUERY, &[kv_heads, group, head_dim]).named("query");
        let own = self.own.as_ref().map(|own| {
            let projected = clip(next()).split(KEY, &[kv_heads, head_dim]);
            let value = match own.value {
                Some(_) => clip(next()).split(VALUE, &[kv_heads, value_dim]),
                None => projected.relabel(HEAD_DIM, VALUE_DIM),
            };
            let key = match own.key_scale {
                Some(scale) => projected * f64::from(scale),
                None => projected,
            };
            (key.named("key"), value.named("value"))
        });
        let gate = self.gate.map(|gate| match gate.per_head {
            true => next().split(HEAD, &[kv_heads, group]),
            false => next().split(MIXED, &[kv_heads, group, value_dim]),
        });
        Projections { query, own, gate }
    }

    /// Norm and rotation of queries or keys.
    fn place<'b>(&self, step: &Step<'b>, norm: Option<HeadNorm>, x: Value<'b>) -> Value<'b> {
        let normalise = |x, after| match norm {
            Some(norm) if norm.after_rotation == after => norm.forward(step, x),
            _ => x,
        };
        let x = normalise(x, false);
        let x = match &self.position {
            Position::Rotary(rope) => step.rotate(rope, x),
            Position::None | Position::Alibi(_) => x,
        };
        normalise(x, true)
    }
}

/// What [`Gqa::project`] gives.
struct Projections<'b> {
    query: Value<'b>,
    /// Key and value.
    own: Option<(Value<'b>, Value<'b>)>,
    gate: Option<Value<'b>>,
}

impl Part for Gqa {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("attention");
        let Projections { query, own, gate } = self.project(step, x);
        let query = self.place(step, self.query_norm, query);
        let query = match self.query_growth {
            Some(growth) => query * growth.factors(step.addresses().positions),
            None => query,
        };
        if let (Some((key, value)), Some(own)) = (own, &self.own) {
            let key = self.place(step, own.key_norm, key);
            let key = match &self.position {
                Position::Alibi(alibi) => alibi.extend_keys(key, step.addresses().positions),
                Position::None | Position::Rotary(_) => key,
            };
            step.write(self.keys, key);
            let value = own.value_norm.map_or(value, |norm| norm.forward(step, value));
            step.write(self.values, value);
        }
        let parameters = Attention { scale: self.scale, span: self.span, softcap: self.softcap };
        let heads = [KV_HEAD.of(self.kv_heads), GROUP.of(self.group)];
        let sinks = self.sinks.map(|sinks| step.param(sinks).split(HEAD, &heads));
        let pools = (step.state(self.keys), step.state(self.values));
        let query = match &self.position {
            Position::Alibi(alibi) => {
                alibi.extend_queries(query, (!self.scaled_biases).then_some(self.scale))
            }
            Position::None | Position::Rotary(_) => query,
        };
        let mixed =
            kernels::attention(parameters, query, pools.0, pools.1, sinks, step.addresses());
        let mixed = match (gate, self.gate) {
            (Some(gate), Some(OutputGate { function, .. })) => mixed * function.apply(gate),
            _ => mixed,
        };
        let mixed = mixed.merge(&[KV_HEAD, GROUP, VALUE_DIM], MIXED);
        step.linear(self.output, mixed, residual).named("output")
    }

    fn describe(&self) -> String {
        let mut text = format!("gqa {}x{} heads of {}", self.kv_heads, self.group, self.head_dim);
        if self.value_dim != self.head_dim {
            text += &format!(" with values of {}", self.value_dim);
        }
        if let Span::Window(n) = self.span {
            text += &format!(", window {n}");
        }
        if self.query.bias.is_some() {
            text += if self.output.bias.is_some() { ", bias q k v o" } else { ", bias q k v" };
        } else if self.output.bias.is_some() {
            text += ", bias o";
        }
        if let Some(norm) = &self.query_norm {
            text += &format!(", q/k {}", norm.describe());
        }
        match &self.own {
            None => text += ", keys and values of an earlier layer",
            Some(own) => {
                if own.value.is_none() {
                    text += ", values are keys";
                }
                if let Some(norm) = &own.value_norm {
                    text += &format!(", v {}", norm.describe());
                }
                if let Some(scale) = own.key_scale {
                    text += &format!(", keys times {scale}");
                }
            }
        }
        if let Some(gate) = self.gate {
            let extent = if gate.per_head { "per head" } else { "per channel" };
            text += &format!(", {} gate {extent}", gate.function.name());
        }
        if self.sinks.is_some() {
            text += ", sinks";
        }
        if let Some(cap) = self.softcap {
            text += &format!(", softcap {cap}");
        }
        if let Some(clip) = self.clip {
            text += &format!(", clip {clip}");
        }
        if let Some(growth) = self.query_growth {
            text += &format!(", query growth {} per {}", growth.rate, growth.original);
        }
        format!("{text}, scale {}, {}", self.scale, self.position.describe())
    }
}
