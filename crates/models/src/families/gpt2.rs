//! GPT-2: learned positions, LayerNorms with biases, a plain GELU network, and weights that are stored
//! `[in, out]`.
//!
//! Follows transformers' `modeling_gpt2.py`. The tensors' names begin with `transformer.` or do not.

use super::{Blueprint, Decoder, ModelError, Read};
use crate::blueprint::At;
use crate::dimensions::{FEATURE, KEY, MIXED, MODEL, QUERY, VALUE, VOCABULARY};
use crate::parts::{Activation, Layer, Linear, NormKind, Plain};
use crate::source::{Piece, Root, Rows};
use crate::{Embedding, Features, LearnedPositions, Names, Style};
use stablemate_graph::Dimension;

const STYLE: Style = Style {
    hidden: "n_embd",
    layers: "n_layer",
    heads: "n_head",
    kv_heads: None,
    features: Features::KeyOrTimes("n_inner", 4),
    norm: NormKind::Layer,
    norm_bias: true,
    epsilon: ("layer_norm_epsilon", 1e-5),
    activation: ("activation_function", Activation::GeluTanh),
    positions: "n_positions",
    tied: true,
    names: Names {
        layers: "transformer.h",
        embedding: "transformer.wte",
        norm: "transformer.ln_f",
        head: "lm_head",
    },
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    config.ignore(&["n_ctx", "reorder_and_upcast_attn", "summary_type", "summary_use_proj"]);
    config.ignore(&["summary_activation", "summary_proj_to_labels"]);
    config.must_be_off("add_cross_attention", "only a decoder alone runs here")?;
    m.roots(vec![Root::new("transformer.", ""), Root::new("", "")]);
    // Masks that old files store.
    m.ignore_tensors(&["*h.*.attn.bias", "*h.*.attn.masked_bias"]);
    let sizes = m.sizes(&STYLE)?;
    let mut scales = vec![1.0; sizes.layers];
    if !config.flag("scale_attn_weights", true)? {
        scales = scales.iter().map(|_| (sizes.head_dim as f32).sqrt()).collect();
    }
    if config.flag("scale_attn_by_inverse_layer_idx", false)? {
        scales = scales.iter().zip(1..).map(|(scale, n)| scale / n as f32).collect();
    }
    let positions = config.size_or("n_positions", 1 << 30, 1024)?;
    let (width, model) = (sizes.hidden, MODEL.of(sizes.hidden));
    let table = m.table("transformer.wpe.weight", [VOCABULARY.of(positions), model]);
    let decoder = m.decoder(&sizes, |layer| {
        let at = layer.at("attn");
        let fused = |rows, part| convolution(&at, "c_attn", [rows, model], 3, part);
        let attention = at.attention_with(
            &sizes,
            [
                fused(QUERY.of(width), 0),
                fused(KEY.of(width), 1),
                fused(VALUE.of(width), 2),
                convolution(&at, "c_proj", [model, MIXED.of(width)], 1, 0),
            ],
        );
        let scale = attention.gqa.scale * scales[layer.n];
        let (at, features) = (layer.at("mlp"), FEATURE.of(sizes.features));
        let network = Plain {
            up: convolution(&at, "c_fc", [features, model], 1, 0),
            down: convolution(&at, "c_proj", [model, features], 1, 0),
            activation: sizes.activation,
            features: sizes.features,
        };
        Ok(Layer::Sequential(vec![
            layer.branch("ln_1", &sizes, vec![attention.scale(scale).into()]),
            layer.branch("ln_2", &sizes, vec![network.into()]),
        ]))
    })?;
    let learned = Some(LearnedPositions { table, offset: 0 });
    Ok(Decoder { embedding: Embedding { positions: learned, ..decoder.embedding }, ..decoder })
}

/// Part `part` of `parts` equal ones of a projection that is stored `[in, out]`, with its bias.
fn convolution(
    at: &At<'_>,
    name: &str,
    [out, input]: [Dimension; 2],
    parts: usize,
    part: usize,
) -> Linear {
    let (all, rows) = (out.size * parts, Rows::range(out.size * part, out.size));
    let stored = |kind: &str| at.name(&format!("{name}.{kind}"));
    let weight = Piece::transposed(stored("weight"), [input.size, all]).only(rows);
    // GGUF files hold it as it is used.
    let turned = Piece::whole(stored("transposed_weight"), [all, input.size]).only(rows);
    let bias = Piece::whole(stored("bias"), [all]).only(rows);
    let argument = |kind: &str| at.name(&format!("{name}.{part}.{kind}"));
    let layouts = vec![weight.into(), turned.into()];
    Linear {
        weight: at.blueprint.layouts(argument("weight"), [out, input], layouts),
        bias: Some(at.blueprint.values(argument("bias"), [out], vec![bias.into()])),
    }
}
