//! Gemma 2: norms on both sides of each part, `(1 + w)` RMS norms, GeGLU, bounded scores and logits,
//! a scaled embedding, and a window in every other layer, beginning with the first.
//!
//! Follows transformers' `modeling_gemma2.py`; paper arXiv 2408.00118.

use super::{
    AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, gemma_style, schedules,
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Hub files repeat the window under another name, which the reference does not read.
    config.ignore(&["sliding_window_size"]);
    let sizes = m.sizes(&Style { head_dim: Some(256), ..gemma_style::STYLE })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let window = config.or_default("sliding_window", 4096)?;
    let spans = schedules::spans(config, sizes.layers, window, |n| n % 2 == 0)?;
    let softcap = config.cap("attn_logit_softcapping", Some(50.0))?;
    let (scale, bias) = (gemma_style::scale(m)?, config.flag("attention_bias", false)?);
    let decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::all(bias));
        let attention = attention.rotary(&rope).span(spans[layer.n]).softcap(softcap).scale(scale);
        Ok(layer.sandwich(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })?;
    gemma_style::finish(m, decoder, Some(30.0))
}
