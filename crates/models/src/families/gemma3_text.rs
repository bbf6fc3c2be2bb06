//! Gemma 3, its text model: Gemma 2 without bounded scores, with per-head norms on query and key,
//! five windowed layers for each full one, and two rotations: θ of the windowed layers is smaller,
//! and scaling applies to the full ones only.
//!
//! Follows transformers' `modeling_gemma3.py`; paper arXiv 2503.19786.

use super::gemma2::{cap, finish, layer};
use crate::dimensions::HEAD_DIM;
use crate::parts::rope::Frequencies;
use crate::parts::{Block, NormKind, Rope, Span};
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(mut blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    let sizes = Sizes::read(config, Some(256))?;
    let (full, windowed) = ropes(&blueprint, sizes.head_dim)?;
    // The reference keeps this bound of Gemma 2 in its configuration, but does not apply it.
    config.ignore(&["attn_logit_softcapping"]);
    // transformers 5 writes the pattern with an underscore, beside the layer types it led to.
    config.ignore(&["_sliding_window_pattern"]);
    let pattern = config.get("sliding_window_pattern")?.unwrap_or(6usize);
    super::positive(config, "sliding_window_pattern", pattern as f64)?;
    let window = super::or_default(config, "sliding_window", 4096)?;
    let spans = super::spans(config, sizes.layers, window, |n| (n + 1) % pattern != 0)?;
    let mut layers: Vec<Box<dyn Block>> = Vec::new();
    for (n, span) in spans.into_iter().enumerate() {
        let rope = if span == Span::Full { &full } else { &windowed };
        layers.push(layer(&mut blueprint, &sizes, n, rope, |blueprint, mixer| {
            let mut norm = |name: &str| {
                let name = format!("model.layers.{n}.self_attn.{name}");
                let over = HEAD_DIM.of(sizes.head_dim);
                Some(blueprint.norm(&name, NormKind::RmsOnePlus, over, sizes.epsilon))
            };
            (mixer.query_norm, mixer.key_norm) = (norm("q_norm"), norm("k_norm"));
            mixer.span = span;
        })?);
    }
    let logit_softcap = cap(config, "final_logit_softcapping", None)?;
    let mut decoder = finish(blueprint, &sizes, layers, logit_softcap)?;
    // Gemma 3 counts positions after scaling.
    decoder.context = config.get("max_position_embeddings")?;
    Ok(decoder)
}

/// The rotations of full and of windowed layers.
fn ropes(blueprint: &Blueprint<'_>, head_dim: usize) -> Result<(Rope, Rope), ModelError> {
    let config = blueprint.config;
    let scaling = config.nested("rope_scaling")?;
    let parameters = config.nested("rope_parameters")?;
    if let Some(scaling) = &scaling {
        // The reference overlooks the older spelling `type` here, so it has no defined meaning.
        scaling.require::<String>("rope_type")?;
    }
    let read = |kind: &str, scaling, base_key: &str, default: f64| -> Result<Rope, ModelError> {
        let base = config.get::<f64>(base_key)?.unwrap_or(default);
        let own = match &parameters {
            Some(parameters) => parameters.nested(kind)?,
            None => None,
        };
        let mut rope =
            Rope::from_parameters(config, own.as_ref().or(scaling), head_dim, base, None)?;
        if let Frequencies::Yarn(yarn) = &mut rope.frequencies {
            // The reference looks for `truncate` beside the layer types, not in them.
            yarn.truncate = true;
        }
        Ok(rope)
    };
    let full = read("full_attention", scaling.as_ref(), "rope_theta", 1_000_000.0)?;
    let windowed = read("sliding_attention", None, "rope_local_base_freq", 10_000.0)?;
    Ok((full, windowed))
}
