//! Qwen2 and Qwen2.5: Llama's layout with biases on query, key and value.
//!
//! Follows transformers' `modeling_qwen2.py`; paper arXiv 2407.10671. With `use_sliding_window`, the
//! layers from `max_window_layers` on see only a window.

use super::llama::{Differences, describe_with};
use crate::blueprint::AttentionBias;
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    // The biases are part of the family; the reference does not read the key.
    blueprint.config.ignore(&["attention_bias"]);
    let spans = spans(&blueprint)?;
    let attention_bias = AttentionBias { inputs: true, output: false };
    describe_with(blueprint, &Differences { attention_bias, spans, ..Differences::default() })
}

/// The spans of Qwen2 and Qwen3.
pub(super) fn spans(blueprint: &Blueprint<'_>) -> Result<Vec<crate::parts::Span>, ModelError> {
    let config = blueprint.config;
    super::require_kv_heads(config)?;
    let window = super::or_default(config, "sliding_window", 4096)?;
    let windowed = config.get("use_sliding_window")?.unwrap_or(false);
    let window = window.filter(|_| windowed);
    let first = config.get("max_window_layers")?.unwrap_or(28);
    let layers = Sizes::layers(config)?;
    super::spans(config, layers, window, |n| window.is_some() && n >= first)
}
