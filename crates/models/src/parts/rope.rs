//! Rotary position embeddings (Su et al., arXiv 2104.09864) and their extensions to longer contexts,
//! as transformers computes them (`modeling_rope_utils.py`).

use super::cosine_and_sine;
use crate::ModelError;
use crate::blueprint::positive;
use crate::dimensions::{HEAD_DIM, TOKEN};
use stablemate_checkpoint::RawConfig;
use stablemate_graph::{ElementType, Label, Literal, TensorType, Value};
use std::f64::consts::TAU;

/// The halves of a head: element `n` of one is rotated with element `n` of the other.
const SIDE: Label = Label("Side");

/// A rotation of the first `width` elements of each head; element `n` is paired with `n + width / 2`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated elements of a head; even.
    pub width: usize,
    /// θ.
    pub base: f64,
    /// How frequencies follow from θ.
    pub frequencies: Frequencies,
}

/// How frequencies follow from θ.
#[derive(Clone, Debug, PartialEq)]
pub enum Frequencies {
    /// `θ^(-2n/width)`.
    Plain,
    /// Divided by a factor (position interpolation, arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// θ grows with the sequence once it is longer than `original` (dynamic NTK).
    Dynamic {
        /// The factor.
        factor: f64,
        /// The context length of training.
        original: usize,
    },
    /// Low frequencies divided, high ones kept, those between interpolated (Llama 3.1).
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are low.
        low: f64,
        /// Wavelengths below `original / high` are high.
        high: f64,
        /// The context length of training.
        original: f64,
    },
    /// YaRN (arXiv 2309.00071).
    Yarn(Yarn),
    /// Divided by one factor each: what GGUF stores for Llama 3.1.
    Factors(Vec<f64>),
}

/// Parameters of YaRN.
#[derive(Clone, Debug, PartialEq)]
pub struct Yarn {
    /// Divisor of low frequencies.
    pub factor: f64,
    /// Rotations over the original context above which a frequency is kept.
    pub beta_fast: f64,
    /// Rotations below which it is divided.
    pub beta_slow: f64,
    /// The context length of training.
    pub original: f64,
    /// Cosines and sines are multiplied by this.
    pub attention_factor: f64,
    /// Whether the bounds of the ramp are rounded outwards to whole dimensions.
    pub truncate: bool,
}

