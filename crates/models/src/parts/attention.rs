//! Grouped-query attention over the paged cache.

use super::{Linear, Mixer, Norm, Rope};
use crate::dimensions::{GROUP, HEAD, HEAD_DIM, KEY, KV_HEAD, MIXED, QUERY, VALUE, VALUE_DIM};
use crate::kernels::{self, Attention};
use crate::{Param, State, Step};
use stablemate_graph::Value;

/// Which earlier tokens a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All of its sequence.
    Full,
    /// The latest `n`, itself included.
    Window(usize),
}

/// Grouped-query attention (Ainslie et al., arXiv 2305.13245); `K = 1` is multi-query, `G = 1` multi-head.
#[derive(Debug)]
pub struct Gqa {
    /// `K`.
    pub kv_heads: usize,
    /// `G`.
    pub group: usize,
    /// `H`, and `E`.
    pub head_dim: usize,
    /// `[K·G·H, D]`.
    pub query: Linear,
    /// `[K·H, D]`.
    pub key: Linear,
    /// `[K·E, D]`.
    pub value: Linear,
    /// `[D, K·G·E]`.
    pub output: Linear,
    /// Normalises each query head, before the rotation.
    pub query_norm: Option<Norm>,
    /// Normalises each key head, before the rotation.
    pub key_norm: Option<Norm>,
    /// Rotary position embedding.
    pub rope: Rope,
    /// What is visible.
    pub span: Span,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Scores are bounded by `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// A logit `[K·G]` per query head that takes part in the softmax and has no value (attention sinks).
    pub sinks: Option<Param>,
    /// Pool `[B, L, K, H]`.
    pub keys: State,
    /// Pool `[B, L, K, E]`.
    pub values: State,
}

impl Mixer for Gqa {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("attention");
        let (kv_heads, head_dim) = (KV_HEAD.of(self.kv_heads), HEAD_DIM.of(self.head_dim));
        let group = GROUP.of(self.group);
        let [query, key, value] = step.linears([self.query, self.key, self.value], x);
        let query = query.split(QUERY, &[kv_heads, group, head_dim]);
        let key = key.split(KEY, &[kv_heads, head_dim]);
        let value = value.split(VALUE, &[kv_heads, VALUE_DIM.of(self.head_dim)]);
        let normalise = |norm: &Option<Norm>, x| match norm {
            Some(norm) => norm.forward(step, x, HEAD_DIM),
            None => x,
        };
        let query = step.rotate(&self.rope, normalise(&self.query_norm, query.named("query")));
        let key = step.rotate(&self.rope, normalise(&self.key_norm, key.named("key")));
        let keys = step.write(self.keys, key);
        let values = step.write(self.values, value.named("value"));
        let mixed = kernels::attention(
            Attention { scale: self.scale, span: self.span, softcap: self.softcap },
            query,
            keys,
            values,
            self.sinks.map(|sinks| step.param(sinks).split(HEAD, &[kv_heads, group])),
            step.addresses(),
        );
        let mixed = mixed.merge(&[KV_HEAD, GROUP, VALUE_DIM], MIXED);
        step.linear(self.output, mixed, residual).named("output")
    }

    fn describe(&self) -> String {
        let mut text = format!("gqa {}x{} heads of {}", self.kv_heads, self.group, self.head_dim);
        if let Span::Window(n) = self.span {
            text += &format!(", window {n}");
        }
        if self.query.bias.is_some() {
            text += if self.output.bias.is_some() { ", bias q k v o" } else { ", bias q k v" };
        }
        if self.query_norm.is_some() {
            text += ", q/k norm";
        }
        if self.sinks.is_some() {
            text += ", sinks";
        }
        if let Some(cap) = self.softcap {
            text += &format!(", softcap {cap}");
        }
        format!("{text}, scale {}, rope {}", self.scale, self.rope.describe())
    }

    fn span(&self) -> Span {
        self.span
    }

    fn context(&self, positions: usize) -> usize {
        self.rope.context(positions)
    }

    fn needs_lengths(&self) -> bool {
        self.rope.depends_on_length()
    }
}
