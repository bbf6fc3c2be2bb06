//! Qwen 3.5 with experts and a gated shared expert in every layer.

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, Conversion, EXPERTS, Names, Rule, exact, weight,
};
use super::super::source::{Config, Description, RMS_EPSILON, Source};
use super::gemma2::MODEL;
use super::qwen35::{DELTA_NET, NORMS, mixers};
use crate::error::Error;

const ROUTED: &[Rule] = &[
    weight("ffn_gate_inp", "mlp.gate"),
    weight("ffn_gate_inp_shexp", "mlp.shared_expert_gate").converted(Conversion::Squeezed),
    weight("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    weight("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    weight("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// Gate and up of an expert in one matrix, gate first, as Hugging Face stores them.
const FUSED: &[Rule] = &[
    exact("ffn_gate_up_exps.weight", "mlp.experts.gate_up_proj"),
    exact("ffn_down_exps.weight", "mlp.experts.down_proj"),
];

/// Gate and up of all experts apart.
pub(super) const NAMES: Names = names(&[ATTENTION, NORMS, DELTA_NET, ROUTED, EXPERTS]);

pub(super) const FUSED_NAMES: Names = names(&[ATTENTION, NORMS, DELTA_NET, ROUTED, FUSED]);

const fn names(layer: &'static [&'static [Rule]]) -> Names {
    Names { layers: "model.layers", model: MODEL, layer, companies: &[ATTENTION_BIASES] }
}

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config: Config = source.model("qwen3_5_moe_text", &sizes)?;
    config.put("rms_norm_eps", source.keys.require::<f64>(RMS_EPSILON)?);
    // No layer has a network without experts.
    source.keys.ignore(&["feed_forward_length"]);
    mixers(source, &sizes, &mut config)?;
    let experts = source.experts()?;
    config.put("num_experts", experts.count);
    config.put("num_experts_per_tok", experts.used);
    config.put("moe_intermediate_size", experts.width);
    let shared = source.keys.nonzero("expert_shared_feed_forward_length")?;
    config.put("shared_expert_intermediate_size", shared);
    let fused = source.tensors.layers_with("ffn_gate_up_exps.weight").next().is_some();
    let names = if fused { &FUSED_NAMES } else { &NAMES };
    Ok(Description::new(config, names, &sizes))
}
