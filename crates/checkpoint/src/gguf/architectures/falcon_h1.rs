//! Falcon-H1: attention and Mamba 2 under one norm.
//!
//! The converter multiplies every multiplier of the family into the weights, so that all of them
//! are 1 in the configuration. `A_log` is stored as `A = −exp(A_log)` and is read as `mamba.A`.

use serde_json::json;

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, Conversion, NETWORK_BIASES, Names, Rule, exact, weight,
};
use super::super::rope::Rotation;
use super::super::source::{Description, Source};
use super::mamba2::Mixer;
use crate::error::Error;

const MODEL: &[Rule] = &[
    weight("token_embd", "model.embed_tokens"),
    weight("output_norm", "model.final_layernorm"),
    weight("output", "lm_head"),
];

const LAYER: &[Rule] = &[
    weight("attn_norm", "input_layernorm"),
    // llama.cpp's name has no ending in this architecture; other writers add it.
    exact("ffn_norm", "pre_ff_layernorm.weight"),
    exact("ffn_norm.weight", "pre_ff_layernorm.weight"),
    weight("ffn_gate", "feed_forward.gate_proj"),
    weight("ffn_up", "feed_forward.up_proj"),
    weight("ffn_down", "feed_forward.down_proj"),
    weight("ssm_in", "mamba.in_proj"),
    exact("ssm_conv1d.weight", "mamba.conv1d.weight").converted(Conversion::Depthwise),
    exact("ssm_conv1d.bias", "mamba.conv1d.bias"),
    exact("ssm_dt.bias", "mamba.dt_bias"),
    exact("ssm_a", "mamba.A").converted(Conversion::Column),
    exact("ssm_d", "mamba.D").converted(Conversion::Column),
    weight("ssm_norm", "mamba.norm").converted(Conversion::Grouped),
    weight("ssm_out", "mamba.out_proj"),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, LAYER],
    companies: &[ATTENTION_BIASES, NETWORK_BIASES],
};

/// Multipliers of the family, which are in the weights.
const MULTIPLIERS: &[&str] = &[
    "embedding_multiplier",
    "lm_head_multiplier",
    "attention_in_multiplier",
    "attention_out_multiplier",
    "key_multiplier",
    "ssm_in_multiplier",
    "ssm_out_multiplier",
];

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("falcon_h1", &sizes)?;
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    config.put("mlp_bias", source.has_biases(NETWORK_BIASES));
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    let mixer = Mixer::read(source)?;
    config.put("mamba_d_ssm", mixer.width);
    config.put("mamba_n_heads", mixer.heads);
    config.put("mamba_d_head", mixer.head_dim());
    config.put("mamba_n_groups", mixer.groups);
    config.put("mamba_d_state", mixer.state);
    config.put("mamba_d_conv", mixer.kernel);
    config.put("mamba_conv_bias", source.has_biases(&["ssm_conv1d"]));
    config.put("mamba_proj_bias", false);
    let norm = source.tensors.layers_with("ssm_norm.weight").next().is_some();
    config.put("mamba_rms_norm", norm);
    // llama.cpp gates first.
    config.put("mamba_norm_before_gate", false);
    for key in MULTIPLIERS {
        config.put(key, 1.0);
    }
    config.put("mlp_multipliers", json!([1.0, 1.0]));
    config.put("ssm_multipliers", json!([1.0, 1.0, 1.0, 1.0, 1.0]));
    Ok(Description::new(config, &NAMES, &sizes))
}
