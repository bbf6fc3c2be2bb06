//! Mixtral: Mistral's layout with experts by softmax in every layer, whose factors are renormalised.
//!
//! Follows transformers' `modeling_mixtral.py`; paper arXiv 2401.04088.

use super::{AttentionBias, Blueprint, Decoder, ModelError, RopeReading, Style, schedules};
use crate::blueprint::ExpertSizes;
use crate::parts::Experts;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let epsilon = ("rms_norm_eps", 1e-5);
    let sizes = m.sizes(&Style { epsilon, kv_heads_required: true, ..Style::LLAMA })?;
    // Noise of training.
    m.config.ignore(&["router_jitter_noise"]);
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 1_000_000.0))?;
    let span = schedules::window_if(&m.config, m.config.get("sliding_window")?)?;
    let keys = ["num_local_experts", "num_experts_per_tok", "intermediate_size"];
    let experts = ExpertSizes::read(&m.at(""), keys)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let at = layer.at("block_sparse_moe");
        let mut router = at.router("gate", &sizes, &experts, false);
        router.renormalise = Some(0.0);
        let networks = at.expert_networks(&sizes, &experts, ["w1", "w3", "w2"]);
        let attention = attention.rotary(&rope).span(span);
        Ok(layer.pre_norm(&sizes, attention, Experts { router, networks }))
    })
}
