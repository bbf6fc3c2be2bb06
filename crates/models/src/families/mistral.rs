//! Mistral: Llama's layout with a sliding window in every layer.
//!
//! Follows transformers' `modeling_mistral.py`; paper arXiv 2310.06825. `sliding_window` is 4096 when
//! absent; null (later versions of the model) means that everything is visible.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // Keys that the reference does not read; it warns of layer types and goes on.
    m.config.ignore(&["layer_types", "max_sequence_length"]);
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let window = m.config.or_default("sliding_window", 4096)?;
    let span = schedules::window_if(&m.config, window)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let attention = attention.rotary(&rope).span(span);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
