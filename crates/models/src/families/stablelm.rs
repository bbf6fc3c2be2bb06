//! StableLM 2 and 3: LayerNorms with biases, a quarter of each head rotated, optionally a LayerNorm for
//! each head and one norm for attention and network side by side.
//!
//! Follows transformers' `modeling_stablelm.py`; paper arXiv 2402.17834.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};
use crate::parts::NormKind;

const STYLE: Style = Style {
    kv_heads_required: true,
    norm: NormKind::Layer,
    norm_bias: true,
    epsilon: ("layer_norm_eps", 1e-5),
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let sizes = m.sizes(&STYLE)?;
    let whole = sizes.hidden / sizes.heads;
    let expected = format!("this family's heads have hidden_size / num_attention_heads, {whole}");
    config.check(sizes.head_dim == whole, "head_dim", sizes.head_dim, expected)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0).partial(0.25))?;
    let inputs = config.flag("use_qkv_bias", false)?;
    let bias = AttentionBias { inputs, output: false };
    let normed = config.flag("qk_layernorm", false)?;
    let parallel = config.flag("use_parallel_residual", false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        let attention = match normed {
            true => attention.norms_of_heads(["q_layernorm", "k_layernorm"], &sizes),
            false => attention,
        };
        let network = layer.at("mlp").gated(&sizes, false);
        Ok(match parallel {
            true => layer.parallel(&sizes, attention, network),
            false => layer.pre_norm(&sizes, attention, network),
        })
    })
}
