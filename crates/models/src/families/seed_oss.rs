//! Seed-OSS: Llama's layout with biases on query, key and value, and a head size of its own.
//!
//! Follows transformers' `modeling_seed_oss.py`.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&Style { head_dim: Some(128), kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let inputs = config.flag("attention_bias", true)?;
    let bias = AttentionBias { inputs, output: config.flag("attention_out_bias", false)? };
    let network_bias = config.flag("mlp_bias", false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, network_bias)))
    })
}
