//! Qwen3 (dense): per-head RMS norms on query and key, a `head_dim` of its own, optional biases.
//!
//! Follows transformers' `modeling_qwen3.py`; paper arXiv 2505.09388.

use crate::blueprint::AttentionBias;
use crate::dimensions::{HEAD_DIM, MODEL};
use crate::parts::{Activation, Block, NormKind, PreNorm, Rope};
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(mut blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    let sizes = Sizes::read(config, Some(128))?;
    let rope = Rope::read(config, sizes.head_dim, 10_000.0)?;
    let activation = Activation::read(config, "hidden_act", Activation::Silu)?;
    let tied = config.get("tie_word_embeddings")?.unwrap_or(false);
    let bias = config.get("attention_bias")?.unwrap_or(false);
    let spans = super::qwen2::spans(&blueprint)?;
    let mut layers: Vec<Box<dyn Block>> = Vec::new();
    for (n, span) in spans.into_iter().enumerate() {
        let at = |part: &str| format!("model.layers.{n}.{part}");
        let mut norm =
            |name: &str, over| blueprint.norm(&at(name), NormKind::Rms, over, sizes.epsilon);
        let (model, head_dim) = (MODEL.of(sizes.hidden), HEAD_DIM.of(sizes.head_dim));
        let mixer_norm = norm("input_layernorm", model);
        let ffn_norm = norm("post_attention_layernorm", model);
        let query_norm = Some(norm("self_attn.q_norm", head_dim));
        let key_norm = Some(norm("self_attn.k_norm", head_dim));
        let bias = AttentionBias { inputs: bias, output: bias };
        let mut mixer = blueprint.gqa(&at("self_attn"), n, &sizes, &rope, bias);
        (mixer.query_norm, mixer.key_norm, mixer.span) = (query_norm, key_norm, span);
        let ffn = Box::new(blueprint.gated(&at("mlp"), &sizes, activation, false));
        layers.push(Box::new(PreNorm { mixer_norm, mixer: Box::new(mixer), ffn_norm, ffn }));
    }
    blueprint.decoder(&sizes, layers, NormKind::Rms, tied)
}
