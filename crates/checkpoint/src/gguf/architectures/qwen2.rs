//! Qwen 2 and 2.5: biases on queries, keys and values.

use super::super::names::{ATTENTION, GATED, MODEL, Names, Rule, TWO_NORMS, weight};
use super::super::rope::Rotation;
use super::super::source::{Description, Source};
use crate::error::Error;

const BIASED: &[Rule] = &[
    weight("attn_q", "self_attn.q_proj").biased(),
    weight("attn_k", "self_attn.k_proj").biased(),
    weight("attn_v", "self_attn.v_proj").biased(),
];

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[BIASED, ATTENTION, GATED, TWO_NORMS],
    companies: &[],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("qwen2", &sizes)?;
    config.put("hidden_act", "silu");
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    source.no_window(sizes.context)?;
    Ok(Description::new(config, &NAMES, &sizes))
}
