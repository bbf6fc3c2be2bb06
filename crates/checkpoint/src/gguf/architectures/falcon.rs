//! Falcon: parallel parts under one norm or two, fused queries, keys and values.
//!
//! The converter separates the rows of `query_key_value`, which Hugging Face stores in one group
//! for each key–value head: they are put back. llama.cpp rotates in all falcon models, so that
//! files of those with ALiBi do not exist.

use super::super::names::{Conversion, Names, Rule, weight};
use super::super::rope::Rotation;
use super::super::source::{Config, Description, EPSILON, Source};
use crate::error::Error;

const MODEL: &[Rule] = &[
    weight("token_embd", "transformer.word_embeddings"),
    weight("output_norm", "transformer.ln_f").biased(),
    weight("output", "lm_head"),
];

const LAYER: &[Rule] = &[
    weight("attn_qkv", "self_attention.query_key_value").converted(Conversion::SeparatedGroups),
    weight("attn_output", "self_attention.dense"),
    weight("ffn_up", "mlp.dense_h_to_4h"),
    weight("ffn_down", "mlp.dense_4h_to_h"),
];

const ONE_NORM: &[Rule] = &[weight("attn_norm", "input_layernorm").biased()];

const TWO_NORMS: &[Rule] =
    &[weight("attn_norm", "ln_mlp").biased(), weight("attn_norm_2", "ln_attn").biased()];

pub(super) const NAMES: Names = names(&[LAYER, ONE_NORM]);

pub(super) const TWO_NORM_NAMES: Names = names(&[LAYER, TWO_NORMS]);

const fn names(layer: &'static [&'static [Rule]]) -> Names {
    Names { layers: "transformer.h", model: MODEL, layer, companies: &[] }
}

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let two_norms = source.tensors.layers_with("attn_norm_2.weight").next().is_some();
    let mut config = Config::default();
    config.put("model_type", "falcon");
    config.put("num_hidden_layers", sizes.layers);
    config.put("hidden_size", sizes.hidden);
    config.put("num_attention_heads", sizes.heads);
    config.put("num_kv_heads", sizes.key_value_heads);
    config.put("max_position_embeddings", sizes.context);
    config.put("ffn_hidden_size", source.keys.required_uniform("feed_forward_length")?);
    config.put("vocab_size", source.vocabulary()?);
    config.put("tie_word_embeddings", source.tied());
    config.put("layer_norm_epsilon", source.keys.require::<f64>(EPSILON)?);
    config.put("activation", "gelu");
    config.put("alibi", false);
    config.put("bias", false);
    config.put("parallel_attn", true);
    // Groups of several query heads exist in the newer structure alone, which has the other switch
    // on without reading it.
    let grouped = sizes.key_value_heads != 1 && sizes.key_value_heads != sizes.heads;
    let newer = two_norms || grouped;
    config.put("new_decoder_architecture", newer);
    config.put("multi_query", newer || sizes.key_value_heads == 1);
    config.put("num_ln_in_parallel_attn", if two_norms { 2 } else { 1 });
    source.rope(Rotation::whole(10_000.0), &sizes, &mut config)?;
    let names = if two_norms { &TWO_NORM_NAMES } else { &NAMES };
    Ok(Description::new(config, names, &sizes))
}
