//! Reading rotations: `rope_parameters` (transformers 5) or `rope_theta` and `rope_scaling`
//! (transformers 4).

use super::{Frequencies, LongRope, Pairing, Rope, Yarn};
use crate::ModelError;
use crate::reading::Read;
use stablemate_checkpoint::RawConfig;

/// How a family reads its rotation.
#[derive(Clone, Copy, Debug)]
pub struct RopeReading {
    /// Elements of a head.
    pub head_dim: usize,
    /// θ where the configuration has none.
    pub base: f64,
    /// The part of a head that is rotated where the configuration does not say; `None` for families
    /// that rotate whole heads whatever `partial_rotary_factor` says.
    pub part: Option<f64>,
    /// The pairs.
    pub pairing: Pairing,
}

impl RopeReading {
    /// Whole heads, by halves.
    pub fn whole(head_dim: usize, base: f64) -> Self {
        Self { head_dim, base, part: None, pairing: Pairing::Half }
    }

    /// The first `part` of a head where the configuration has no `partial_rotary_factor`.
    pub fn partial(self, part: f64) -> Self {
        Self { part: Some(part), ..self }
    }

    /// Neighbours are rotated with each other.
    pub fn interleaved(self) -> Self {
        Self { pairing: Pairing::Interleaved, ..self }
    }
}

impl Rope {
    /// The object that describes the rotation, in either spelling.
    ///
    /// # Errors
    /// A value that is not an object.
    pub fn parameters(config: &RawConfig) -> Result<Option<RawConfig>, ModelError> {
        match config.nested("rope_scaling")? {
            Some(scaling) => Ok(Some(scaling)),
            None => Ok(config.nested("rope_parameters")?),
        }
    }

    /// Reads the rotation of all layers.
    ///
    /// # Errors
    /// Unknown types, missing or impossible parameters.
    pub fn read(config: &RawConfig, reading: RopeReading) -> Result<Self, ModelError> {
        let parameters = Self::parameters(config)?;
        let base = config.get::<f64>("rope_theta")?.unwrap_or(reading.base);
        Self::from_parameters(config, parameters.as_ref(), RopeReading { base, ..reading })
    }

