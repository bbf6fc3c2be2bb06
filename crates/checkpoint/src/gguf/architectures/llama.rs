//! llama, and all that is converted to it: Mistral, SmolLM and other models with llama's structure.
//!
//! The converter interleaves the halves of each query and key head, and stores llama 3's scaling as
//! divisors of the rotary frequencies.

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, Conversion, GATED, MODEL, NETWORK_BIASES, Names, Rule, TWO_NORMS,
    weight,
};
use super::super::rope::{ROPE_FACTORS, Rotation};
use super::super::source::{Description, Source};
use crate::error::Error;

const INTERLEAVED: &[Rule] = &[
    weight("attn_q", "self_attn.q_proj").converted(Conversion::InterleavedQueries),
    weight("attn_k", "self_attn.k_proj").converted(Conversion::InterleavedKeys),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[INTERLEAVED, ATTENTION, GATED, TWO_NORMS],
    companies: &[ATTENTION_BIASES, NETWORK_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("llama", &sizes)?;
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    config.put("mlp_bias", source.has_biases(NETWORK_BIASES));
    source.rope(Rotation::whole(10_000.0).with_factors(), &sizes, &mut config)?;
    if let Some(window) = source.window()? {
        // All layers of Mistral have the window; llama has none.
        config.put("model_type", "mistral");
        config.put("sliding_window", window);
    }
    Ok(Description::new(config, &NAMES, &sizes).with_tensors(&[ROPE_FACTORS]))
}
