//! Falcon: attention and a plain GELU network side by side under one LayerNorm or two, or one after the
//! other; queries, keys and values of a key head stand together in one tensor; rotation or ALiBi.
//!
//! Follows transformers' `modeling_falcon.py`; paper arXiv 2311.16867. The biases of ALiBi are rounded
//! to bf16 and scaled like scores; they are added once, as the default attention of the reference does.

use super::{Blueprint, Decoder, ModelError, Read, RopeReading};
use crate::blueprint::{At, AttentionDraft, Sizes, divides};
use crate::dimensions::{KEY, MIXED, MODEL, QUERY, VALUE};
use crate::parts::{Activation, Alibi, Layer, NormKind};
use crate::source::Rows;
use crate::{Features, Names, Style};

const STYLE: Style = Style {
    kv_heads: None,
    features: Features::KeyOrTimes("ffn_hidden_size", 4),
    norm: NormKind::Layer,
    norm_bias: true,
    epsilon: ("layer_norm_epsilon", 1e-5),
    activation: ("activation", Activation::Gelu),
    tied: true,
    names: Names {
        layers: "transformer.h",
        embedding: "transformer.word_embeddings",
        norm: "transformer.ln_f",
        head: "lm_head",
    },
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    config.ignore(&["apply_residual_connection_post_layernorm", "n_embed", "multi_query"]);
    let mut sizes = m.sizes(&STYLE)?;
    let newer = config.flag("new_decoder_architecture", false)?;
    let parallel = config.flag("parallel_attn", true)?;
    let many = newer || !config.flag("multi_query", true)?;
    let given: usize = config.get("num_kv_heads")?.unwrap_or(sizes.heads);
    sizes.kv_heads = if many { given } else { 1 };
    divides(config, "num_kv_heads", sizes.kv_heads, "num_attention_heads", sizes.heads)?;
    let norms = config.get("num_ln_in_parallel_attn")?.unwrap_or(if newer { 2usize } else { 1 });
    let expected = "two norms need the newer structure and parallel attention, which also has one";
    let known = norms == 1 || norms == 2 && newer && parallel;
    config.check(known, "num_ln_in_parallel_attn", norms, expected)?;
    let rope = match config.flag("alibi", false)? {
        true => None,
        false => Some(m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?),
    };
    let bias = config.flag("bias", false)?;
    m.decoder(&sizes, |layer| {
        let attention = fused(&layer.at("self_attention"), &sizes, bias);
        let attention = match &rope {
            Some(rope) => attention.rotary(rope),
            None => attention.alibi(Alibi::geometric(sizes.heads, true), true),
        };
        let names = ["dense_h_to_4h", "dense_4h_to_h"];
        let network = layer.at("mlp").plain(&sizes, names, bias);
        Ok(match (parallel, norms) {
            (true, 2) => Layer::Parallel(vec![
                layer.branch("ln_attn", &sizes, vec![attention.into()]),
                layer.branch("ln_mlp", &sizes, vec![network.into()]),
            ]),
            (true, _) => {
                let parts = vec![attention.into(), network.into()];
                Layer::Sequential(vec![layer.branch("input_layernorm", &sizes, parts)])
            }
            (false, _) => layer.pre_norm(&sizes, attention, network),
        })
    })
}

/// Attention whose `query_key_value` holds, for each key head, its query heads, its key and its value.
fn fused<'m>(at: &At<'m>, sizes: &Sizes, bias: bool) -> AttentionDraft<'m> {
    let Sizes { heads, kv_heads, head_dim, hidden, .. } = *sizes;
    let (group, model) = (heads / kv_heads * head_dim, MODEL.of(hidden));
    let period = group + 2 * head_dim;
    let part = |part, rows, start, length| {
        let runs = (kv_heads * period, Rows::every(period, kv_heads, start, length));
        at.rows_of("query_key_value", part, [rows, model], runs, bias)
    };
    at.attention_with(
        sizes,
        [
            part("query", QUERY.of(heads * head_dim), 0, group),
            part("key", KEY.of(kv_heads * head_dim), group, head_dim),
            part("value", VALUE.of(kv_heads * head_dim), group + head_dim, head_dim),
            at.linear("dense", model, MIXED.of(heads * head_dim), bias),
        ],
    )
}
