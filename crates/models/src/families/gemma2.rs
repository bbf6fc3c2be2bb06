//! Gemma 2: norms on both sides of each part, `(1 + w)` RMS norms, GeGLU, bounded scores and logits,
//! a scaled embedding, and a window in every other layer, beginning with the first.
//!
//! Follows transformers' `modeling_gemma2.py`; paper arXiv 2408.00118.

use crate::blueprint::AttentionBias;
use crate::dimensions::MODEL;
use crate::parts::{Activation, Block, Gqa, NormKind, Rope, Sandwich};
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(mut blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    let sizes = Sizes::read(config, Some(256))?;
    let rope = Rope::read(config, sizes.head_dim, 10_000.0)?;
    let softcap = cap(config, "attn_logit_softcapping", Some(50.0))?;
    // Hub files repeat the window under another name, which the reference does not read.
    config.ignore(&["sliding_window_size"]);
    let window = super::or_default(config, "sliding_window", 4096)?;
    let spans = super::spans(config, sizes.layers, window, |n| n % 2 == 0)?;
    let mut layers: Vec<Box<dyn Block>> = Vec::new();
    for (n, span) in spans.into_iter().enumerate() {
        layers.push(layer(&mut blueprint, &sizes, n, &rope, |_, mixer| {
            (mixer.span, mixer.softcap) = (span, softcap);
        })?);
    }
    finish(blueprint, &sizes, layers, cap(config, "final_logit_softcapping", Some(30.0))?)
}

/// A layer of Gemma 2 or 3; `differences` changes its attention.
pub(super) fn layer(
    blueprint: &mut Blueprint<'_>,
    sizes: &Sizes,
    n: usize,
    rope: &Rope,
    differences: impl FnOnce(&mut Blueprint<'_>, &mut Gqa),
) -> Result<Box<dyn Block>, ModelError> {
    let config = blueprint.config;
    let at = |part: &str| format!("model.layers.{n}.{part}");
    let mut norm = |name: &str| {
        blueprint.norm(&at(name), NormKind::RmsOnePlus, MODEL.of(sizes.hidden), sizes.epsilon)
    };
    let (mixer_norm, mixed_norm) = (norm("input_layernorm"), norm("post_attention_layernorm"));
    let ffn_norm = norm("pre_feedforward_layernorm");
    let fed_norm = norm("post_feedforward_layernorm");
    let bias = config.get("attention_bias")?.unwrap_or(false);
    let bias = AttentionBias { inputs: bias, output: bias };
    super::require_kv_heads(config)?;
    let mut mixer = blueprint.gqa(&at("self_attn"), n, sizes, rope, bias);
    let scalar = config.get::<f64>("query_pre_attn_scalar")?.unwrap_or(256.0);
    super::positive(config, "query_pre_attn_scalar", scalar)?;
    mixer.scale = scalar.powf(-0.5) as f32;
    differences(blueprint, &mut mixer);
    // `hidden_act` is an older name that the reference does not read.
    config.ignore(&["hidden_act"]);
    let activation = Activation::read(config, "hidden_activation", Activation::GeluTanh)?;
    let ffn = Box::new(blueprint.gated(&at("mlp"), sizes, activation, false));
    let mixer = Box::new(mixer);
    Ok(Box::new(Sandwich { mixer_norm, mixer, mixed_norm, ffn_norm, ffn, fed_norm }))
}

/// The decoder around Gemma's layers: the embedding is scaled by `√D`.
pub(super) fn finish(
    blueprint: Blueprint<'_>,
    sizes: &Sizes,
    layers: Vec<Box<dyn Block>>,
    logit_softcap: Option<f32>,
) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    let tied = config.get("tie_word_embeddings")?.unwrap_or(true);
    // Attention in both directions is for embedding models; false and null mean causal.
    if config.get::<bool>("use_bidirectional_attention")?.unwrap_or(false) {
        return Err(ModelError::Unsupported {
            file: config.source().to_path_buf(),
            key: "use_bidirectional_attention".to_string(),
            found: "true".to_string(),
            expected: "only causal attention can generate".to_string(),
        });
    }
    let mut decoder = blueprint.decoder(sizes, layers, NormKind::RmsOnePlus, tied)?;
    decoder.embedding.scale = Some((sizes.hidden as f32).sqrt());
    decoder.logit_softcap = logit_softcap;
    Ok(decoder)
}

/// A bound; absent means `default`, null means none.
pub(super) fn cap(
    config: &stablemate_checkpoint::RawConfig,
    key: &str,
    default: Option<f64>,
) -> Result<Option<f32>, ModelError> {
    let cap = match default {
        Some(default) => super::or_default(config, key, default)?,
        None => config.get(key)?,
    };
    if let Some(cap) = cap {
        super::positive(config, key, cap)?;
    }
    Ok(cap.map(|cap| cap as f32))
}
