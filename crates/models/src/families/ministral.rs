//! Ministral 8B: Mistral's layout whose layers see a window or everything as `layer_types` says.
//!
//! Follows transformers' `modeling_ministral.py`. `sliding_window` is 4096 when absent; null means that
//! everything is visible.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let window = m.config.or_default("sliding_window", 4096)?;
    let spans = schedules::spans(&m.config, sizes.layers, window, |_| window.is_some())?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
