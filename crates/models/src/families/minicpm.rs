//! MiniCPM 1 to 4: Llama's layout with multipliers on the embedding, each branch and the logits.
//!
//! Follows the model's own `modeling_minicpm.py` (transformers has none); paper arXiv 2404.06395. Some files
//! say `llama` and keep the multipliers.

use super::depth_scaled::Multipliers;
use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&Style { tied: true, ..Style::LLAMA })?;
    // Draft models state the layers of the model that they draft for.
    let depth = config.get("mup_denominator")?.unwrap_or(sizes.layers);
    let expected = format!("num_hidden_layers is {}", sizes.layers);
    config.check(depth == sizes.layers, "mup_denominator", depth, expected)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let multipliers = Multipliers::read(m, &sizes, [1.0, 1.0, 1.0])?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let network_bias = config.flag("mlp_bias", false)?;
    let decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        let network = layer.at("mlp").gated(&sizes, network_bias);
        Ok(layer.pre_norm(&sizes, attention, network).residual_scale(multipliers.branches))
    })?;
    Ok(multipliers.finish(decoder))
}
