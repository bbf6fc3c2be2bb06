//! An embedding for each layer, beside the one that begins the stream.

use super::{Activation, Linear, Norm, Part};
use crate::dimensions::{LAYER, PART};
use crate::{Param, Side, Step, kernels};
use stablemate_graph::Value;

/// `(norm(embedded · projection) + table[token] · √P) / √2`: a part of `P` values for each layer,
/// `[T, layers, P]`.
#[derive(Debug)]
pub struct PerLayer {
    /// `[V, layers · P]`.
    pub table: Param,
    /// `[layers · P, D]`.
    pub projection: Linear,
    /// Over `P`.
    pub norm: Norm,
    /// Number of layers.
    pub layers: usize,
    /// `P`.
    pub width: usize,
    /// `D`.
    pub hidden: usize,
}

impl Side for PerLayer {
    fn forward<'b>(&self, step: &Step<'b>, embedded: Value<'b>) -> Value<'b> {
        let parts = [LAYER.of(self.layers), PART.of(self.width)];
        let rows = kernels::embed(step.weight(self.table), step.tokens());
        let rows = rows.split(LAYER, &parts) * (self.width as f64).sqrt();
        let projected = step.linear(self.projection, embedded, None);
        let projected = (projected * (self.hidden as f64).powf(-0.5)).split(LAYER, &parts);
        (self.norm.forward(step, projected, PART) + rows) * 2f64.powf(-0.5)
    }

    fn describe(&self) -> String {
        format!("embeddings of {} per layer", self.width)
    }
}

/// `projection(activation(gate(x)) · own part of the side)`.
#[derive(Debug)]
pub struct PerLayerNetwork {
    /// `[P, D]`.
    pub gate: Linear,
    /// `[D, P]`.
    pub projection: Linear,
    /// Applied to the gate.
    pub activation: Activation,
    /// The layer's number.
    pub layer: usize,
}

impl Part for PerLayerNetwork {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("per_layer");
        let gate = self.activation.apply(step.linear(self.gate, x, None));
        let Some(side) = step.side() else { return x };
        let own = side.slice(LAYER, self.layer..self.layer + 1).merge(&[LAYER, PART], PART);
        step.linear(self.projection, gate * own, residual)
    }

    fn describe(&self) -> String {
        "own embedding".to_string()
    }
}
