//! Phi 3 and 4: fused rows, a part of the head rotated, LongRoPE's factors as tensors.

use serde_json::{Map, json};

use super::super::names::{MODEL, Names, Rule, TWO_NORMS, weight};
use super::super::rope::Rotation;
use super::super::source::{Config, Description, Sizes, Source};
use crate::error::Error;

const LAYER: &[Rule] = &[
    weight("attn_qkv", "self_attn.qkv_proj"),
    weight("attn_output", "self_attn.o_proj"),
    weight("ffn_up", "mlp.gate_up_proj"),
    weight("ffn_down", "mlp.down_proj"),
];

pub(super) const NAMES: Names =
    Names { layers: "model.layers", model: MODEL, layer: &[LAYER, TWO_NORMS], companies: &[] };

const LONG: &str = "rope_factors_long.weight";
const SHORT: &str = "rope_factors_short.weight";

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let sizes = source.sizes()?;
    let mut config = source.transformer("phi3", &sizes)?;
    config.put("hidden_act", "silu");
    config.put("attention_bias", false);
    config.put("sliding_window", source.window()?);
    long_rope(source, &sizes, &mut config)?;
    Ok(Description::new(config, &NAMES, &sizes).with_tensors(&[LONG, SHORT]))
}

/// The keys of the rotation. `longrope` needs both lists of factors.
fn long_rope(source: &Source, sizes: &Sizes, config: &mut Config) -> Result<(), Error> {
    const ATTENTION: &str = "rope.scaling.attn_factor";
    let keys = &source.keys;
    let original =
        keys.get::<usize>("rope.scaling.original_context_length")?.filter(|length| *length > 0);
    config.put("original_max_position_embeddings", original.unwrap_or(sizes.context));
    let lists = (source.tensors.vector(LONG)?, source.tensors.vector(SHORT)?);
    let (long, short) = match lists {
        (None, None) => return source.rope(Rotation::partial(10_000.0), sizes, config),
        (Some(long), Some(short)) => (long, short),
        (long, _) => {
            let missing = if long.is_some() { SHORT } else { LONG };
            let message = "missing; both lists of factors are needed, or none";
            return Err(source.tensor_fault(missing, message.to_owned()));
        }
    };
    source.check_factors(LONG, &long, sizes.rotary)?;
    source.check_factors(SHORT, &short, sizes.rotary)?;
    match keys.get::<String>("rope.scaling.type")?.as_deref() {
        None | Some("longrope") => {}
        Some(other) => {
            let message = format!("is `{other}`; with tensors of factors, only longrope is read");
            return Err(keys.wrong("rope.scaling.type", message));
        }
    }
    source.rope_base(Some(10_000.0), config)?;
    source.partial_rotary(sizes, config)?;
    let mut scaling = Map::new();
    scaling.insert("type".to_owned(), json!("longrope"));
    scaling.insert("long_factor".to_owned(), json!(long));
    scaling.insert("short_factor".to_owned(), json!(short));
    // Left out where it is what the lengths give, which families compute in more digits.
    let original = original.unwrap_or(sizes.context);
    if let Some(factor) = keys.positive(ATTENTION)?
        && (factor - attention_factor(sizes.context, original)).abs() > 1e-6
    {
        scaling.insert("attention_factor".to_owned(), json!(factor));
    }
    config.put("rope_scaling", scaling);
    Ok(())
}

/// LongRoPE's factor on cosines and sines.
fn attention_factor(context: usize, original: usize) -> f64 {
    let scale = context as f64 / original as f64;
    if scale > 1.0 { (1.0 + scale.ln() / (original as f64).ln()).sqrt() } else { 1.0 }
}
