//! DeepSeek 2 and 3, and the models with their structure (Kimi K2, GLM-4.7-Flash): latent
//! attention, grouped routing, shared experts.
//!
//! The converter splits `kv_b_proj` and transposes its keys. The parts are read under mlx-lm's
//! names: `self_attn.embed_q.weight`, `[heads, kv_lora_rank, qk_nope_head_dim]`, and
//! `self_attn.unembed_out.weight`, `[heads, v_head_dim, kv_lora_rank]`: the two matrices of
//! absorbed attention. Older files have `self_attn.kv_b_proj.weight` as Hugging Face has it.

use serde_json::{Value as Json, json};

use super::super::names::{EXPERTS, GATED, MODEL, Names, Rule, TWO_NORMS, exact, weight};
use super::super::rope::rope_scaling;
use super::super::source::{Config, Description, Experts, RMS_EPSILON, Sizes, Source};
use crate::error::Error;

const LATENT: &[Rule] = &[
    weight("attn_q", "self_attn.q_proj"),
    weight("attn_q_a", "self_attn.q_a_proj"),
    weight("attn_q_a_norm", "self_attn.q_a_layernorm"),
    weight("attn_q_b", "self_attn.q_b_proj"),
    weight("attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"),
    weight("attn_kv_a_norm", "self_attn.kv_a_layernorm"),
    weight("attn_kv_b", "self_attn.kv_b_proj"),
    weight("attn_k_b", "self_attn.embed_q"),
    weight("attn_v_b", "self_attn.unembed_out"),
    weight("attn_output", "self_attn.o_proj"),
];

const ROUTED: &[Rule] = &[
    weight("ffn_gate_inp", "mlp.gate"),
    exact("exp_probs_b.bias", "mlp.gate.e_score_correction_bias"),
    weight("ffn_gate_shexp", "mlp.shared_experts.gate_proj"),
    weight("ffn_up_shexp", "mlp.shared_experts.up_proj"),
    weight("ffn_down_shexp", "mlp.shared_experts.down_proj"),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[LATENT, GATED, ROUTED, EXPERTS, TWO_NORMS],
    companies: &[],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let keys = &source.keys;
    let (sizes, nope, value) = sizes(source)?;
    let experts = experts(source)?;
    let sigmoid = sigmoid(source, sizes.layers)?;
    let mut config = source.model(if sigmoid { "deepseek_v3" } else { "deepseek_v2" }, &sizes)?;
    config.put("head_dim", sizes.rotary);
    config.put("rms_norm_eps", keys.require::<f64>(RMS_EPSILON)?);
    config.put("intermediate_size", keys.required_uniform("feed_forward_length")?);
    config.put("hidden_act", "silu");
    config.put("attention_bias", false);
    config.put("qk_nope_head_dim", nope);
    config.put("qk_rope_head_dim", sizes.rotary);
    config.put("v_head_dim", value);
    config.put("kv_lora_rank", keys.nonzero("attention.kv_lora_rank")?);
    let rank = keys.get::<usize>("attention.q_lora_rank")?.filter(|rank| *rank > 0);
    config.put("q_lora_rank", rank);
    routing(source, &sizes, experts, sigmoid, &mut config)?;
    source.rope_base(Some(10_000.0), &mut config)?;
    config.put_some("rope_scaling", scaling(source, sizes.context)?);
    Ok(Description::new(config, &NAMES, &sizes))
}

/// The sizes, the part of a query head that is not rotated, and the width of a value head. Newer
/// files describe the absorbed attention, whose one key head is the latent, and say the sizes of
/// heads under keys that end with `_mla`.
fn sizes(source: &Source) -> Result<(Sizes, usize, usize), Error> {
    const ROTATED: &str = "rope.dimension_count";
    let keys = &source.keys;
    let absorbed = keys.get::<usize>("attention.key_length_mla")?.is_some();
    let [head, value] = if absorbed {
        keys.ignore(&["attention.key_length", "attention.value_length"]);
        ["attention.key_length_mla", "attention.value_length_mla"]
    } else {
        ["attention.key_length", "attention.value_length"]
    };
    let (head_dim, value, rotary) =
        (keys.nonzero(head)?, keys.nonzero(value)?, keys.nonzero(ROTATED)?);
    let nope = match head_dim.checked_sub(rotary) {
        Some(nope) if nope > 0 && rotary % 2 == 0 => nope,
        _ => {
            let message =
                format!("is {rotary}; an even part of the head size, {head_dim}, is needed");
            return Err(keys.wrong(ROTATED, message));
        }
    };
    let heads = keys.required_uniform("attention.head_count")?;
    // One in newer files, and as many as heads in older ones: keys come from the latent.
    keys.ignore(&["attention.head_count_kv"]);
    let (layers, hidden) = (source.layers()?, keys.nonzero("embedding_length")?);
    let context = keys.nonzero("context_length")?;
    let sizes = Sizes { layers, hidden, heads, key_value_heads: heads, head_dim, rotary, context };
    Ok((sizes, nope, value))
}