impl Rope {
    /// Frequencies in radians per position, `[width / 2]`, in f32 steps as the reference takes them.
    /// For [`Frequencies::Dynamic`], those of short sequences.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let width = self.width as f32;
        let power = |n: usize| f64::from((2 * n) as f32 / width);
        let powers: Vec<f32> =
            (0..self.width / 2).map(|n| self.base.powf(power(n)) as f32).collect();
        let plain = powers.iter().map(|power| 1.0 / power);
        match &self.frequencies {
            Frequencies::Plain | Frequencies::Dynamic { .. } => plain.collect(),
            Frequencies::Linear { factor } => plain.map(|f| f / *factor as f32).collect(),
            Frequencies::Factors(factors) => {
                plain.zip(factors).map(|(f, factor)| f / *factor as f32).collect()
            }
            Frequencies::Llama3 { factor, low, high, original } => plain
                .map(|frequency| {
                    let wavelength = TAU as f32 / frequency;
                    let (long, short) = ((original / low) as f32, (original / high) as f32);
                    if wavelength > long {
                        return frequency / *factor as f32;
                    }
                    if wavelength < short {
                        return frequency;
                    }
                    let (low, high) = (*low as f32, *high as f32);
                    let smooth = (*original as f32 / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / *factor as f32 + smooth * frequency
                })
                .collect(),
            Frequencies::Yarn(yarn) => {
                let (low, high) = yarn.ramp(self.width, self.base);
                let blend = |(n, power): (usize, &f32)| {
                    let ramp = ((n as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let kept = 1.0 - ramp;
                    1.0 / (yarn.factor as f32 * power) * (1.0 - kept) + 1.0 / power * kept
                };
                powers.iter().enumerate().map(blend).collect()
            }
        }
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        match &self.frequencies {
            Frequencies::Yarn(yarn) => yarn.attention_factor,
            _ => 1.0,
        }
    }

    /// The longest sequence it is made for, if `max_position_embeddings` is `positions`. Linear and
    /// dynamic scaling count positions before scaling; the others after it, if they say what came before.
    pub fn context(&self, positions: usize) -> usize {
        let stretched = match &self.frequencies {
            Frequencies::Linear { factor } => positions as f64 * factor,
            Frequencies::Dynamic { factor, original } => *original as f64 * factor,
            Frequencies::Yarn(yarn) => yarn.original * yarn.factor,
            _ => 0.0,
        };
        positions.max(stretched as usize)
    }

    /// Whether the angle of a token depends on the length of its sequence.
    pub fn depends_on_length(&self) -> bool {
        matches!(self.frequencies, Frequencies::Dynamic { .. })
    }

    /// The rotation at `positions [T]` (i32): cosines `[T, width / 2]`, and what the other half of a head is
    /// multiplied by, `[T, 2, width / 2]`: -sine for the first half, sine for the second. `lengths [T]` (i32) is the length
    /// of the sequence when the token was processed: a prompt's whole length for all its tokens.
    pub fn rotation<'b>(
        &self,
        positions: Value<'b>,
        lengths: Option<Value<'b>>,
    ) -> (Value<'b>, Value<'b>) {
        let builder = positions.builder();
        let half = HEAD_DIM.of(self.width / 2);
        let vector = |values: Vec<f32>| {
            builder.constant(Literal::Float(values), TensorType::new(ElementType::F32, [half]))
        };
        let all = [TOKEN.of(positions.size(TOKEN)), half];
        let frequencies = vector(self.inverse_frequencies()).named("frequencies").broadcast(&all);
        let frequencies = match (&self.frequencies, lengths) {
            (Frequencies::Dynamic { factor, original }, Some(lengths)) => {
                let original = *original as f64;
                let bound = builder.integer(original as i32);
                let length = lengths.maximum(bound).convert(ElementType::F32);
                // θ' = θ · growth^(width / (width - 2)); growth is 1 for short sequences.
                let growth = (length * *factor) / original - (factor - 1.0);
                let exponents = (0..self.width / 2)
                    .map(|n| -((2 * n) as f32) / (self.width as f32 - 2.0))
                    .collect();
                let exponents = vector(exponents).named("exponents").broadcast(&all);
                frequencies * (exponents * growth.log().broadcast(&all)).exponential()
            }
            _ => frequencies,
        };
        let angles =
            (frequencies * positions.convert(ElementType::F32).broadcast(&all)).named("angles");
        let (cosine, sine) = match (self.attention_factor(), cosine_and_sine(angles)) {
            (1.0, rotation) => rotation,
            (factor, (cosine, sine)) => (cosine * factor, sine * factor),
        };
        let sign = Literal::Float(vec![-1.0, 1.0]);
        let sign = builder.constant(sign, TensorType::new(ElementType::F32, [SIDE.of(2)]));
        let all = [all[0], SIDE.of(2), half];
        (cosine, (sine.broadcast(&all) * sign).named("signed_sine"))
    }

    /// `x [T, …, H]` with the first `width` elements of each head turned by a [`rotation`](Self::rotation).
    pub fn rotate<'b>(&self, x: Value<'b>, cosine: Value<'b>, sine: Value<'b>) -> Value<'b> {
        let size = x.size(HEAD_DIM);
        if self.width < size {
            let rotated = self.rotate(x.slice(HEAD_DIM, 0..self.width), cosine, sine);
            return rotated.concatenate(&[x.slice(HEAD_DIM, self.width..size)], HEAD_DIM);
        }
        // Spelled as an element-wise operation with a gather inside it is one dispatch of IREE's; halves
        // that are computed apart and concatenated are four.
        let halves = x.split(HEAD_DIM, &[SIDE.of(2), HEAD_DIM.of(self.width / 2)]);
        let ty = TensorType::new(ElementType::I32, [SIDE.of(2)]);
        let others = halves.take(SIDE, x.builder().constant(Literal::Integer(vec![1, 0]), ty));
        (halves * cosine + others * sine).merge(&[SIDE, HEAD_DIM], HEAD_DIM)
    }

    /// One phrase for descriptions.
    pub fn describe(&self) -> String {
        let kind = match &self.frequencies {
            Frequencies::Plain => "plain".to_string(),
            Frequencies::Linear { factor } => format!("linear({factor})"),
            Frequencies::Dynamic { factor, original } => {
                format!("dynamic({factor}, from {original})")
            }
            Frequencies::Llama3 { factor, original, .. } => {
                format!("llama3({factor}, from {original})")
            }
            Frequencies::Yarn(yarn) => format!("yarn({}, from {})", yarn.factor, yarn.original),
            Frequencies::Factors(_) => "factors".to_string(),
        };
        format!("{kind} θ={} width {}", self.base, self.width)
    }
}

