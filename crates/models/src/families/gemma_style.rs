//! Values that the generations of Gemma share.

use super::{Blueprint, Decoder, ModelError, Read, Style};
use crate::parts::{Activation, NormKind};

/// `(1 + w)` norms, GeGLU, a tied head.
pub(super) const STYLE: Style = Style {
    kv_heads_required: true,
    norm: NormKind::RmsOnePlus,
    activation: ("hidden_activation", Activation::GeluTanh),
    tied: true,
    ..Style::LLAMA
};

/// The factor of scores: `query_pre_attn_scalar ^ -½`.
pub(super) fn scale(m: &Blueprint) -> Result<f32, ModelError> {
    Ok(m.config.positive_or("query_pre_attn_scalar", 256.0)?.powf(-0.5) as f32)
}

/// The embedding is scaled by `√D`.
pub(super) fn scaled(m: &Blueprint, mut decoder: Decoder) -> Result<Decoder, ModelError> {
    // Attention in both directions is for embedding models; false and null mean causal.
    let expected = "only causal attention can generate";
    m.config.must_be_off("use_bidirectional_attention", expected)?;
    decoder.embedding.scale = Some((decoder.hidden as f32).sqrt());
    Ok(decoder)
}

/// The embedding is scaled by `√D`; logits are bounded, by `softcap` if the configuration is silent.
pub(super) fn finish(
    m: &Blueprint,
    decoder: Decoder,
    softcap: Option<f64>,
) -> Result<Decoder, ModelError> {
    // An older name of `hidden_activation`, which the reference does not read.
    m.config.ignore(&["hidden_act"]);
    let logit_softcap = m.config.cap("final_logit_softcapping", softcap)?;
    Ok(Decoder { logit_softcap, ..scaled(m, decoder)? })
}
