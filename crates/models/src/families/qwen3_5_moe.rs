//! Qwen3.5 to 3.8 with experts: the layers of the dense models, experts by softmax whose factors are
//! renormalised, and a shared expert with a sigmoid gate.
//!
//! Follows transformers' `modeling_qwen3_5_moe.py`.

use super::gated_hybrid::{Mixers, STYLE};
use super::{Blueprint, Decoder, ModelError};
use crate::blueprint::{EXPERT_NAMES, ExpertSizes};
use crate::parts::Experts;
use crate::{Features, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // Keys of related models that the reference does not read.
    m.config.ignore(&["intermediate_size", "norm_topk_prob", "mlp_only_layers"]);
    m.config.ignore(&["decoder_sparse_step"]);
    let features = Features::Key("shared_expert_intermediate_size");
    let sizes = m.sizes(&Style { features, ..STYLE })?;
    let keys = ["num_experts", "num_experts_per_tok", "moe_intermediate_size"];
    let experts = ExpertSizes::read(&m.at(""), keys)?;
    let mixers = Mixers::read(m, &sizes, 2, |at, sizes, delta| at.delta_net(sizes, delta))?;
    m.decoder(&sizes, |layer| {
        let at = layer.at("mlp");
        let mut router = at.router("gate", &sizes, &experts, false);
        router.renormalise = Some(0.0);
        let networks = at.expert_networks(&sizes, &experts, EXPERT_NAMES);
        let shared = at.at("shared_expert").gated(&sizes, false);
        let shared = at.weighed("shared_expert_gate", &sizes, shared);
        let network = vec![Experts { router, networks }.into(), shared.into()];
        Ok(layer.pre_norm_sum(&sizes, mixers.of(layer), network))
    })
}
