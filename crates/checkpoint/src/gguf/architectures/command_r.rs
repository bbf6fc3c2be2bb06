//! Cohere's Command R: one norm before two parallel parts, scaled logits, and in the largest models
//! a norm for each query and key head.

use super::super::names::{ATTENTION, ATTENTION_BIASES, GATED, HEAD_NORMS, Names, Rule, weight};
use super::super::rope::Rotation;
use super::super::source::{Description, EPSILON, Source};
use crate::error::Error;

/// The head is always the embedding.
pub(super) const MODEL: &[Rule] =
    &[weight("token_embd", "model.embed_tokens"), weight("output_norm", "model.norm")];

const NORM: &[Rule] = &[weight("attn_norm", "input_layernorm")];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, GATED, NORM, HEAD_NORMS],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.model("cohere", &sizes)?;
    config.put("intermediate_size", source.keys.required_uniform("feed_forward_length")?);
    config.put("layer_norm_eps", source.keys.require::<f64>(EPSILON)?);
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    config.put("logit_scale", source.keys.positive("logit_scale")?.unwrap_or(1.0));
    let head_norms = source.tensors.layers_with("attn_q_norm.weight").next().is_some();
    config.put("use_qk_norm", head_norms);
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    Ok(Description::new(config, &NAMES, &sizes))
}
