//! The selective scan of state-space models.

use super::recurrence::{StateAddresses, recur};
use crate::dimensions::TOKEN;
use stablemate_graph::{Dimension, Kernel, Label, Value};

/// The inputs of [`scan`], all f32, in the letters of the papers. Labels of dimensions are the
/// caller's.
///
/// Mamba 1 has a head per channel: `P` and `G` are left out, and each element of a head's state has
/// its own rate of decay.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'b> {
    /// `[T, H, P]`, in Mamba 1 `[T, H]`.
    pub x: Value<'b>,
    /// `[T, H]`: the step size, after its softplus.
    pub dt: Value<'b>,
    /// `[H]`, in Mamba 1 `[H, Z]`: the rate of decay, negative.
    pub a: Value<'b>,
    /// `[T, G, Z]`, in Mamba 1 `[T, Z]`: the input projection. `H` is a multiple of `G`;
    /// neighbouring heads share a group.
    pub b: Value<'b>,
    /// `[T, G, Z]`, in Mamba 1 `[T, Z]`: the output projection.
    pub c: Value<'b>,
}

/// The scan of Mamba 1 (Gu and Dao, arXiv 2312.00752) and Mamba 2 (Dao and Gu, arXiv 2405.21060),
/// token by token, with `S [P, Z]` the state of a head: `S ← exp(dt · a) · S + (dt · x) ⊗ b`, `y =
/// S c`. The term `D · x` is not included.
///
/// `pool [N, H, P, Z]` (in Mamba 1 `[N, H, Z]`) → `y` of the type of `x`, and the pool with the
/// states after the step.
pub fn scan<'b>(
    pool: Value<'b>,
    inputs: Scan<'b>,
    addresses: StateAddresses<'b>,
) -> (Value<'b>, Value<'b>) {
    let Scan { x, dt, a, b, c } = inputs;
    let operands = [&[pool, x, dt, a, b, c][..], &addresses.operands()].concat();
    let kernel = Kernel::new("stablemate.scan");
    let results = pool.builder().composite(kernel, &operands, |builder, operands| {
        let [pool, x, dt, a, b, c, positions, sequences, slots] = *operands else {
            return Vec::new();
        };
        let addresses = StateAddresses { positions, sequences, slots };
        let heads = x.ty().dimensions;
        let heads = heads.get(1..).unwrap_or_default();
        recur(builder, pool, addresses, heads, |token, state| {
            step(Scan { x, dt, a, b, c }.at(token), state)
        })
    });
    (results[0], results[1])
}

impl<'b> Scan<'b> {
    /// The inputs of one token.
    fn at(self, token: Value<'b>) -> Self {
        let of = |value: Value<'b>| value.take(TOKEN, token);
        Self { x: of(self.x), dt: of(self.dt), a: self.a, b: of(self.b), c: of(self.c) }
    }
}

/// One token: its result `[H, P]` and the state `[H, P, Z]` after it.
fn step<'b>(inputs: Scan<'b>, state: Value<'b>) -> (Value<'b>, Value<'b>) {
    let Scan { x, dt, a, b, c } = inputs;
    let all = state.ty().dimensions;
    let (Some(heads), Some(elements)) = (all.first(), all.last()) else { return (x, state) };
    let of_heads = |value: Value<'b>| spread(value, *heads).broadcast(&all);
    let decay = (dt * a).exponential().named("decay");
    let input = (x * dt).named("input");
    let state = (state * decay + input.broadcast(&all) * of_heads(b)).named("after");
    ((state * of_heads(c)).sum(elements.label), state)
}

/// `[G, Z] → [H, Z]`: each group's row for each of its heads. Values without groups stay as they
/// are.
fn spread<'b>(value: Value<'b>, heads: Dimension) -> Value<'b> {
    const MEMBER: Label = Label("Member");
    let ty = value.ty();
    let [groups, elements] = ty.dimensions[..] else { return value };
    let members = MEMBER.of(heads.size / groups.size.max(1));
    let each = value.broadcast(&[groups, members, elements]);
    each.merge(&[groups.label, MEMBER], heads.label)
}