impl Yarn {
    /// First and last dimension of the ramp between kept and divided frequencies.
    fn ramp(&self, width: usize, base: f64) -> (f64, f64) {
        let dimension = |rotations: f64| {
            width as f64 * (self.original / (rotations * TAU)).ln() / (2.0 * base.ln())
        };
        let (mut low, mut high) = (dimension(self.beta_fast), dimension(self.beta_slow));
        if self.truncate {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, high) = (low.max(0.0), high.min(width as f64 - 1.0));
        if low == high { (low, high + 0.001) } else { (low, high) }
    }
}

impl Rope {
    /// Reads the rotation of all layers: `rope_parameters` (transformers 5) or `rope_theta` and
    /// `rope_scaling` (transformers 4).
    ///
    /// # Errors
    /// Unknown types, missing or impossible parameters.
    pub fn read(
        config: &RawConfig,
        head_dim: usize,
        default_base: f64,
    ) -> Result<Self, ModelError> {
        let parameters = match config.nested("rope_scaling")? {
            Some(scaling) => Some(scaling),
            None => config.nested("rope_parameters")?,
        };
        let outer_base = config.get::<f64>("rope_theta")?;
        let base = outer_base.unwrap_or(default_base);
        let outer_part = config.get::<f64>("partial_rotary_factor")?;
        Self::from_parameters(config, parameters.as_ref(), head_dim, base, outer_part)
    }

    /// Reads the rotation that `parameters` (an object of `config`) describes.
    ///
    /// # Errors
    /// Unknown types, missing or impossible parameters.
    pub fn from_parameters(
        config: &RawConfig,
        parameters: Option<&RawConfig>,
        head_dim: usize,
        base: f64,
        part: Option<f64>,
    ) -> Result<Self, ModelError> {
        let Some(parameters) = parameters else {
            return Self::checked(config, head_dim, base, part.unwrap_or(1.0), Frequencies::Plain);
        };
        let base = parameters.get::<f64>("rope_theta")?.unwrap_or(base);
        let part = parameters.get::<f64>("partial_rotary_factor")?.or(part).unwrap_or(1.0);
        let (new, old) =
            (parameters.get::<String>("rope_type")?, parameters.get::<String>("type")?);
        let kind = new.or(old).unwrap_or_else(|| "default".to_string());
        let frequencies = match kind.as_str() {
            "default" => {
                // Left-overs of a scaling that is off; the reference does not read them.
                parameters.ignore(&["factor", "original_max_position_embeddings"]);
                Frequencies::Plain
            }
            "linear" => {
                parameters.ignore(&["original_max_position_embeddings"]);
                Frequencies::Linear { factor: require_positive(parameters, "factor")? }
            }
            "dynamic" => {
                // The reference measures growth from max_position_embeddings, whatever this key says.
                parameters.ignore(&["original_max_position_embeddings"]);
                require_positive(config, "max_position_embeddings")?;
                let original = config.require("max_position_embeddings")?;
                Frequencies::Dynamic { factor: require_positive(parameters, "factor")?, original }
            }
            "llama3" => read_llama3(config, parameters)?,
            "yarn" => Frequencies::Yarn(read_yarn(config, parameters)?),
            "factors" => {
                let factors: Vec<f64> = parameters.require("factors")?;
                for factor in &factors {
                    positive(parameters, "factors", *factor)?;
                }
                Frequencies::Factors(factors)
            }
            _ => {
                return Err(ModelError::Unsupported {
                    file: config.source().to_path_buf(),
                    key: "rope_type".to_string(),
                    found: format!("{kind:?}"),
                    expected: "this version knows default, linear, dynamic, llama3 and yarn"
                        .to_string(),
                });
            }
        };
        Self::checked(config, head_dim, base, part, frequencies)
    }

