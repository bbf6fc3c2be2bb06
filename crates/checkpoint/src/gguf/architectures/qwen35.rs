//! Qwen 3.5: gated delta nets, with gated attention in every fourth layer. What `qwen35moe` shares
//! is here.
//!
//! Where there are more value heads than key heads, the converter reorders value heads from grouped
//! (the `r` heads of a key head are neighbours) to tiled: value head `j` of the file reads key head
//! `j mod linear_num_key_heads`. Rows of `in_proj_qkv`, `in_proj_z`, `in_proj_a`, `in_proj_b`,
//! channels of the convolution, `dt_bias`, `A` and the columns of `out_proj` all follow that order.
//! The columns of a packed matrix cannot be put back, so the tensors keep the file's order and the
//! configuration says `"linear_value_heads_tiled": true`: a family repeats key heads by tiling
//! instead of interleaving, and nothing else changes.
//!
//! `A_log` is stored as `A = −exp(A_log)` and is read as `linear_attn.A`, `[value heads]`.

use serde_json::{Value as Json, json};

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, Conversion, GATED, Names, Rule, exact, weight,
};
use super::super::rope::Rotation;
use super::super::source::{Config, Description, Sizes, Source};
use super::gemma2::MODEL;
use crate::error::Error;

/// Norms of a layer, to which the converter adds 1.
pub(super) const NORMS: &[Rule] = &[
    weight("attn_norm", "input_layernorm").converted(Conversion::OneAdded),
    weight("post_attention_norm", "post_attention_layernorm").converted(Conversion::OneAdded),
    weight("attn_q_norm", "self_attn.q_norm").converted(Conversion::OneAdded),
    weight("attn_k_norm", "self_attn.k_norm").converted(Conversion::OneAdded),
];

/// The gated delta net.
pub(super) const DELTA_NET: &[Rule] = &[
    weight("attn_qkv", "linear_attn.in_proj_qkv"),
    weight("attn_gate", "linear_attn.in_proj_z"),
    weight("ssm_alpha", "linear_attn.in_proj_a"),
    weight("ssm_beta", "linear_attn.in_proj_b"),
    weight("ssm_conv1d", "linear_attn.conv1d").converted(Conversion::Depthwise),
    exact("ssm_dt.bias", "linear_attn.dt_bias"),
    exact("ssm_a", "linear_attn.A"),
    weight("ssm_norm", "linear_attn.norm"),
    weight("ssm_out", "linear_attn.out_proj"),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, NORMS, DELTA_NET, GATED],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("qwen3_5_text", &sizes)?;
    mixers(source, &sizes, &mut config)?;
    Ok(Description::new(config, &NAMES, &sizes))
}

/// The keys of both mixers.
pub(super) fn mixers(source: &Source, sizes: &Sizes, config: &mut Config) -> Result<(), Error> {
    let keys = &source.keys;
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    config.put("attn_output_gate", true);
    source.rope(Rotation::partial(10_000.0), sizes, config)?;
    // Positions of images; those of text are alike in all sections.
    keys.ignore(&["rope.dimension_sections"]);
    config.put("layer_types", layer_types(source, sizes.layers)?);
    let (key_heads, value_heads) =
        (keys.nonzero("ssm.group_count")?, keys.nonzero("ssm.time_step_rank")?);
    source.divisor("ssm.group_count", key_heads, value_heads)?;
    let width = keys.nonzero("ssm.inner_size")?;
    if !width.is_multiple_of(value_heads) {
        let message = format!("is {width}; a multiple of the {value_heads} value heads is needed");
        return Err(keys.wrong("ssm.inner_size", message));
    }
    config.put("linear_conv_kernel_dim", keys.nonzero("ssm.conv_kernel")?);
    config.put("linear_key_head_dim", keys.nonzero("ssm.state_size")?);
    config.put("linear_value_head_dim", width / value_heads);
    config.put("linear_num_key_heads", key_heads);
    config.put("linear_num_value_heads", value_heads);
    if key_heads != value_heads {
        config.put("linear_value_heads_tiled", true);
    }
    Ok(())
}

/// Which layers attend: as listed, or the last of every interval.
fn layer_types(source: &Source, layers: usize) -> Result<Json, Error> {
    const LISTED: &str = "attention.recurrent_layers";
    const INTERVAL: &str = "full_attention_interval";
    let all: usize = source.keys.require("block_count")?;
    let listed = source.keys.listed::<bool>(LISTED, all)?;
    let interval = source.keys.get::<usize>(INTERVAL)?.unwrap_or(4);
    if interval == 0 {
        return Err(source.keys.wrong(INTERVAL, "is 0; a number of layers is needed".to_owned()));
    }
    let recurrent = listed
        .unwrap_or_else(|| (0..all).map(|layer| !(layer + 1).is_multiple_of(interval)).collect());
    let name = |recurrent| if recurrent { "linear_attention" } else { "full_attention" };
    Ok(recurrent.into_iter().take(layers).map(|recurrent| json!(name(recurrent))).collect())
}
