//! The gated short convolution (LFM 2).

use super::{Linear, Part};
use crate::{Param, State, Step, kernels};
use stablemate_graph::Value;

/// `output(behind(x) · convolve(before(x) · value(x)))`, a convolution of each channel over its last `W`
/// inputs.
#[derive(Debug)]
pub struct ShortConvolution {
    /// `[C, D]` each: the gate before the convolution, the gate behind it, the value.
    pub inputs: [Linear; 3],
    /// `[C, W]`.
    pub taps: Param,
    /// `[C]`, added to what the convolution gives.
    pub bias: Option<Param>,
    /// `[D, C]`.
    pub output: Linear,
    /// The convolution's last inputs, `[N, W - 1, C]`.
    pub tail: State,
    /// `W`, for descriptions.
    pub width: usize,
}

impl Part for ShortConvolution {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("convolution");
        let products = step.linears(&self.inputs, x);
        let [before, behind, value] = products[..] else { return x };
        let (mixed, tail) = kernels::convolve(
            step.state(self.tail),
            (before * value).named("gated"),
            step.param(self.taps),
            step.state_addresses(),
        );
        step.replace(self.tail, tail);
        let mixed = self.bias.map_or(mixed, |bias| mixed + step.param(bias));
        step.linear(self.output, (behind * mixed).named("mixed"), residual).named("output")
    }

    fn describe(&self) -> String {
        let bias = if self.bias.is_some() { ", bias" } else { "" };
        format!("gated convolution of {}{bias}", self.width)
    }
}
