//! Llama 1 to 3 and the many models with its layout (SmolLM2, Yi, …).
//!
//! Follows transformers' `modeling_llama.py`; papers arXiv 2302.13971 and 2407.21783. Biases on
//! attention and feed-forward projections are optional, the head may be tied, RoPE may be stretched.

use crate::blueprint::AttentionBias;
use crate::parts::{Activation, Block, NormKind, PreNorm, Rope, Span};
use crate::{Blueprint, Decoder, ModelError, Sizes};

pub(super) fn describe(blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    let all = config.get("attention_bias")?.unwrap_or(false);
    let differences = Differences {
        attention_bias: AttentionBias { inputs: all, output: all },
        mlp_bias: config.get("mlp_bias")?.unwrap_or(false),
        ..Differences::default()
    };
    describe_with(blueprint, &differences)
}

/// In what a family with Llama's layout differs from it.
#[derive(Default)]
pub(super) struct Differences {
    pub attention_bias: AttentionBias,
    pub mlp_bias: bool,
    /// One per layer; empty means that all layers see everything.
    pub spans: Vec<Span>,
}

/// Llama's layout with `differences`.
pub(super) fn describe_with(
    mut blueprint: Blueprint<'_>,
    differences: &Differences,
) -> Result<Decoder, ModelError> {
    let config = blueprint.config;
    // A key of the first hub files that the reference does not read.
    config.ignore(&["max_sequence_length"]);
    let sizes = Sizes::read(config, None)?;
    let rope = Rope::read(config, sizes.head_dim, 10_000.0)?;
    let activation = Activation::read(config, "hidden_act", Activation::Silu)?;
    let tied = config.get("tie_word_embeddings")?.unwrap_or(false);
    let mut layers: Vec<Box<dyn Block>> = Vec::new();
    for n in 0..sizes.layers {
        let at = |part: &str| format!("model.layers.{n}.{part}");
        let mut norm = |name: &str| {
            let over = crate::dimensions::MODEL.of(sizes.hidden);
            blueprint.norm(&at(name), NormKind::Rms, over, sizes.epsilon)
        };
        let (mixer_norm, ffn_norm) = (norm("input_layernorm"), norm("post_attention_layernorm"));
        let bias = differences.attention_bias;
        let mut mixer = blueprint.gqa(&at("self_attn"), n, &sizes, &rope, bias);
        mixer.span = differences.spans.get(n).copied().unwrap_or(Span::Full);
        let ffn = blueprint.gated(&at("mlp"), &sizes, activation, differences.mlp_bias);
        let (mixer, ffn) = (Box::new(mixer), Box::new(ffn));
        layers.push(Box::new(PreNorm { mixer_norm, mixer, ffn_norm, ffn }));
    }
    blueprint.decoder(&sizes, layers, NormKind::Rms, tied)
}
