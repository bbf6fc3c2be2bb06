//! The gated delta rule.

use super::recurrence::{StateAddresses, recur};
use crate::dimensions::{HEAD_DIM, TOKEN};
use stablemate_graph::{Kernel, Value};

/// The inputs of [`delta_rule`], all f32. Each of the `K` key heads has `G` value heads.
#[derive(Clone, Copy, Debug)]
pub struct DeltaRule<'b> {
    /// `[T, K, H]`, normalised and scaled.
    pub query: Value<'b>,
    /// `[T, K, H]`, normalised.
    pub key: Value<'b>,
    /// `[T, K, G, E]`.
    pub value: Value<'b>,
    /// `[T, K, G]`, or per key channel `[T, K, G, H]`: the natural logarithm of the state's decay,
    /// ≤ 0.
    pub decay: Value<'b>,
    /// `[T, K, G]`: the weight of a change; at 1, the value replaces the recalled one.
    pub beta: Value<'b>,
}

/// The gated delta rule (Yang et al., arXiv 2412.06464; with a decay per channel as in Kimi Linear,
/// arXiv 2510.26692). For each token, with `S [H, E]` the state of a value head:
/// - `S ← exp(decay) · S`
/// - `Δ = beta · (value − Sᵀ key)`
/// - `S ← S + key ⊗ Δ`
/// - `out = Sᵀ query`
///
/// `pool [N, K, G, H, E]` → `out [T, K, G, E]` and the pool with the states after the step.
pub fn delta_rule<'b>(
    pool: Value<'b>,
    inputs: DeltaRule<'b>,
    addresses: StateAddresses<'b>,
) -> (Value<'b>, Value<'b>) {
    let DeltaRule { query, key, value, decay, beta } = inputs;
    let operands = [&[pool, query, key, value, decay, beta][..], &addresses.operands()].concat();
    let kernel = Kernel::new("stablemate.delta_rule");
    let results = pool.builder().composite(kernel, &operands, |builder, operands| {
        let [pool, query, key, value, decay, beta, positions, sequences, slots] = *operands else {
            return Vec::new();
        };
        let addresses = StateAddresses { positions, sequences, slots };
        let inputs = DeltaRule { query, key, value, decay, beta };
        let heads = value.ty().dimensions;
        recur(builder, pool, addresses, heads.get(1..).unwrap_or_default(), |token, state| {
            step(inputs.at(token), state)
        })
    });
    (results[0], results[1])
}

impl<'b> DeltaRule<'b> {
    /// The inputs of one token.
    fn at(self, token: Value<'b>) -> Self {
        let of = |value: Value<'b>| value.take(TOKEN, token);
        Self {
            query: of(self.query),
            key: of(self.key),
            value: of(self.value),
            decay: of(self.decay),
            beta: of(self.beta),
        }
    }
}

/// One token: its result `[K, G, E]` and the state `[K, G, H, E]` after it.
fn step<'b>(inputs: DeltaRule<'b>, state: Value<'b>) -> (Value<'b>, Value<'b>) {
    let DeltaRule { query, key, value, decay, beta } = inputs;
    let all = state.ty().dimensions;
    let state = (state * decay.exponential()).named("decayed");
    let over = |vector: Value<'b>, state: Value<'b>| (state * vector).sum(HEAD_DIM);
    let change = ((value - over(key, state)) * beta).named("change");
    let state = state + key.broadcast(&all) * change.broadcast(&all);
    (over(query, state), state.named("after"))
}
