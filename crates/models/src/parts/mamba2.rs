//! Selective state spaces with a scalar decay per head.

use super::{Linear, Norm, Part, softplus};
use crate::dimensions::{CHANNEL, GROUP, HEAD, MIXED, STATE, VALUE_DIM};
use crate::kernels::{self, Scan};
use crate::{Param, State, Step};
use stablemate_graph::{ElementType, Literal, TensorType, Value};

/// Mamba 2 (Dao & Gu, arXiv 2405.21060): a short convolution, a scan over a state of `Z` elements for
/// each of `P` elements of `H` heads, a gate. `G` groups of neighbouring heads share the vectors that
/// write and read the state. `I = H·P`; `C = I + 2·G·Z` channels.
#[derive(Debug)]
pub struct Mamba2 {
    /// `H`.
    pub heads: usize,
    /// `P`.
    pub head_dim: usize,
    /// `G`.
    pub groups: usize,
    /// `Z`.
    pub state: usize,
    /// `[I, D]`: the output's gate, before its activation.
    pub gate: Linear,
    /// `[C, D]`: inputs, write vectors, read vectors.
    pub mixed: Linear,
    /// `[H, D]`: step sizes.
    pub step: Linear,
    /// Factors of gate, inputs, write vectors, read vectors and step sizes.
    pub multipliers: Option<[f32; 5]>,
    /// `[C, W]`: the convolution.
    pub taps: Param,
    /// `[C]`, added after the convolution.
    pub taps_bias: Option<Param>,
    /// `[H]`, added to step sizes.
    pub step_bias: Param,
    /// `[H]`: the rate of decay, as its natural logarithm, or negative as it is.
    pub rate: Param,
    /// `[H]`: the part of an input that passes by.
    pub pass: Param,
    /// Over the elements of each group, with a weight `[I]`.
    pub norm: Option<GatedNorm>,
    /// `[D, I]`.
    pub output: Linear,
    /// The convolution's last inputs, `[N, W - 1, C]`.
    pub tail: State,
    /// States `[N, H, P, Z]`.
    pub states: State,
}

/// The norm of the output and the place of its gate.
#[derive(Clone, Copy, Debug)]
pub struct GatedNorm {
    /// The norm.
    pub norm: Norm,
    /// The gate multiplies the normalised output, not the norm's input.
    pub before_gate: bool,
}

/// Layout of [`Mamba2::rate`] that holds `-exp(A_log)`; the one before holds `A_log`.
const NEGATIVE_RATE: usize = 1;

impl Mamba2 {
    /// `I`.
    fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Channels `[T, C]` and step sizes `[T, H]` times their multipliers.
    fn multiplied<'b>(&self, mixed: Value<'b>, change: Value<'b>) -> (Value<'b>, Value<'b>) {
        let Some([_, input, write, read, step]) = self.multipliers else { return (mixed, change) };
        let shared = self.groups * self.state;
        let mut factors = vec![input; self.width()];
        factors.extend(std::iter::repeat_n(write, shared));
        factors.extend(std::iter::repeat_n(read, shared));
        let ty = TensorType::new(ElementType::F32, [CHANNEL.of(factors.len())]);
        let factors = mixed.builder().constant(Literal::Float(factors), ty);
        (mixed * factors, change * f64::from(step))
    }

    /// `y [T, I]` normalised and gated.
    fn gated<'b>(&self, step: &Step<'b>, y: Value<'b>, gate: Value<'b>) -> Value<'b> {
        let gate = match self.multipliers {
            Some([factor, ..]) => gate * f64::from(factor),
            None => gate,
        };
        let gate = gate * gate.logistic();
        let Some(GatedNorm { norm, before_gate }) = self.norm else { return y * gate };
        let groups = [GROUP.of(self.groups), VALUE_DIM.of(self.width() / self.groups)];
        let plain = Norm { weight: None, bias: None, ..norm };
        let normalise = |x: Value<'b>| {
            let x = plain.forward(step, x.split(MIXED, &groups), VALUE_DIM);
            let x = x.merge(&[GROUP, VALUE_DIM], MIXED);
            norm.weight.map_or(x, |weight| x * step.param(weight))
        };
        if before_gate { normalise(y) * gate } else { normalise(y * gate) }
    }
}

impl Part for Mamba2 {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("mamba");
        let products = step.linears(&[self.gate, self.mixed, self.step], x);
        let [gate, mixed, change] = products[..] else { return x };
        let (mixed, change) = self.multiplied(mixed, change);
        let (pool, addresses) = (step.state(self.tail), step.state_addresses());
        let (mixed, tail) = kernels::convolve(pool, mixed, step.param(self.taps), addresses);
        step.replace(self.tail, tail);
        let mixed = match self.taps_bias {
            Some(bias) => mixed + step.param(bias),
            None => mixed,
        };
        let mixed = (mixed * mixed.logistic()).named("mixed");
        let heads = [HEAD.of(self.heads), VALUE_DIM.of(self.head_dim)];
        let groups = [GROUP.of(self.groups), STATE.of(self.state)];
        let (width, shared) = (self.width(), self.groups * self.state);
        let input = mixed.slice(CHANNEL, 0..width).split(CHANNEL, &heads).named("input");
        let vectors = |n: usize| {
            let start = width + n * shared;
            mixed.slice(CHANNEL, start..start + shared).split(CHANNEL, &groups)
        };
        let stored = step.param(self.rate);
        let a = match step.layout(self.rate) {
            NEGATIVE_RATE => stored,
            _ => -stored.exponential(),
        };
        let dt = softplus(change + step.param(self.step_bias));
        let inputs = Scan { x: input, dt, a, b: vectors(0), c: vectors(1) };
        let (y, pool) = kernels::scan(step.state(self.states), inputs, addresses);
        step.replace(self.states, pool);
        let y = y + input * step.param(self.pass);
        let y = y.merge(&[HEAD, VALUE_DIM], MIXED).named("mixed");
        step.linear(self.output, self.gated(step, y, gate), residual).named("output")
    }

    fn describe(&self) -> String {
        let Self { heads, head_dim, groups, state, .. } = self;
        let norm = match self.norm {
            Some(GatedNorm { before_gate: true, .. }) => ", norm before its gate",
            Some(_) => ", norm after its gate",
            None => "",
        };
        let multiplied = if self.multipliers.is_some() { ", multiplied" } else { "" };
        format!(
            "mamba2 {heads} heads of {head_dim}, {groups} groups, state {state}{norm}{multiplied}"
        )
    }
}
