//! Gemma 3: gemma 2 with norms of each query and key head, a window in five layers of six, which
//! rotate with a base of their own, and no soft-cap in attention.

use serde_json::json;

use super::super::names::{ATTENTION, ATTENTION_BIASES, Conversion, GATED, Names, Rule, weight};
use super::super::rope::Rotation;
use super::super::source::{Description, Source, layer_types};
use super::gemma2::{FOUR_NORMS, MODEL, query_scale, soft_cap};
use crate::error::Error;

const HEAD_NORMS: &[Rule] = &[
    weight("attn_q_norm", "self_attn.q_norm").converted(Conversion::OneAdded),
    weight("attn_k_norm", "self_attn.k_norm").converted(Conversion::OneAdded),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, HEAD_NORMS, GATED, FOUR_NORMS],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("gemma3_text", &sizes)?;
    config.put("hidden_activation", "gelu_pytorch_tanh");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    let cap = soft_cap(source, "final_logit_softcapping", None)?;
    config.put("final_logit_softcapping", cap);
    query_scale(source, 62, &sizes, &mut config)?;
    // Every converter that knew gemma 3 wrote the base, which is not the 10000 of other families.
    source.rope(Rotation::whole_with_stated_base(), &sizes, &mut config)?;
    let local = source.keys.positive("rope.freq_base_swa")?.unwrap_or(10_000.0);
    config.put("rope_local_base_freq", local);
    let window = source.window()?;
    let windowed = source.windowed(sizes.layers, 6)?;
    config.put("sliding_window", json!(window));
    let types = windowed.into_iter().map(|windowed| windowed && window.is_some());
    config.put("layer_types", layer_types(types));
    Ok(Description::new(config, &NAMES, &sizes))
}
