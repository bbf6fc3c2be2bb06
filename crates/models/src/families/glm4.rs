//! GLM 4 (0414): norms on both sides of each part, a fused gate, and interleaved pairs in the first half
//! of each head that are rotated.
//!
//! Follows transformers' `modeling_glm4.py`.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let epsilon = ("rms_norm_eps", 1.5625e-7);
    let style = Style { head_dim: Some(128), epsilon, kv_heads_required: true, ..Style::LLAMA };
    let sizes = m.sizes(&style)?;
    let reading = RopeReading::whole(sizes.head_dim, 10_000.0).partial(0.5).interleaved();
    let rope = m.rope(reading)?;
    let inputs = m.config.flag("attention_bias", true)?;
    let bias = AttentionBias { inputs, output: false };
    let before = ["input_layernorm", "post_attention_layernorm"];
    let after = ["post_self_attn_layernorm", "post_mlp_layernorm"];
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        let network = layer.at("mlp").gated_fused(&sizes);
        Ok(layer.sandwich_named(&sizes, before, after, attention, network))
    })
}