    /// Reads the rotation of the layers of type `kind`: `rope_parameters` has an object for each type.
    /// Older files describe the rotation of one type in `rope_scaling`, which `scaled` says this is.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn of_type(
        config: &RawConfig,
        kind: &str,
        reading: RopeReading,
        scaled: bool,
    ) -> Result<Self, ModelError> {
        let scaling = config.nested("rope_scaling")?.filter(|_| scaled);
        if let Some(scaling) = &scaling {
            // The reference overlooks the older spelling `type` here, so it has no defined meaning.
            scaling.require::<String>("rope_type")?;
        }
        let own = match config.nested("rope_parameters")? {
            Some(parameters) => parameters.nested(kind)?,
            None => None,
        };
        let mut rope = Self::from_parameters(config, own.as_ref().or(scaling.as_ref()), reading)?;
        if let Frequencies::Yarn(yarn) = &mut rope.frequencies {
            // The reference looks for `truncate` beside the layer types, not in them.
            yarn.truncate = true;
        }
        Ok(rope)
    }

    /// Reads the rotation that `parameters` (an object of `config`) describes.
    ///
    /// # Errors
    /// Unknown types, missing or impossible parameters.
    pub fn from_parameters(
        config: &RawConfig,
        parameters: Option<&RawConfig>,
        reading: RopeReading,
    ) -> Result<Self, ModelError> {
        let outer_part = config.get::<f64>("partial_rotary_factor")?;
        let Some(parameters) = parameters else {
            let width = width(config, reading, outer_part)?;
            return Self::checked(config, reading, width, Frequencies::Plain);
        };
        let base = parameters.get::<f64>("rope_theta")?.unwrap_or(reading.base);
        let reading = RopeReading { base, ..reading };
        let part = parameters.get::<f64>("partial_rotary_factor")?.or(outer_part);
        // Sections tell the positions of images apart; those of text are equal in all of them.
        parameters.ignore(&["mrope_section", "mrope_interleaved"]);
        let (new, old) =
            (parameters.get::<String>("rope_type")?, parameters.get::<String>("type")?);
        let kind = new.or(old).unwrap_or_else(|| "default".to_string());
        if kind == "proportional" {
            let factor = parameters.get::<f64>("factor")?.unwrap_or(1.0);
            parameters.check(factor == 1.0, "factor", factor, "this version knows only 1 here")?;
            return Self::proportional(config, reading, part.unwrap_or(1.0));
        }
        let width = width(config, reading, part)?;
        let frequencies = frequencies(config, parameters, &kind, width)?;
        Self::checked(config, reading, width, frequencies)
    }

    /// Pairs over the whole head, of which only the first `part` is turned.
    ///
    /// # Errors
    /// A part that is not one, heads of an odd size.
    pub fn proportional(
        config: &RawConfig,
        reading: RopeReading,
        part: f64,
    ) -> Result<Self, ModelError> {
        let within = part > 0.0 && part <= 1.0;
        config.check(within, "partial_rotary_factor", part, "it must be above 0 and at most 1")?;
        let pairs = (part * reading.head_dim as f64 / 2.0).floor() as usize;
        Self::checked(config, reading, reading.head_dim, Frequencies::Proportional { pairs })
    }

    fn checked(
        config: &RawConfig,
        reading: RopeReading,
        width: usize,
        frequencies: Frequencies,
    ) -> Result<Self, ModelError> {
        let RopeReading { base, pairing, head_dim, .. } = reading;
        config.check(base.is_finite() && base > 1.0, "rope_theta", base, "it must be above 1")?;
        let even = width > 0 && width.is_multiple_of(2);
        let key = if width == head_dim { "head_dim" } else { "partial_rotary_factor" };
        let found = if width == head_dim {
            head_dim.to_string()
        } else {
            format!("such that {width} of {head_dim} elements are rotated")
        };
        config.check(even, key, found, "an even number of elements must be rotated")?;
        let dynamic_pair = width == 2 && matches!(frequencies, Frequencies::Dynamic { .. });
        config.check(!dynamic_pair, "head_dim", 2, "dynamic RoPE needs at least 4")?;
        let lists: &[(&str, &Vec<f64>)] = match &frequencies {
            Frequencies::Factors(factors) => &[("rope_freqs", factors)],
            Frequencies::Long(long) => {
                &[("short_factor", &long.short), ("long_factor", &long.long)]
            }
            _ => &[],
        };
        for (key, factors) in lists {
            let found = format!("{} factors", factors.len());
            let expected = format!("{} are needed: one per pair of elements", width / 2);
            config.check(factors.len() == width / 2, key, found, expected)?;
        }
        Ok(Self { width, pairing, base, frequencies })
    }
}

/// Elements of a head that are rotated, if the configuration says `part`.
fn width(config: &RawConfig, reading: RopeReading, part: Option<f64>) -> Result<usize, ModelError> {
    const KEY: &str = "partial_rotary_factor";
    let Some(default) = reading.part else {
        // With plain frequencies transformers overlooks the key in these families, with others it
        // fails.
        let part = part.unwrap_or(1.0);
        config.check(part == 1.0, KEY, part, "whole heads are rotated in this family")?;
        return Ok(reading.head_dim);
    };
    let part = part.unwrap_or(default);
    config.check(part > 0.0 && part <= 1.0, KEY, part, "it must be above 0 and at most 1")?;
    Ok((reading.head_dim as f64 * part) as usize)
}

fn frequencies(
    config: &RawConfig,
    parameters: &RawConfig,
    kind: &str,
    width: usize,
) -> Result<Frequencies, ModelError> {
    Ok(match kind {
        "default" | "mrope" => {
            // Left-overs of a scaling that is off; the reference does not read them.
            parameters.ignore(&["factor", "original_max_position_embeddings"]);
            Frequencies::Plain
        }
        "linear" => {
            parameters.ignore(&["original_max_position_embeddings"]);
            Frequencies::Linear { factor: parameters.require_positive("factor")? }
        }
        "dynamic" => {
            // The reference measures growth from max_position_embeddings, whatever this key says.
            parameters.ignore(&["original_max_position_embeddings"]);
            config.require_positive("max_position_embeddings")?;
            let original = config.require("max_position_embeddings")?;
            Frequencies::Dynamic { factor: parameters.require_positive("factor")?, original }
        }
        "llama3" => read_llama3(config, parameters)?,
        "yarn" => Frequencies::Yarn(read_yarn(config, parameters)?),
        "longrope" | "su" => Frequencies::Long(read_long(config, parameters)?),
        "factors" => {
            let factors: Vec<f64> = parameters.require("factors")?;
            // A file may count the pairs of a whole head where only a part is turned.
            let factors: Vec<f64> = factors.into_iter().take(width / 2).collect();
            for factor in &factors {
                parameters.positive("factors", *factor)?;
            }
            Frequencies::Factors(factors)
        }
        _ => {
            let expected = "this version knows default, linear, dynamic, llama3, yarn, longrope and proportional";
            return Err(config.refuse("rope_type", format!("{kind:?}"), expected));
        }
    })
}

