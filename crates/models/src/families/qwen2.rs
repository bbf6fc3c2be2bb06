//! Qwen2 and Qwen2.5: Llama's layout with biases on query, key and value.
//!
//! Follows transformers' `modeling_qwen2.py`; paper arXiv 2407.10671. With `use_sliding_window`, the
//! layers from `max_window_layers` on see only a window.

use super::{AttentionBias, Blueprint, Decoder, ModelError, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // The biases are part of the family; the reference reads neither key.
    m.config.ignore(&["attention_bias", "max_sequence_length"]);
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let spans = schedules::from_layer(m, &sizes)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::INPUTS);
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
