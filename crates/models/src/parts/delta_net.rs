//! Linear attention by the gated delta rule, with a matrix of state per head.

use super::{Linear, Norm, Part, softplus};
use crate::dimensions::{CHANNEL, GROUP, HEAD, HEAD_DIM, KV_HEAD, MIXED, TOKEN, VALUE_DIM};
use crate::kernels::{self, DeltaRule};
use crate::{Param, State, Step};
use stablemate_graph::Value;

/// A gated delta net (Yang et al., arXiv 2412.06464): a short convolution over queries, keys and
/// values, the gated delta rule, a norm, a gate. `K` key heads of `H` elements, each with `G` value
/// heads of `E`; `C = 2·K·H + K·G·E` channels.
#[derive(Debug)]
pub struct DeltaNet {
    /// `K`.
    pub key_heads: usize,
    /// `G`.
    pub group: usize,
    /// `H`.
    pub key_dim: usize,
    /// `E`.
    pub value_dim: usize,
    /// Columns of the output projection have the first value heads of all key heads first.
    pub tiled: bool,
    /// `[C, D]`: queries, keys and values, one after the other.
    pub mixed: Linear,
    /// `[K·G·E, D]`: the output's gate, before its activation.
    pub gate: Linear,
    /// `[K·G, D]`: how far a value replaces an older one.
    pub beta: Linear,
    /// `[K·G, D]`: the step that the state decays by.
    pub step: Linear,
    /// `[C, W]`: the convolution.
    pub taps: Param,
    /// `[K·G]`: the rate of decay, as its natural logarithm, or negative as it is.
    pub rate: Param,
    /// `[K·G]`, added to the step.
    pub step_bias: Param,
    /// Over `E`.
    pub norm: Norm,
    /// `[D, K·G·E]`.
    pub output: Linear,
    /// The convolution's last inputs, `[N, W - 1, C]`.
    pub tail: State,
    /// Matrices `[N, K, G, H, E]`.
    pub matrices: State,
}

/// Layout of [`DeltaNet::rate`] that holds `-exp(A_log)`; the one before holds `A_log`.
const NEGATIVE_RATE: usize = 1;

/// Added to the sum of squares of queries and keys.
const EPSILON: f64 = 1e-6;

impl DeltaNet {
    /// `ln` of what stays of the state, `[T, K, G]`.
    fn decay<'b>(&self, step: &Step<'b>, change: Value<'b>) -> Value<'b> {
        let heads = [KV_HEAD.of(self.key_heads), GROUP.of(self.group)];
        let stored = step.param(self.rate);
        let rate = match step.layout(self.rate) {
            NEGATIVE_RATE => stored,
            _ => -stored.exponential(),
        };
        let change = softplus(change + step.param(self.step_bias));
        (change * rate).split(HEAD, &heads).named("decay")
    }
}

/// `x / √(Σ x² + ε)` over each head.
fn unit<'b>(x: Value<'b>) -> Value<'b> {
    x * ((x * x).sum(HEAD_DIM) + EPSILON).rsqrt()
}

impl Part for DeltaNet {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("delta_net");
        let (key_heads, group) = (KV_HEAD.of(self.key_heads), GROUP.of(self.group));
        let (key_dim, value_dim) = (HEAD_DIM.of(self.key_dim), VALUE_DIM.of(self.value_dim));
        let products = step.linears(&[self.mixed, self.gate, self.beta, self.step], x);
        let [mixed, gate, beta, change] = products[..] else { return x };
        let (mixed, tail) = kernels::convolve(
            step.state(self.tail),
            mixed,
            step.param(self.taps),
            step.state_addresses(),
        );
        step.replace(self.tail, tail);
        let mixed = (mixed * mixed.logistic()).named("mixed");
        let keys = self.key_heads * self.key_dim;
        let of_keys = |n: usize| {
            let heads = mixed.slice(CHANNEL, n * keys..(n + 1) * keys);
            unit(heads.split(CHANNEL, &[key_heads, key_dim]))
        };
        let values = mixed.slice(CHANNEL, 2 * keys..mixed.size(CHANNEL));
        let inputs = DeltaRule {
            query: (of_keys(0) * (self.key_dim as f64).powf(-0.5)).named("query"),
            key: of_keys(1).named("key"),
            value: values.split(CHANNEL, &[key_heads, group, value_dim]).named("value"),
            decay: self.decay(step, change),
            beta: beta.logistic().split(HEAD, &[key_heads, group]).named("beta"),
        };
        let pool = step.state(self.matrices);
        let (mixed, pool) = kernels::delta_rule(pool, inputs, step.state_addresses());
        step.replace(self.matrices, pool);
        let gate = gate.split(MIXED, &[key_heads, group, value_dim]);
        let gated = self.norm.forward(step, mixed, VALUE_DIM) * (gate * gate.logistic());
        let gated = match self.tiled {
            true => {
                let tiled = gated.transpose(&[TOKEN, GROUP, KV_HEAD, VALUE_DIM]);
                tiled.merge(&[GROUP, KV_HEAD, VALUE_DIM], MIXED)
            }
            false => gated.merge(&[KV_HEAD, GROUP, VALUE_DIM], MIXED),
        };
        step.linear(self.output, gated, residual).named("output")
    }

    fn describe(&self) -> String {
        let Self { key_heads, group, key_dim, value_dim, .. } = self;
        format!("delta net {key_heads}x{group} heads of {key_dim}x{value_dim}")
    }
}
