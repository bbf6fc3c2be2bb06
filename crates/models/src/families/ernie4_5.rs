//! ERNIE 4.5, dense: Llama's layout with interleaved pairs, a head size of its own, and optional biases on
//! all projections.
//!
//! Follows transformers' `modeling_ernie4_5.py`.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let style = Style {
        head_dim: Some(128),
        kv_heads_required: true,
        epsilon: ("rms_norm_eps", 1e-5),
        tied: true,
        ..Style::LLAMA
    };
    let sizes = m.sizes(&style)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 500_000.0).interleaved())?;
    let bias = m.config.flag("use_bias", false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::all(bias));
        let network = layer.at("mlp").gated(&sizes, bias);
        Ok(layer.pre_norm(&sizes, attention.rotary(&rope), network))
    })
}
