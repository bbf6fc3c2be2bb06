//! OLMo 3: OLMo 2 with three windowed layers for each full one; scaling of the rotation applies to full
//! layers only.
//!
//! Follows transformers' `modeling_olmo3.py`; paper arXiv 2512.13961.

use super::{
    AttentionBias, Blueprint, Decoder, ModelError, Read, Rope, RopeReading, Span, Style, schedules,
};
use schedules::{FULL, SLIDING};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&Style { epsilon: ("rms_norm_eps", 1e-5), ..Style::LLAMA })?;
    let reading = |base| RopeReading::whole(sizes.head_dim, base);
    // In the older style, the reference gives `rope_theta` to full layers only.
    let base = config.get("rope_theta")?.unwrap_or(500_000.0);
    let full = Rope::of_type(config, FULL, reading(base), true)?;
    let windowed = Rope::of_type(config, SLIDING, reading(500_000.0), false)?;
    let window = config.or_default("sliding_window", 4096)?;
    let spans = schedules::spans(config, sizes.layers, window, |n| (n + 1) % 4 != 0)?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    m.decoder(&sizes, |layer| {
        let span = spans[layer.n];
        let rope = if span == Span::Full { &full } else { &windowed };
        let attention = layer.at("self_attn").attention(&sizes, bias).projection_norms(&sizes);
        let network = layer.at("mlp").gated(&sizes, false);
        Ok(layer.post_norm(&sizes, attention.rotary(rope).span(span), network))
    })
}
