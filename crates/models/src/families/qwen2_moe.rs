//! Qwen2 with experts by softmax and a shared expert with a sigmoid gate in every `decoder_sparse_step`-th
//! layer.
//!
//! Follows transformers' `modeling_qwen2_moe.py`; paper arXiv 2407.10671. With `use_sliding_window`, every
//! other layer before `max_window_layers` sees only a window.

use super::sparse_experts::SparseExperts;
use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let windowed = config.flag("use_sliding_window", false)?;
    let window = config.or_default("sliding_window", 4096)?.filter(|_| windowed);
    let last = config.get("max_window_layers")?.unwrap_or(28);
    let schedule = |n: usize| window.is_some() && n.is_multiple_of(2) && n < last;
    let spans = schedules::spans(config, sizes.layers, window, schedule)?;
    let inputs = config.flag("qkv_bias", true)?;
    let bias = AttentionBias { inputs, output: false };
    let networks = SparseExperts::read(m, &sizes, false, true)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias);
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm_sum(&sizes, attention, networks.of(layer)))
    })
}
