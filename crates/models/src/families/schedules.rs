//! Schedules of windows that families share.

use crate::blueprint::Sizes;
use crate::kernels::Span;
use crate::reading::Read;
use crate::{Blueprint, ModelError};
use stablemate_checkpoint::RawConfig;

/// The kind of each layer: `layer_types` if the configuration has it, each one of `known`, else
/// `schedule(layer)`.
pub(super) fn layer_types(
    config: &RawConfig,
    layers: usize,
    known: &[&str],
    schedule: impl Fn(usize) -> String,
) -> Result<Vec<String>, ModelError> {
    let Some(types) = config.get::<Vec<String>>("layer_types")? else {
        return Ok((0..layers).map(schedule).collect());
    };
    let found = format!("{} entries", types.len());
    let expected = format!("num_hidden_layers is {layers}");
    config.check(types.len() == layers, "layer_types", found, expected)?;
    for name in &types {
        let expected = format!("{} are known", known.join(" and "));
        let is_known = known.contains(&name.as_str());
        config.check(is_known, "layer_types", format!("{name:?}"), expected)?;
    }
    Ok(types)
}

/// A layer whose tokens see all earlier ones.
pub(super) const FULL: &str = "full_attention";
/// A layer whose tokens see a window.
pub(super) const SLIDING: &str = "sliding_attention";

/// The span of each layer: `layer_types` if the configuration has it, else `schedule(layer)`, which
/// says whether a layer sees only the window.
pub(super) fn spans(
    config: &RawConfig,
    layers: usize,
    window: Option<usize>,
    schedule: impl Fn(usize) -> bool,
) -> Result<Vec<Span>, ModelError> {
    let schedule = |n| if schedule(n) { SLIDING } else { FULL }.to_string();
    let types = layer_types(config, layers, &[FULL, SLIDING], schedule)?;
    let span = |kind: String| match (kind == SLIDING, window) {
        (false, _) => Ok(Span::Full),
        (true, Some(length)) => self::window(config, length),
        (true, None) => {
            let expected = "layers with sliding attention need a window";
            Err(config.refuse("sliding_window", "absent", expected))
        }
    };
    types.into_iter().map(span).collect()
}

/// A window of `length` tokens, `sliding_window` of the configuration.
pub(super) fn window(config: &RawConfig, length: usize) -> Result<Span, ModelError> {
    let expected = "a token must see at least itself and at most 2^31 - 1 tokens";
    config.check(length > 0 && length < 1 << 31, "sliding_window", length, expected)?;
    Ok(Span::Window(length))
}

/// A window of `length` tokens; everything where there is none.
pub(super) fn window_if(config: &RawConfig, length: Option<usize>) -> Result<Span, ModelError> {
    length.map_or(Ok(Span::Full), |length| window(config, length))
}

/// With `use_sliding_window`, the layers from `max_window_layers` on see only a window.
pub(super) fn from_layer(m: &Blueprint, sizes: &Sizes) -> Result<Vec<Span>, ModelError> {
    let config = &m.config;
    let window = config.or_default("sliding_window", 4096)?;
    let windowed = config.flag("use_sliding_window", false)?;
    let window = window.filter(|_| windowed);
    let first = config.get("max_window_layers")?.unwrap_or(28);
    spans(config, sizes.layers, window, |n| window.is_some() && n >= first)
}
