//! MiniCPM 3: latent attention with LongRoPE, and multipliers on the embedding, each branch and the logits.
//!
//! Follows transformers' `modeling_minicpm3.py`; paper arXiv 2404.06395.

use super::depth_scaled::Multipliers;
use super::latent::scale;
use super::{Blueprint, Decoder, ModelError, Read, RopeReading, Style};
use crate::blueprint::LatentSizes;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // They follow from others.
    config.ignore(&["head_dim", "num_key_value_heads", "qk_head_dim"]);
    let epsilon = ("rms_norm_eps", 1e-5);
    let style = Style { kv_heads: None, epsilon, tied: true, ..Style::LLAMA };
    let sizes = m.sizes(&style)?;
    let latent = LatentSizes::read(m, Some(sizes.hidden / sizes.heads))?;
    let rope = m.rope(RopeReading::whole(latent.rotated, 10_000.0))?;
    let scale = scale(m, &latent, &rope)?;
    let multipliers = Multipliers::read(m, &sizes, [12.0, 1.4, 256.0])?;
    let network_bias = config.flag("mlp_bias", false)?;
    let decoder = m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").latent(&sizes, &latent, &rope, scale);
        let network = layer.at("mlp").gated(&sizes, network_bias);
        Ok(layer.pre_norm(&sizes, attention, network).residual_scale(multipliers.branches))
    })?;
    Ok(multipliers.finish(decoder))
}
