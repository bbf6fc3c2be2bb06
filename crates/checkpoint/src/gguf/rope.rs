//! Rotary scaling: the `rope.scaling.*` keys and the tensor of factors, to `rope_scaling`.

use serde_json::{Value as Json, json};

use super::keys::Keys;
use super::model::ROPE_FACTORS;
use crate::error::Error;

/// The value of `rope_scaling`; `None` for plain rotation.
///
/// `factors`, if the file has them, become `{"rope_type": "factors", "factors": […]}`: frequency
/// `i` is divided by factor `i`. That is how converters store llama 3's scaling.
pub(super) fn scaling(
    keys: &Keys,
    context: usize,
    head_dim: usize,
    factors: Option<Vec<f32>>,
) -> Result<Option<Json>, Error> {
    let scaling = scaling_of_keys(keys, context)?;
    let Some(factors) = factors else {
        return Ok(scaling);
    };
    if scaling.is_some() {
        let message =
            "both this and a tensor `rope_freqs.weight` change the rotation; one of them is read";
        return Err(keys.wrong("rope.scaling.type", message.to_owned()));
    }
    if factors.len().checked_mul(2) != Some(head_dim)
        || !factors.iter().all(|f| f.is_finite() && *f > 0.0)
    {
        let message = format!(
            "has {} values; {} positive ones are needed, half the head size",
            factors.len(),
            head_dim / 2
        );
        return Err(Error::tensor(keys.path(), ROPE_FACTORS, message));
    }
    Ok(Some(json!({"rope_type": "factors", "factors": factors})))
}

fn scaling_of_keys(keys: &Keys, context: usize) -> Result<Option<Json>, Error> {
    // The older name of the factor counts only if the newer one is absent.
    let older = keys.positive("rope.scale_linear")?;
    let factor = keys.positive("rope.scaling.factor")?.or(older);
    // An absent type means linear; without a factor that is no scaling at all.
    let kind: String = keys.get("rope.scaling.type")?.unwrap_or_else(|| "linear".to_owned());
    let neutral = |key: &str| match keys.positive(key)? {
        None | Some(1.0) => Ok(()),
        Some(value) => Err(keys.wrong(key, format!("is {value}; only 1 is read"))),
    };
    neutral("rope.scaling.attn_factor")?;
    match kind.as_str() {
        "none" => {
            ignore_yarn(keys);
            Ok(None)
        }
        "linear" => {
            ignore_yarn(keys);
            let factor = factor.filter(|factor| *factor != 1.0);
            Ok(factor.map(|factor| json!({"rope_type": "linear", "factor": factor})))
        }
        "yarn" => {
            let Some(factor) = factor else {
                let message = "missing; yarn needs a number above zero";
                return Err(keys.wrong("rope.scaling.factor", message.to_owned()));
            };
            neutral("rope.scaling.yarn_ext_factor")?;
            if keys.positive("rope.scaling.yarn_attn_factor")?.is_some() {
                // Converters write transformers' `attention_factor`, the whole factor; llama.cpp
                // multiplies its own factor by it. Which was meant cannot be seen.
                let message = "has two meanings in use, so that it cannot be read";
                return Err(keys.wrong("rope.scaling.yarn_attn_factor", message.to_owned()));
            }
            Ok(Some(yarn(keys, factor, context)?))
        }
        other => Err(keys
            .wrong("rope.scaling.type", format!("is `{other}`; none, linear and yarn are read"))),
    }
}

fn yarn(keys: &Keys, factor: f64, context: usize) -> Result<Json, Error> {
    let original = keys.get::<usize>("rope.scaling.original_context_length")?.filter(|n| *n > 0);
    let mut scaling = json!({
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": original.unwrap_or(context),
    });
    for (from, to) in
        [("rope.scaling.yarn_beta_fast", "beta_fast"), ("rope.scaling.yarn_beta_slow", "beta_slow")]
    {
        if let (Some(value), Some(object)) = (keys.positive(from)?, scaling.as_object_mut()) {
            object.insert(to.to_owned(), json!(value));
        }
    }
    Ok(scaling)
}

/// Without yarn, its parameters do nothing.
fn ignore_yarn(keys: &Keys) {
    keys.ignore(&[
        "rope.scaling.original_context_length",
        "rope.scaling.yarn_ext_factor",
        "rope.scaling.yarn_attn_factor",
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "rope.scaling.yarn_log_multiplier",
    ]);
}
