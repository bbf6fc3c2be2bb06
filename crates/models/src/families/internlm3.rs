//! InternLM 3: Llama's layout under other names of the keys for biases, and a head size of its own.
//!
//! Follows transformers' `configuration_internlm3.py`, whose model is Llama's.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let epsilon = ("rms_norm_eps", 1e-5);
    let style = Style { head_dim: Some(128), epsilon, kv_heads_required: true, ..Style::LLAMA };
    let sizes = m.sizes(&style)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let either = |old: &str, new: &str| -> Result<bool, ModelError> {
        let old = config.get(old)?;
        Ok(config.get(new)?.or(old).unwrap_or(false))
    };
    let bias = either("qkv_bias", "attention_bias")?;
    let network_bias = either("bias", "mlp_bias")?;
    let expected = format!("the bias of the network is {network_bias}: both must be equal");
    config.check(bias == network_bias, "qkv_bias", bias, expected)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::all(bias));
        let network = layer.at("mlp").gated(&sizes, bias);
        Ok(layer.pre_norm(&sizes, attention.rotary(&rope), network))
    })
}
