//! Qwen3 with experts by softmax in every `decoder_sparse_step`-th layer.
//!
//! Follows transformers' `modeling_qwen3_moe.py`.

use super::{
    AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Span, Style, schedules,
};
use crate::blueprint::{EXPERT_NAMES, ExpertSizes};
use crate::parts::Experts;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let windowed = config.flag("use_sliding_window", false)?;
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    // The reference windows every layer, whatever the dense models' key says.
    config.ignore(&["max_window_layers"]);
    let window = config.or_default("sliding_window", 4096)?;
    let span = match window.filter(|_| windowed) {
        Some(window) => schedules::window(config, window)?,
        None => Span::Full,
    };
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let keys = ["num_experts", "num_experts_per_tok", "moe_intermediate_size"];
    let experts = ExpertSizes::read(&m.at(""), keys)?;
    let renormalise = config.flag("norm_topk_prob", false)?.then_some(0.0);
    let every = config.size_or("decoder_sparse_step", 1 << 10, 1)?;
    let dense: Vec<usize> = config.get("mlp_only_layers")?.unwrap_or_default();
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).head_norms(&sizes);
        let attention = attention.rotary(&rope).span(span);
        let at = layer.at("mlp");
        if dense.contains(&layer.n) || (layer.n + 1) % every != 0 {
            return Ok(layer.pre_norm(&sizes, attention, at.gated(&sizes, false)));
        }
        let mut router = at.router("gate", &sizes, &experts, false);
        router.renormalise = renormalise;
        let networks = at.expert_networks(&sizes, &experts, EXPERT_NAMES);
        Ok(layer.pre_norm(&sizes, attention, Experts { router, networks }))
    })
}
