//! Feed-forward networks.

use super::{Activation, FeedForward, Linear};
use crate::Step;
use stablemate_graph::Value;

/// `down(activation(gate(x)) · up(x))` (Shazeer, arXiv 2002.05202).
#[derive(Debug)]
pub struct Gated {
    /// `[F, D]`.
    pub gate: Linear,
    /// `[F, D]`.
    pub up: Linear,
    /// `[D, F]`.
    pub down: Linear,
    /// Applied to the gate.
    pub activation: Activation,
    /// `F`, for descriptions.
    pub features: usize,
}

impl FeedForward for Gated {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("mlp");
        let features = step.gated(self.gate, self.up, self.activation, x).named("features");
        step.linear(self.down, features, residual).named("down")
    }

    fn describe(&self) -> String {
        let bias = if self.gate.bias.is_some() { ", bias" } else { "" };
        format!("gated {} {}{bias}", self.activation.name(), self.features)
    }
}
