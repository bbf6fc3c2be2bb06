//! Gemma 1 and CodeGemma: Llama's layout with `(1 + w)` RMS norms, GeGLU, heads of their own size and a
//! scaled embedding.
//!
//! Follows transformers' `modeling_gemma.py`; paper arXiv 2403.08295.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, gemma_style};
use crate::parts::Activation;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let activation = ("hidden_act", Activation::GeluTanh);
    let mut sizes = m.sizes(&Style { head_dim: Some(256), activation, ..gemma_style::STYLE })?;
    // The first files say `gelu`, but mean its hyperbolic-tangent formula; the key that corrected
    // them is not read any more.
    m.config.ignore(&["hidden_activation"]);
    if sizes.activation == Activation::Gelu {
        sizes.activation = Activation::GeluTanh;
    }
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let bias = AttentionBias::all(m.config.flag("attention_bias", false)?);
    let decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })?;
    gemma_style::scaled(m, decoder)
}
