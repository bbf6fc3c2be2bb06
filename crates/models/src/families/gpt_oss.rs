//! gpt-oss: attention with sinks, every other layer windowed, experts by softmax over the chosen with
//! a clamped SwiGLU, biases everywhere.
//!
//! Follows transformers' `modeling_gpt_oss.py`. Gate and up rows of an expert alternate.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};
use crate::blueprint::ExpertSizes;
use crate::parts::{Experts, GatedActivation, Score};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Other names of keys that are read, which the reference does not read.
    config.ignore(&["experts_per_token", "initial_context_length"]);
    let sizes = m.sizes(&Style {
        head_dim: Some(64),
        kv_heads_required: true,
        epsilon: ("rms_norm_eps", 1e-5),
        ..Style::LLAMA
    })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 150_000.0))?;
    let window = config.or_default("sliding_window", 128)?;
    let spans = schedules::spans(config, sizes.layers, window, |n| n % 2 == 0)?;
    let bias = AttentionBias::all(config.flag("attention_bias", true)?);
    let keys = ["num_local_experts", "num_experts_per_tok", "intermediate_size"];
    let experts = ExpertSizes::read(&m.at(""), keys)?;
    let activation = GatedActivation::ClampedSwiglu {
        alpha: config.positive_or("swiglu_alpha", 1.702)? as f32,
        limit: config.positive_or("swiglu_limit", 7.0)? as f32,
    };
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).sinks("sinks");
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        let at = layer.at("mlp");
        let mut router = at.router("router", &sizes, &experts, true);
        router.score = Score::SoftmaxOfChosen;
        let networks = at.alternating_experts(&sizes, &experts, activation);
        Ok(layer.pre_norm(&sizes, attention, Experts { router, networks }))
    })
}