    fn checked(
        config: &RawConfig,
        head_dim: usize,
        base: f64,
        part: f64,
        frequencies: Frequencies,
    ) -> Result<Self, ModelError> {
        let unsupported = |key: &str, found: String, expected: &str| ModelError::Unsupported {
            file: config.source().to_path_buf(),
            key: key.to_string(),
            found,
            expected: expected.to_string(),
        };
        if !(base.is_finite() && base > 1.0) {
            return Err(unsupported("rope_theta", base.to_string(), "it must be above 1"));
        }
        if part != 1.0 {
            // transformers rotates whole heads in the families that are known here: with plain
            // frequencies it overlooks the key, with others it fails.
            let expected = "whole heads are rotated in this family";
            return Err(unsupported("partial_rotary_factor", part.to_string(), expected));
        }
        let width = head_dim;
        if !width.is_multiple_of(2) {
            let expected = "an even number of elements must be rotated";
            return Err(unsupported("head_dim", head_dim.to_string(), expected));
        }
        let dynamic_pair = width == 2 && matches!(frequencies, Frequencies::Dynamic { .. });
        if dynamic_pair {
            return Err(unsupported("head_dim", "2".to_string(), "dynamic RoPE needs at least 4"));
        }
        if let Frequencies::Factors(factors) = &frequencies
            && factors.len() != width / 2
        {
            let found = format!("{} factors", factors.len());
            return Err(unsupported(
                "rope_freqs",
                found,
                "one is needed per pair of rotated elements",
            ));
        }
        Ok(Self { width, base, frequencies })
    }
}

/// The number under `key`, which must be there and positive.
fn require_positive(parameters: &RawConfig, key: &str) -> Result<f64, ModelError> {
    positive(parameters, key, parameters.require(key)?)
}

/// A key beside the parameters wins over one inside; without either, the model's length counts.
fn original_length(config: &RawConfig, parameters: &RawConfig) -> Result<f64, ModelError> {
    let inside = parameters.get::<f64>("original_max_position_embeddings")?;
    let beside = config.get::<f64>("original_max_position_embeddings")?;
    match beside.or(inside) {
        Some(length) => positive(config, "original_max_position_embeddings", length),
        None => require_positive(config, "max_position_embeddings"),
    }
}

fn read_llama3(config: &RawConfig, parameters: &RawConfig) -> Result<Frequencies, ModelError> {
    let low = require_positive(parameters, "low_freq_factor")?;
    let high = require_positive(parameters, "high_freq_factor")?;
    if high <= low {
        return Err(ModelError::Unsupported {
            file: config.source().to_path_buf(),
            key: "high_freq_factor".to_string(),
            found: high.to_string(),
            expected: format!("it must be above low_freq_factor, {low}"),
        });
    }
    let factor = require_positive(parameters, "factor")?;
    Ok(Frequencies::Llama3 { factor, low, high, original: original_length(config, parameters)? })
}

fn read_yarn(config: &RawConfig, parameters: &RawConfig) -> Result<Yarn, ModelError> {
    // Says how the weights came about, not what they compute.
    parameters.ignore(&["finetuned"]);
    let original = original_length(config, parameters)?;
    let factor = if parameters.contains("factor") {
        require_positive(parameters, "factor")?
    } else {
        parameters.ignore(&["factor"]);
        require_positive(config, "max_position_embeddings")? / original
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
        positive(parameters, key, value)
    };
    Ok(Yarn {
        factor,
        beta_fast: beta("beta_fast", 32.0)?,
        beta_slow: beta("beta_slow", 1.0)?,
        original,
        attention_factor: positive(parameters, "attention_factor", attention_factor)?,
        truncate: parameters.get("truncate")?.unwrap_or(true),
    })
}
