//! GPT-2: learned positions, norms with biases, fused queries, keys and values.
//!
//! Hugging Face stores the four matrices of a layer `[in, out]`; the converter transposes them. A
//! packed matrix cannot be transposed back, so each is read as `….transposed_weight`, `[out, in]`,
//! a name that no directory has.

use super::super::names::{Names, Rule, exact, weight};
use super::super::source::{Config, Description, EPSILON, Source};
use crate::error::Error;

const MODEL: &[Rule] = &[
    weight("token_embd", "transformer.wte"),
    weight("position_embd", "transformer.wpe"),
    weight("output_norm", "transformer.ln_f").biased(),
    weight("output", "lm_head"),
];

const LAYER: &[Rule] = &[
    weight("attn_norm", "ln_1").biased(),
    weight("ffn_norm", "ln_2").biased(),
    exact("attn_qkv.weight", "attn.c_attn.transposed_weight"),
    exact("attn_qkv.bias", "attn.c_attn.bias"),
    exact("attn_output.weight", "attn.c_proj.transposed_weight"),
    exact("attn_output.bias", "attn.c_proj.bias"),
    exact("ffn_up.weight", "mlp.c_fc.transposed_weight"),
    exact("ffn_up.bias", "mlp.c_fc.bias"),
    exact("ffn_down.weight", "mlp.c_proj.transposed_weight"),
    exact("ffn_down.bias", "mlp.c_proj.bias"),
];

pub(super) const NAMES: Names =
    Names { layers: "transformer.h", model: MODEL, layer: &[LAYER], companies: &[] };

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = Config::default();
    config.put("model_type", "gpt2");
    config.put("n_layer", sizes.layers);
    config.put("n_embd", sizes.hidden);
    config.put("n_head", sizes.heads);
    config.put("n_positions", sizes.context);
    config.put("n_inner", source.keys.required_uniform("feed_forward_length")?);
    config.put("layer_norm_epsilon", source.keys.require::<f64>(EPSILON)?);
    config.put("activation_function", "gelu_new");
    config.put("vocab_size", source.vocabulary()?);
    config.put("tie_word_embeddings", source.tied());
    Ok(Description::new(config, &NAMES, &sizes))
}
