//! Gemma 2: norms around both parts, to which the converter adds 1; soft-caps; a window in every
//! second layer. What gemma 3 shares is here.

use serde_json::{Value as Json, json};

use super::super::names::{ATTENTION, ATTENTION_BIASES, Conversion, GATED, Names, Rule, weight};
use super::super::rope::Rotation;
use super::super::source::{Config, Description, Sizes, Source, layer_types};
use crate::error::Error;

/// Outside of the layers.
pub(super) const MODEL: &[Rule] = &[
    weight("token_embd", "model.embed_tokens"),
    weight("output_norm", "model.norm").converted(Conversion::OneAdded),
    weight("output", "lm_head"),
];

/// The norms before and after both parts.
pub(super) const FOUR_NORMS: &[Rule] = &[
    weight("attn_norm", "input_layernorm").converted(Conversion::OneAdded),
    weight("post_attention_norm", "post_attention_layernorm").converted(Conversion::OneAdded),
    weight("ffn_norm", "pre_feedforward_layernorm").converted(Conversion::OneAdded),
    weight("post_ffw_norm", "post_feedforward_layernorm").converted(Conversion::OneAdded),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, GATED, FOUR_NORMS],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("gemma2", &sizes)?;
    config.put("hidden_activation", "gelu_pytorch_tanh");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    for (key, default) in [("attn_logit_softcapping", 50.0), ("final_logit_softcapping", 30.0)] {
        config.put(key, soft_cap(source, key, Some(default))?);
    }
    // The 27B alone scales by its width per head; it has 46 layers.
    query_scale(source, 46, &sizes, &mut config)?;
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    config.put("sliding_window", source.window()?.unwrap_or(4096));
    config.put("layer_types", layer_types(source.windowed(sizes.layers, 2)?));
    Ok(Description::new(config, &NAMES, &sizes))
}

/// A soft-cap. `default` is what an absent key means; with 0, a writer switches the cap off.
pub(super) fn soft_cap(source: &Source, key: &str, default: Option<f64>) -> Result<Json, Error> {
    let stated = source.keys.get::<f64>(key)?.is_some();
    let cap = if stated { source.keys.positive(key)? } else { default };
    Ok(json!(cap))
}

/// `query_pre_attn_scalar`: queries are multiplied by its inverse root. GGUF seldom states it;
/// llama.cpp knows the one model of a family that scales by its width per head, and not by its head
/// size, by its number of layers.
pub(super) fn query_scale(
    source: &Source,
    layers_scaled_by_width: usize,
    sizes: &Sizes,
    config: &mut Config,
) -> Result<(), Error> {
    const KEY: &str = "query_pre_attn_scalar";
    match source.keys.positive("attention.scale")? {
        Some(scale) => config.put(KEY, 1.0 / (scale * scale)),
        None if sizes.layers == layers_scaled_by_width => {
            config.put(KEY, sizes.hidden / sizes.heads);
        }
        None => config.put(KEY, sizes.head_dim),
    }
    Ok(())
}
