//! Rotary scaling: the `rope.scaling.*` keys and the tensor of factors, to `rope_scaling`.

use serde_json::{Value as Json, json};

use super::keys::Keys;
use super::source::{Config, Sizes, Source};
use crate::error::Error;

/// The tensor of factors that divide the rotary frequencies. Part of the configuration here, as in
/// config.json, and not of the model's tensors.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// How an architecture rotates.
#[derive(Clone, Copy)]
pub(super) struct Rotation {
    /// What an absent `rope.freq_base` means; without it, the key must be there.
    base: Option<f64>,
    /// Whether a part of the head may be rotated.
    partial: bool,
    /// Whether [`ROPE_FACTORS`] is read.
    factors: bool,
}

impl Rotation {
    /// The whole head is rotated.
    pub(super) fn whole(base: f64) -> Self {
        Self { base: Some(base), ..Self::whole_with_stated_base() }
    }

    /// The whole head is rotated, and the file must state the base.
    pub(super) fn whole_with_stated_base() -> Self {
        Self { base: None, partial: false, factors: false }
    }

    /// The first dimensions of a head are rotated, as many as the file says.
    pub(super) fn partial(base: f64) -> Self {
        Self { partial: true, ..Self::whole(base) }
    }

    /// The file may have [`ROPE_FACTORS`].
    pub(super) fn with_factors(self) -> Self {
        Self { factors: true, ..self }
    }
}

impl Source<'_> {
    /// Puts `rope_theta`, `rope_scaling` if there is scaling, and `partial_rotary_factor` if the
    /// architecture has it.
    ///
    /// Factors of the file become `{"rope_type": "factors", "factors": […]}`: frequency `i` is
    /// divided by factor `i`. That is how converters store llama 3's scaling.
    pub(super) fn rope(
        &self,
        rotation: Rotation,
        sizes: &Sizes,
        config: &mut Config,
    ) -> Result<(), Error> {
        self.rope_base(rotation.base, config)?;
        if rotation.partial {
            self.partial_rotary(sizes, config)?;
        } else {
            self.keys.equal("rope.dimension_count", sizes.head_dim)?;
        }
        let mut scaling = rope_scaling(&self.keys, sizes.context)?;
        if rotation.factors
            && let Some(factors) = self.tensors.vector(ROPE_FACTORS)?
        {
            if scaling.is_some() {
                let message = "both this and a tensor `rope_freqs.weight` change the rotation; one of \
                               them is read";
                return Err(self.keys.wrong("rope.scaling.type", message.to_owned()));
            }
            self.check_factors(ROPE_FACTORS, &factors, sizes.rotary)?;
            scaling = Some(json!({"rope_type": "factors", "factors": factors}));
        }
        config.put_some("rope_scaling", scaling);
        Ok(())
    }

    /// Puts `partial_rotary_factor`.
    pub(super) fn partial_rotary(&self, sizes: &Sizes, config: &mut Config) -> Result<(), Error> {
        let Sizes { rotary, head_dim, .. } = *sizes;
        if rotary == 0 || rotary > head_dim || rotary % 2 == 1 {
            let message =
                format!("is {rotary}; an even part of the head size, {head_dim}, is needed");
            return Err(self.keys.wrong("rope.dimension_count", message));
        }
        config.put("partial_rotary_factor", sizes.rotary_factor());
        Ok(())
    }

    /// Puts `rope_theta`.
    pub(super) fn rope_base(&self, default: Option<f64>, config: &mut Config) -> Result<(), Error> {
        let base = self.keys.positive("rope.freq_base")?.or(default);
        let base = base.map_or_else(|| self.keys.require("rope.freq_base"), Ok)?;
        config.put("rope_theta", base);
        Ok(())
    }

    /// Refuses factors that are no divisors of the frequencies of `rotary` dimensions.
    pub(super) fn check_factors(
        &self,
        tensor: &str,
        factors: &[f32],
        rotary: usize,
    ) -> Result<(), Error> {
        if factors.len().checked_mul(2) == Some(rotary)
            && factors.iter().all(|factor| factor.is_finite() && *factor > 0.0)
        {
            return Ok(());
        }
        let message = format!(
            "has {} values; {} positive ones are needed, half the head size",
            factors.len(),
            rotary / 2
        );
        Err(self.tensor_fault(tensor, message))
    }
}

/// The value of `rope_scaling` by the keys; `None` for plain rotation.
pub(super) fn rope_scaling(keys: &Keys, context: usize) -> Result<Option<Json>, Error> {
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
