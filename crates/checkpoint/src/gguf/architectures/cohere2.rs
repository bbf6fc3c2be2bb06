//! Cohere 2: one norm before two parallel parts, a window in three layers of four, no rotation
//! where everything is visible, scaled logits.

use super::super::names::{ATTENTION, GATED, Names, Rule, weight};
use super::super::rope::Rotation;
use super::super::source::{Description, EPSILON, Source, layer_types};
use super::command_r::MODEL;
use crate::error::Error;

const NORM: &[Rule] = &[weight("attn_norm", "input_layernorm")];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, GATED, NORM],
    companies: &[],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.model("cohere2", &sizes)?;
    config.put("intermediate_size", source.keys.required_uniform("feed_forward_length")?);
    config.put("layer_norm_eps", source.keys.require::<f64>(EPSILON)?);
    config.put("hidden_act", "silu");
    config.put("attention_bias", false);
    config.put("logit_scale", source.keys.require::<f64>("logit_scale")?);
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    config.put("sliding_window", source.window()?);
    config.put("layer_types", layer_types(source.windowed(sizes.layers, 4)?));
    Ok(Description::new(config, &NAMES, &sizes))
}
