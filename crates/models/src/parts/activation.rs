//! Activation functions.

use crate::ModelError;
use stablemate_checkpoint::RawConfig;
use stablemate_graph::{Direction, Value};
use std::f64::consts::FRAC_2_SQRT_PI;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · logistic(x)`.
    Silu,
    /// GELU by its hyperbolic-tangent formula (Hendrycks & Gimpel, arXiv 1606.08415).
    GeluTanh,
    /// `x · Φ(x)` with the normal distribution function `Φ(x) = (1 + erf(x / √2)) / 2` (arXiv
    /// 1606.08415).
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²` (So et al., arXiv 2109.08668).
    Relu2,
}

impl Activation {
    /// Reads `key` with Hugging Face's names (`ACT2FN`); absent means `default`.
    ///
    /// # Errors
    /// A name that is not known here.
    pub fn read(config: &RawConfig, key: &str, default: Self) -> Result<Self, ModelError> {
        let Some(name) = config.get::<String>(key)? else { return Ok(default) };
        match name.as_str() {
            "silu" | "swish" => Ok(Self::Silu),
            "gelu_pytorch_tanh" | "gelu_new" => Ok(Self::GeluTanh),
            "gelu" => Ok(Self::Gelu),
            "relu" => Ok(Self::Relu),
            "relu2" => Ok(Self::Relu2),
            _ => Err(ModelError::Unsupported {
                file: config.source().to_path_buf(),
                key: key.to_string(),
                found: format!("{name:?}"),
                expected: "this version knows silu, gelu_pytorch_tanh, gelu_new, gelu, relu and \
                           relu2"
                    .to_string(),
            }),
        }
    }

    /// `x → f(x)`, element-wise.
    pub fn apply(self, x: Value<'_>) -> Value<'_> {
        match self {
            Self::Silu => x * x.logistic(),
            Self::GeluTanh => {
                let scale = FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
                let inner = (x + x * x * x * 0.044715) * scale;
                x * 0.5 * (inner.tanh() + 1.0)
            }
            Self::Gelu => gelu(x),
            Self::Relu => relu(x),
            Self::Relu2 => {
                let positive = relu(x);
                positive * positive
            }
        }
    }

    /// Value of the attribute `activation` of kernels.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Relu2 => "relu2",
        }
    }

    /// Name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu(tanh)",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Relu2 => "relu²",
        }
    }
}

fn relu(x: Value<'_>) -> Value<'_> {
    let zero = x.builder().scalar(0.0);
    x.maximum(zero)
}

/// `x · Φ(x)` by `Φ(−t √2) = erfc(t) / 2 = e^(−t · p(t)) / 2`: StableHLO has no error function, and
/// this one keeps its digits where `1 + erf` cancels.
fn gelu(x: Value<'_>) -> Value<'_> {
    // p(t) = −ln(erfc t) / t for 0 ≤ t ≤ 6.5, in t / 3.25 − 1, by least squares, lowest power
    // first. Beyond, erfc is nothing beside f32.
    const TERMS: [f64; 13] = [
        3.8019228,
        2.9818373,
        0.14622955,
        -0.080730796,
        0.043544557,
        -0.022547806,
        0.010818039,
        -0.0040136147,
        0.001149755,
        -0.0010207208,
        8.797429e-5,
        0.0011836062,
        -0.00066546735,
    ];
    let builder = x.builder();
    let t = (x.abs() * std::f64::consts::FRAC_1_SQRT_2).minimum(builder.scalar(6.5));
    let place = t * (1.0 / 3.25) - 1.0;
    let [terms @ .., last] = TERMS;
    let start = place * last;
    let sum = terms.iter().skip(1).rev().fold(start, |sum, term| (sum + *term) * place);
    let tail = (-(t * (sum + terms[0]))).exponential() * 0.5;
    let negative = x.compare(Direction::Lt, builder.scalar(0.0));
    x * negative.select(tail, -tail + 1.0)
}

/// How a gate and what it lets through are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GatedActivation {
    /// `activation(gate) · up`.
    Plain(Activation),
    /// `(up + 1) · gate · logistic(alpha · gate)`, the gate bounded above by `limit`, up by
    /// `±limit`: gpt-oss's.
    ClampedSwiglu {
        /// Steepness of the logistic function.
        alpha: f32,
        /// Bound of both.
        limit: f32,
    },
}

impl From<Activation> for GatedActivation {
    fn from(activation: Activation) -> Self {
        Self::Plain(activation)
    }
}

impl GatedActivation {
    /// Element-wise.
    pub fn apply<'b>(self, gate: Value<'b>, up: Value<'b>) -> Value<'b> {
        match self {
            Self::Plain(activation) => activation.apply(gate) * up,
            Self::ClampedSwiglu { alpha, limit } => {
                let builder = gate.builder();
                let (upper, lower) = (builder.scalar(limit), builder.scalar(-limit));
                let gate = gate.minimum(upper);
                let up = up.minimum(upper).maximum(lower);
                (up + 1.0) * (gate * (gate * f64::from(alpha)).logistic())
            }
        }
    }

    /// Value of the attribute `activation` of kernels.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Plain(activation) => activation.symbol(),
            Self::ClampedSwiglu { .. } => "clamped_swiglu",
        }
    }

    /// Name in descriptions.
    pub fn name(self) -> String {
        match self {
            Self::Plain(activation) => activation.name().to_string(),
            Self::ClampedSwiglu { alpha, limit } => format!("swiglu({alpha}, clamped at {limit})"),
        }
    }
}
