//! A network and experts on the same stream, each between norms of its own.

use super::{Experts, Norm, Part};
use crate::Step;
use crate::dimensions::MODEL;
use stablemate_graph::Value;

/// `post(network(pre(x))) + post(experts(pre(x)))`, of which each has its norms; the router reads `x`
/// itself.
#[derive(Debug)]
pub struct Beside {
    /// The network of every token.
    pub network: Box<dyn Part>,
    /// Before and after the network.
    pub network_norms: [Norm; 2],
    /// The experts.
    pub experts: Experts,
    /// Before and after the experts.
    pub expert_norms: [Norm; 2],
}

impl Part for Beside {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let [before, after] = &self.network_norms;
        let network = self.network.forward(step, before.forward(step, x, MODEL), None);
        let network = after.forward(step, network, MODEL);
        let [before, after] = &self.expert_norms;
        let experts = self.experts.mix(step, before.forward(step, x, MODEL), x, None);
        let sum = network + after.forward(step, experts, MODEL);
        residual.map_or(sum, |residual| residual + sum)
    }

    fn describe(&self) -> String {
        format!("({} beside {}, norms of their own)", self.network.describe(), self.experts.text())
    }
}
