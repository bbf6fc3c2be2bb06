//! Mistral: Llama's layout with a sliding window in every layer.
//!
//! Follows transformers' `modeling_mistral.py`; paper arXiv 2310.06825. `sliding_window` is 4096 when
//! absent; null (later versions of the model) means that everything is visible.

use super::llama::{Differences, describe_with};
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    super::require_kv_heads(config)?;
    // Of Ministral, another family; the reference warns and goes on.
    config.ignore(&["layer_types"]);
    let window = super::or_default(config, "sliding_window", 4096)?;
    let layers = Sizes::layers(config)?;
    let spans = match window {
        Some(window) => vec![super::window(config, window)?; layers],
        None => Vec::new(),
    };
    describe_with(blueprint, &Differences { spans, ..Differences::default() })
}
