//! gpt-oss: sinks, a window in every second layer, biased experts kept in MXFP4.
//!
//! The converter separates the gate and up rows that Hugging Face interleaves.

use super::super::names::{MODEL, Names, Rule, exact, weight};
use super::super::rope::Rotation;
use super::super::source::{Description, RMS_EPSILON, Source, layer_types};
use crate::error::Error;

const LAYER: &[Rule] = &[
    weight("attn_norm", "input_layernorm"),
    weight("attn_q", "self_attn.q_proj").biased(),
    weight("attn_k", "self_attn.k_proj").biased(),
    weight("attn_v", "self_attn.v_proj").biased(),
    weight("attn_output", "self_attn.o_proj").biased(),
    exact("attn_sinks.weight", "self_attn.sinks"),
    weight("post_attention_norm", "post_attention_layernorm"),
    weight("ffn_gate_inp", "mlp.router").biased(),
    // mlx-lm's names: the module of gpt-oss is called `experts`, that of other families
    // `switch_mlp`.
    weight("ffn_gate_exps", "mlp.experts.gate_proj").biased(),
    weight("ffn_up_exps", "mlp.experts.up_proj").biased(),
    weight("ffn_down_exps", "mlp.experts.down_proj").biased(),
];

pub(super) const NAMES: Names =
    Names { layers: "model.layers", model: MODEL, layer: &[LAYER], companies: &[] };

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.model("gpt_oss", &sizes)?;
    config.put("rms_norm_eps", source.keys.require::<f64>(RMS_EPSILON)?);
    config.put("hidden_act", "silu");
    config.put("attention_bias", true);
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    // All published models have it; the file has no key.
    if let Some(scaling) = config.object("rope_scaling") {
        scaling.insert("truncate".to_owned(), false.into());
    }
    config.put("sliding_window", source.window()?);
    config.put("layer_types", layer_types(source.windowed(sizes.layers, 2)?));
    let experts = source.experts()?;
    // The width of the experts once more.
    source.keys.ignore(&["feed_forward_length"]);
    config.put("num_local_experts", experts.count);
    config.put("num_experts_per_tok", experts.used);
    config.put("intermediate_size", experts.width);
    config.put("swiglu_limit", limit(source, sizes.layers)?);
    Ok(Description::new(config, &NAMES, &sizes))
}

/// The limit of the activation: llama.cpp's constant, unless the key of other families states one.
fn limit(source: &Source, layers: usize) -> Result<f64, Error> {
    const KEY: &str = "swiglu_clamp_exp";
    match source.keys.listed::<f64>(KEY, layers)?.as_deref() {
        None | Some([]) => Ok(7.0),
        Some([first, others @ ..]) if *first > 0.0 && others.iter().all(|other| other == first) => {
            Ok(*first)
        }
        Some(_) => {
            let message = "differs between layers, or is not above zero, which is not read";
            Err(source.keys.wrong(KEY, message.to_owned()))
        }
    }
}
