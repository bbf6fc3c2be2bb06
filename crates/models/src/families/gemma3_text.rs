//! Gemma 3, its text model: Gemma 2 without bounded scores, with per-head norms on query and key,
//! five windowed layers for each full one, and two rotations: θ of the windowed layers is smaller,
//! and scaling applies to the full ones only.
//!
//! Follows transformers' `modeling_gemma3.py`; paper arXiv 2503.19786.

use super::{
    AttentionBias, Blueprint, Decoder, ModelError, Read, Rope, RopeReading, Span, Style,
    gemma_style, schedules,
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // The reference keeps this bound of Gemma 2 in its configuration, but does not apply it.
    config.ignore(&["attn_logit_softcapping"]);
    // transformers 5 writes the pattern with an underscore, beside the layer types it led to.
    config.ignore(&["_sliding_window_pattern"]);
    let sizes = m.sizes(&Style { head_dim: Some(256), ..gemma_style::STYLE })?;
    let rope = |kind, base_key, base, scaled| -> Result<Rope, ModelError> {
        let base = config.get(base_key)?.unwrap_or(base);
        Rope::of_type(config, kind, RopeReading::whole(sizes.head_dim, base), scaled)
    };
    let full = rope(schedules::FULL, "rope_theta", 1_000_000.0, true)?;
    let windowed = rope(schedules::SLIDING, "rope_local_base_freq", 10_000.0, false)?;
    let pattern = config.get("sliding_window_pattern")?.unwrap_or(6usize);
    config.positive("sliding_window_pattern", pattern as f64)?;
    let window = config.or_default("sliding_window", 4096)?;
    let spans = schedules::spans(config, sizes.layers, window, |n| (n + 1) % pattern != 0)?;
    let (scale, bias) = (gemma_style::scale(m)?, config.flag("attention_bias", false)?);
    let decoder = m.decoder(&sizes, |layer| {
        let span = spans[layer.n];
        let rope = if span == Span::Full { &full } else { &windowed };
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::all(bias));
        let attention = attention.head_norms(&sizes).rotary(rope).span(span).scale(scale);
        Ok(layer.sandwich(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })?;
    // Gemma 3 counts positions after scaling.
    Ok(Decoder { context: sizes.positions, ..gemma_style::finish(m, decoder, None)? })
}
