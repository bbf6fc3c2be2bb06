//! Qwen 3 with experts in every layer.

use serde_json::json;

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, EXPERTS, HEAD_NORMS, MODEL, Names, Rule, TWO_NORMS, weight,
};
use super::super::rope::Rotation;
use super::super::source::{Description, Source};
use crate::error::Error;

const ROUTER: &[Rule] = &[weight("ffn_gate_inp", "mlp.gate")];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, HEAD_NORMS, ROUTER, EXPERTS, TWO_NORMS],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("qwen3_moe", &sizes)?;
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    source.no_window(sizes.context)?;
    let experts = source.experts()?;
    config.put("num_experts", experts.count);
    config.put("num_experts_per_tok", experts.used);
    config.put("moe_intermediate_size", experts.width);
    // llama.cpp normalises the weights of the chosen experts whatever the file says.
    config.put("norm_topk_prob", true);
    config.put("decoder_sparse_step", 1);
    config.put("mlp_only_layers", json!([]));
    Ok(Description::new(config, &NAMES, &sizes))
}
