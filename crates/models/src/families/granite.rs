//! Granite 3, dense: Llama's layout with multipliers on the embedding, the scores, each branch and
//! the logits, which are divided.
//!
//! Follows transformers' `modeling_granite.py`; paper arXiv 2408.13359.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&Style::LLAMA)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let network_bias = config.flag("mlp_bias", false)?;
    let multiplier = |key: &str| config.positive_or(key, 1.0);
    let scores = multiplier("attention_multiplier")? as f32;
    let branches = multiplier("residual_multiplier")? as f32;
    let mut decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope).scale(scores);
        let network = layer.at("mlp").gated(&sizes, network_bias);
        Ok(layer.pre_norm(&sizes, attention, network).residual_scale(branches))
    })?;
    decoder.embedding.scale = Some(multiplier("embedding_multiplier")? as f32);
    decoder.logit_scale = Some((1.0 / multiplier("logits_scaling")?) as f32);
    Ok(decoder)
}
