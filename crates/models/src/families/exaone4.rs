//! EXAONE 4: norms behind the parts, norms of each query and key head, and, among windowed layers, full
//! layers without positions.
//!
//! Follows transformers' `modeling_exaone4.py`; paper arXiv 2507.11407. Without a window, every layer is
//! rotated.

use super::{
    AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Span, Style, schedules,
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let epsilon = ("rms_norm_eps", 1e-5);
    let sizes = m.sizes(&Style { epsilon, kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let window = config.or_default("sliding_window", 4096)?;
    if config.contains("layer_types") {
        // Some files spell the pattern as letters; the list counts.
        config.ignore(&["sliding_window_pattern"]);
    }
    let pattern = match config.contains("layer_types") {
        true => 1,
        false => config.size_or("sliding_window_pattern", 1 << 10, 4)?,
    };
    let schedule = |n| window.is_some() && (n + 1) % pattern != 0;
    let spans = schedules::spans(config, sizes.layers, window, schedule)?;
    m.decoder(&sizes, |layer| {
        let span = spans[layer.n];
        let rope = (window.is_none() || span != Span::Full).then_some(&rope);
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let attention = attention.head_norms(&sizes).rotary_if(rope).span(span);
        Ok(layer.post_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
