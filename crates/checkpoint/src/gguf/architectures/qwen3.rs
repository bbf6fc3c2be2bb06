//! Qwen 3: norms of each query and key head.

use super::super::names::{
    ATTENTION, ATTENTION_BIASES, GATED, HEAD_NORMS, MODEL, Names, TWO_NORMS,
};
use super::super::rope::Rotation;
use super::super::source::{Description, Source};
use crate::error::Error;

pub(super) const NAMES: Names = Names {
    layers: "model.layers",
    model: MODEL,
    layer: &[ATTENTION, HEAD_NORMS, GATED, TWO_NORMS],
    companies: &[ATTENTION_BIASES],
};

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("qwen3", &sizes)?;
    config.put("hidden_act", "silu");
    config.put("attention_bias", source.has_biases(ATTENTION_BIASES));
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    source.no_window(sizes.context)?;
    Ok(Description::new(config, &NAMES, &sizes))
}