/// The routed experts; `None` if all layers are dense.
fn experts(source: &Source) -> Result<Option<Experts>, Error> {
    let count = source.keys.get::<usize>("expert_count")?.unwrap_or(0);
    if count > 0 {
        return source.experts().map(Some);
    }
    // llama.cpp wants them in any file.
    source.keys.ignore(&["expert_feed_forward_length", "expert_shared_count"]);
    Ok(None)
}

/// Whether scores are sigmoids. An absent key is llama.cpp's guess, which knows GLM-4.7-Flash by
/// its layers and vocabulary.
fn sigmoid(source: &Source, layers: usize) -> Result<bool, Error> {
    const KEY: &str = "expert_gating_func";
    match source.keys.get::<usize>(KEY)? {
        None | Some(0) => Ok(matches!(layers, 47 | 48) && source.vocabulary()? == 154_880),
        Some(1) => Ok(false),
        Some(2) => Ok(true),
        Some(other) => {
            let message = format!("is {other}; 1 (softmax) and 2 (sigmoid) are read");
            Err(source.keys.wrong(KEY, message))
        }
    }
}

fn routing(
    source: &Source,
    sizes: &Sizes,
    experts: Option<Experts>,
    sigmoid: bool,
    config: &mut Config,
) -> Result<(), Error> {
    let keys = &source.keys;
    let dense = keys.get::<usize>("leading_dense_block_count")?;
    let Some(Experts { count, used, width }) = experts else {
        config.put("first_k_dense_replace", sizes.layers);
        return Ok(());
    };
    config.put("first_k_dense_replace", dense.unwrap_or(0));
    config.put("moe_layer_freq", 1);
    config.put("n_routed_experts", count);
    config.put("num_experts_per_tok", used);
    config.put("moe_intermediate_size", width);
    config.put("n_shared_experts", keys.get::<usize>("expert_shared_count")?.unwrap_or(0));
    let scale = keys.positive("expert_weights_scale")?.unwrap_or(1.0);
    config.put("routed_scaling_factor", scale);
    config.put("norm_topk_prob", keys.get::<bool>("expert_weights_norm")?.unwrap_or(false));
    let counts =
        ["expert_group_count", "expert_group_used_count"].map(|key| keys.get::<usize>(key));
    let [groups, kept] = counts;
    let (groups, kept) = (groups?.unwrap_or(0).max(1), kept?.unwrap_or(0).max(1));
    config.put("n_group", groups);
    config.put("topk_group", kept);
    config.put("scoring_func", if sigmoid { "sigmoid" } else { "softmax" });
    let method = match (sigmoid, groups) {
        (true, _) => "noaux_tc",
        (false, 1) => "greedy",
        (false, _) => "group_limited_greedy",
    };
    config.put("topk_method", method);
    Ok(())
}

/// Yarn, whose multiplier is `0.1 · mscale_all_dim`. llama.cpp takes `mscale` to be the same.
fn scaling(source: &Source, context: usize) -> Result<Option<Json>, Error> {
    let multiplier = source.keys.positive("rope.scaling.yarn_log_multiplier")?;
    let mut scaling = rope_scaling(&source.keys, context)?;
    if let (Some(multiplier), Some(object)) =
        (multiplier, scaling.as_mut().and_then(Json::as_object_mut))
    {
        // The product was rounded to 32 bits; the factor has few digits.
        let mscale = (multiplier * 10.0 * 1e6).round() / 1e6;
        object.insert("mscale".to_owned(), json!(mscale));
        object.insert("mscale_all_dim".to_owned(), json!(mscale));
    }
    Ok(scaling)
}
