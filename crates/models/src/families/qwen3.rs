//! Qwen3: Llama's layout with per-head RMS norms on query and key, and a head size of its own.
//!
//! Follows transformers' `modeling_qwen3.py`; paper arXiv 2505.09388. With `use_sliding_window`, the
//! layers from `max_window_layers` on see only a window.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let sizes = m.sizes(&Style { head_dim: Some(128), kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let spans = schedules::from_layer(m, &sizes)?;
    let bias = AttentionBias::all(m.config.flag("attention_bias", false)?);
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).head_norms(&sizes);
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
