//! Cohere (Command R, Aya 23): one LayerNorm without bias feeds attention and network side by side, the
//! rotation turns interleaved pairs, logits are scaled.
//!
//! Follows transformers' `modeling_cohere.py`. With `use_qk_norm`, each head of queries and keys has a
//! LayerNorm with a weight of its own.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};
use crate::parts::NormKind;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let epsilon = ("layer_norm_eps", 1e-5);
    let sizes = m.sizes(&Style { norm: NormKind::Layer, epsilon, tied: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 500_000.0).interleaved())?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let normed = config.flag("use_qk_norm", false)?;
    let scale = config.finite("logit_scale", config.get("logit_scale")?.unwrap_or(0.0625))?;
    let decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        let attention = match normed {
            true => attention.norms_of_heads(["q_norm", "k_norm"], &sizes),
            false => attention,
        };
        Ok(layer.parallel(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })?;
    Ok(Decoder { logit_scale: Some(scale as f32), ..decoder })
}