fn read_long(config: &RawConfig, parameters: &RawConfig) -> Result<LongRope, ModelError> {
    let positive = |key: &str| -> Result<Vec<f64>, ModelError> {
        let factors: Vec<f64> = parameters.require(key)?;
        factors.into_iter().map(|factor| parameters.positive(key, factor)).collect()
    };
    let (short, long) = (positive("short_factor")?, positive("long_factor")?);
    let original = original_length(config, parameters)?;
    let factor = match parameters.get::<f64>("factor")? {
        Some(factor) => parameters.positive("factor", factor)?,
        None => config.require_positive("max_position_embeddings")? / original,
    };
    let attention_factor = match parameters.get::<f64>("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / original.ln()).sqrt(),
    };
    let attention_factor = parameters.positive("attention_factor", attention_factor)?;
    let whole = original.fract() == 0.0 && original > 1.0 && original < f64::from(i32::MAX);
    config.check(
        whole,
        "original_max_position_embeddings",
        original,
        "it must be a whole number above 1",
    )?;
    Ok(LongRope { short, long, original: original as usize, attention_factor })
}

/// A key beside the parameters wins over one inside; without either, the model's length counts.
fn original_length(config: &RawConfig, parameters: &RawConfig) -> Result<f64, ModelError> {
    let inside = parameters.get::<f64>("original_max_position_embeddings")?;
    let beside = config.get::<f64>("original_max_position_embeddings")?;
    match beside.or(inside) {
        Some(length) => config.positive("original_max_position_embeddings", length),
        None => config.require_positive("max_position_embeddings"),
    }
}

fn read_llama3(config: &RawConfig, parameters: &RawConfig) -> Result<Frequencies, ModelError> {
    let low = parameters.require_positive("low_freq_factor")?;
    let high = parameters.require_positive("high_freq_factor")?;
    if high <= low {
        let expected = format!("it must be above low_freq_factor, {low}");
        return Err(config.refuse("high_freq_factor", high, expected));
    }
    let factor = parameters.require_positive("factor")?;
    Ok(Frequencies::Llama3 { factor, low, high, original: original_length(config, parameters)? })
}

fn read_yarn(config: &RawConfig, parameters: &RawConfig) -> Result<Yarn, ModelError> {
    // Says how the weights came about, not what they compute.
    parameters.ignore(&["finetuned"]);
    let original = original_length(config, parameters)?;
    let factor = if parameters.contains("factor") {
        parameters.require_positive("factor")?
    } else {
        parameters.ignore(&["factor"]);
        config.require_positive("max_position_embeddings")? / original
    };
    let magnitude =
        |scale: f64, by: f64| if scale <= 1.0 { 1.0 } else { 0.1 * by * scale.ln() + 1.0 };
    let numerator = parameters.get::<f64>("mscale")?.filter(|x| *x != 0.0);
    let denominator = parameters.get::<f64>("mscale_all_dim")?.filter(|x| *x != 0.0);
    let attention_factor =
        match (parameters.get::<f64>("attention_factor")?, numerator, denominator) {
            (Some(given), _, _) => given,
            (None, Some(a), Some(b)) => magnitude(factor, a) / magnitude(factor, b),
            _ => magnitude(factor, 1.0),
        };
    let beta = |key: &str, default: f64| -> Result<f64, ModelError> {
        let value = parameters.get::<f64>(key)?.filter(|x| *x != 0.0).unwrap_or(default);
        parameters.positive(key, value)
    };
    Ok(Yarn {
        factor,
        beta_fast: beta("beta_fast", 32.0)?,
        beta_slow: beta("beta_slow", 1.0)?,
        original,
        attention_factor: parameters.positive("attention_factor", attention_factor)?,
        truncate: parameters.get("truncate")?.unwrap_or(true),
    })
}
