//! StarCoder 2: LayerNorms with biases, a network without a gate, biases on all projections, a window.
//!
//! Follows transformers' `modeling_starcoder2.py`; paper arXiv 2402.19173.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};
use crate::parts::{Activation, NormKind};

const STYLE: Style = Style {
    kv_heads_required: true,
    norm: NormKind::Layer,
    norm_bias: true,
    epsilon: ("norm_epsilon", 1e-5),
    activation: ("hidden_act", Activation::GeluTanh),
    tied: true,
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Keys of the hub's files that the reference does not read.
    config.ignore(&["activation_function", "attention_softmax_in_fp32", "layer_norm_epsilon"]);
    config.ignore(&["mlp_type", "norm_type", "scale_attn_weights"]);
    config.ignore(&["scale_attention_softmax_in_fp32"]);
    let sizes = m.sizes(&STYLE)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let span = schedules::window_if(config, config.get("sliding_window")?)?;
    let bias = config.flag("use_bias", true)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::all(bias));
        let network = layer.at("mlp").plain(&sizes, ["c_fc", "c_proj"], bias);
        Ok(layer.pre_norm(&sizes, attention.rotary(&rope).span(span), network))
    })
}
