//! Rotary position embeddings (Su et al., arXiv 2104.09864) and their extensions to longer contexts,
//! as transformers computes them (`modeling_rope_utils.py`).

mod read;

pub use read::RopeReading;

use super::cosine_and_sine;
use crate::dimensions::{HEAD_DIM, TOKEN};
use stablemate_graph::{Direction, ElementType, Label, Literal, TensorType, Value};
use std::f64::consts::TAU;

/// The two elements of a rotated pair.
const SIDE: Label = Label("Side");

/// Which elements of a head are rotated with each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pairing {
    /// Element `n` with element `n + width / 2`.
    #[default]
    Half,
    /// Element `2n` with element `2n + 1`.
    Interleaved,
}

/// A rotation of the first `width` elements of each head.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated elements of a head; even.
    pub width: usize,
    /// The pairs.
    pub pairing: Pairing,
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
    /// LongRoPE (arXiv 2402.13753).
    Long(LongRope),
    /// `θ^(-2n/width)` for the first pairs, 0 for the others, which are not turned (Gemma 4).
    Proportional {
        /// Pairs that are turned.
        pairs: usize,
    },
}

/// Parameters of LongRoPE: frequencies are divided by one factor each, by other factors once the
/// sequence is longer than `original`.
#[derive(Clone, Debug, PartialEq)]
pub struct LongRope {
    /// Divisors for sequences up to `original` tokens.
    pub short: Vec<f64>,
    /// Divisors for longer ones.
    pub long: Vec<f64>,
    /// The context length of training.
    pub original: usize,
    /// Cosines and sines are multiplied by this.
    pub attention_factor: f64,
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
    /// For [`Frequencies::Dynamic`] and [`Frequencies::Long`], those of short sequences.
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
            Frequencies::Long(long) => self.divided(&long.short),
            Frequencies::Proportional { pairs } => {
                plain.enumerate().map(|(n, f)| if n < *pairs { f } else { 0.0 }).collect()
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

    /// `1 / (factor · θ^(2n/width))`, in the reference's order of operations.
    fn divided(&self, factors: &[f64]) -> Vec<f32> {
        let power = |n: usize| self.base.powf(f64::from((2 * n) as f32 / self.width as f32));
        let divided = |(n, factor): (usize, &f64)| 1.0 / (*factor as f32 * power(n) as f32);
        factors.iter().enumerate().map(divided).collect()
    }

    /// What cosines and sines are multiplied by.
    pub fn attention_factor(&self) -> f64 {
        match &self.frequencies {
            Frequencies::Yarn(yarn) => yarn.attention_factor,
            Frequencies::Long(long) => long.attention_factor,
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
        matches!(self.frequencies, Frequencies::Dynamic { .. } | Frequencies::Long(_))
    }

    /// The rotation at `positions [T]` (i32): cosines `[T, width / 2]`, and the factor of the other element of a
    /// pair, -sine for the first and sine for the second: `[T, 2, width / 2]` for halves, `[T, width / 2, 2]`
    /// for interleaved pairs. `lengths [T]` (i32) is the length
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
            (Frequencies::Long(long), Some(lengths)) => {
                let original = builder.integer(long.original as i32);
                let stretched = vector(self.divided(&long.long)).named("long_frequencies");
                let is_long = lengths.compare(Direction::Gt, original).broadcast(&all);
                is_long.select(stretched.broadcast(&all), frequencies)
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
        let all = match self.pairing {
            Pairing::Half => [all[0], SIDE.of(2), half],
            Pairing::Interleaved => [all[0], half, SIDE.of(2)],
        };
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
        let half = HEAD_DIM.of(self.width / 2);
        let (parts, order) = match self.pairing {
            Pairing::Half => ([SIDE.of(2), half], [SIDE, HEAD_DIM]),
            Pairing::Interleaved => ([half, SIDE.of(2)], [HEAD_DIM, SIDE]),
        };
        let pairs = x.split(HEAD_DIM, &parts);
        let ty = TensorType::new(ElementType::I32, [SIDE.of(2)]);
        let others = pairs.take(SIDE, x.builder().constant(Literal::Integer(vec![1, 0]), ty));
        (pairs * cosine + others * sine).merge(&order, HEAD_DIM)
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
            Frequencies::Long(long) => format!("long(from {})", long.original),
            Frequencies::Proportional { pairs } => format!("proportional({pairs} pairs)"),
        };
        let pairing = match self.pairing {
            Pairing::Half => "",
            Pairing::Interleaved => " interleaved",
        };
        format!("{kind} θ={} width {}{pairing}", self.base, self.width)
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
