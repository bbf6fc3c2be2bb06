//! Networks of experts.

use super::{GatedActivation, Linear, Part, Router};
use crate::dimensions::EXPERT;
use crate::kernels::{self, Inner};
use crate::{Param, Step};
use stablemate_graph::Value;

/// `Σ factor · expert(x)` over the experts that a router chooses.
#[derive(Debug)]
pub struct Experts {
    /// Chooses.
    pub router: Router,
    /// The networks.
    pub networks: ExpertNetworks,
}

/// Gated networks of `X` experts.
#[derive(Debug)]
pub struct ExpertNetworks {
    /// `[X, F, D]`.
    pub gate: Param,
    /// `[X, F, D]`.
    pub up: Param,
    /// `[X, D, F]`.
    pub down: Param,
    /// `[X · F]`, `[X · F]` and `[X · D]`: biases of gate, up and down.
    pub biases: Option<[Param; 3]>,
    /// How gate and up are combined.
    pub activation: GatedActivation,
    /// `F`, for descriptions.
    pub features: usize,
}

impl Experts {
    /// The output for `x [T, D]` where the router reads `routed [T, D]`.
    pub fn mix<'b>(
        &self,
        step: &Step<'b>,
        x: Value<'b>,
        routed: Value<'b>,
        residual: Option<Value<'b>>,
    ) -> Value<'b> {
        let _scope = step.scope("experts");
        let routing = self.router.route(step, routed);
        let ExpertNetworks { gate, up, down, activation, .. } = self.networks;
        let (gate, up, down) = (step.weight(gate), step.weight(up), step.weight(down));
        let biases = self.networks.biases.iter().flatten().map(|bias| self.bias(step, *bias));
        let biases = biases.collect();
        let inner = Inner::Gated { gate, up, activation };
        let experts = kernels::Experts { inner, down, biases };
        kernels::experts(x, step.live(), routing, &experts, residual).named("output")
    }

    /// The bias `[X · rows]` as `[X, rows]`.
    fn bias<'b>(&self, step: &Step<'b>, bias: Param) -> Value<'b> {
        let bias = step.param(bias);
        let Some(all) = bias.ty().dimensions.first().copied() else { return bias };
        let experts = self.router.experts;
        bias.split(all.label, &[EXPERT.of(experts), all.label.of(all.size / experts.max(1))])
    }

    /// Phrase in descriptions.
    pub fn text(&self) -> String {
        let Router { experts, choices, .. } = self.router;
        let ExpertNetworks { activation, features, .. } = self.networks;
        let bias = if self.networks.biases.is_some() { ", bias" } else { "" };
        let (activation, router) = (activation.name(), self.router.describe());
        format!("{choices} of {experts} experts gated {activation} {features}{bias}, {router}")
    }
}

impl Part for Experts {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        self.mix(step, x, x, residual)
    }

    fn describe(&self) -> String {
        self.text()
    }
}

/// `sigmoid(gate(x)) · part(x)`: a shared expert whose share the token decides.
#[derive(Debug)]
pub struct Weighed {
    /// The part.
    pub part: Box<dyn Part>,
    /// `[1, D]`.
    pub gate: Linear,
}

impl Part for Weighed {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("shared");
        let gate = step.linear(self.gate, x, None).logistic().sum(crate::dimensions::UNIT);
        let output = self.part.forward(step, x, None) * gate;
        residual.map_or(output, |residual| residual + output)
    }

    fn describe(&self) -> String {
        format!("{}, weighed by a sigmoid", self.part.describe())
    }
}
