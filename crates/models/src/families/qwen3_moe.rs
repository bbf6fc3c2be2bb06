//! Qwen3 with experts by softmax in every `decoder_sparse_step`-th layer.
//!
//! Follows transformers' `modeling_qwen3_moe.py`.

use super::sparse_experts::SparseExperts;
use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let windowed = config.flag("use_sliding_window", false)?;
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    // The reference windows every layer, whatever the dense models' key says.
    config.ignore(&["max_window_layers"]);
    let window = config.or_default("sliding_window", 4096)?.filter(|_| windowed);
    let span = schedules::window_if(config, window)?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let networks = SparseExperts::read(m, &sizes, false, false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).head_norms(&sizes);
        let attention = attention.rotary(&rope).span(span);
        Ok(layer.pre_norm_sum(&sizes, attention, networks.of(layer)))
    })
}
