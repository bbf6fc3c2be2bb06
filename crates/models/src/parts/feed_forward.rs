//! Feed-forward networks.

use super::{Activation, Linear, Part};
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
    /// Multiplies the gate before its activation.
    pub gate_scale: Option<f32>,
    /// `F`, for descriptions.
    pub features: usize,
}

impl Part for Gated {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("mlp");
        let features = match self.gate_scale {
            None => step.gated(self.gate, self.up, self.activation, x),
            Some(scale) => {
                let products = step.linears(&[self.gate, self.up], x);
                let [gate, up] = products[..] else { return x };
                self.activation.apply(gate.named("gate") * f64::from(scale)) * up.named("up")
            }
        };
        step.linear(self.down, features.named("features"), residual).named("down")
    }

    fn describe(&self) -> String {
        let bias = if self.gate.bias.is_some() { ", bias" } else { "" };
        let scale = self.gate_scale.map_or(String::new(), |scale| format!(", gate times {scale}"));
        format!("gated {} {}{bias}{scale}", self.activation.name(), self.features)
    }
}

/// `down(activation(up(x)))`.
#[derive(Debug)]
pub struct Plain {
    /// `[F, D]`.
    pub up: Linear,
    /// `[D, F]`.
    pub down: Linear,
    /// Applied between.
    pub activation: Activation,
    /// `F`, for descriptions.
    pub features: usize,
}

impl Part for Plain {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("mlp");
        let features = self.activation.apply(step.linear(self.up, x, None).named("up"));
        step.linear(self.down, features.named("features"), residual).named("down")
    }

    fn describe(&self) -> String {
        let bias = if self.up.bias.is_some() { ", bias" } else { "" };
        format!("plain {} {}{bias}", self.activation.name(), self.features)
    }
}

/// A part with multipliers on its input and its output.
#[derive(Debug)]
pub struct Multiplied {
    /// The part.
    pub part: Box<dyn Part>,
    /// Multiplies the input.
    pub input: Option<f32>,
    /// Multiplies the output.
    pub output: Option<f32>,
}

impl Multiplied {
    /// `output · part(input · x)`; a factor of 1 is left out.
    pub fn boxed(part: impl Into<Box<dyn Part>>, input: f32, output: f32) -> Box<dyn Part> {
        let factor = |factor: f32| (factor != 1.0).then_some(factor);
        Box::new(Self { part: part.into(), input: factor(input), output: factor(output) })
    }
}

impl Part for Multiplied {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let x = self.input.map_or(x, |scale| x * f64::from(scale));
        let Some(scale) = self.output else { return self.part.forward(step, x, residual) };
        let output = self.part.forward(step, x, None) * f64::from(scale);
        residual.map_or(output, |residual| residual + output)
    }

    fn describe(&self) -> String {
        let mut text = self.part.describe();
        if let Some(scale) = self.input {
            text += &format!(", input times {scale}");
        }
        if let Some(scale) = self.output {
            text += &format!(", output times {scale}");
        }
        text
    }
}
