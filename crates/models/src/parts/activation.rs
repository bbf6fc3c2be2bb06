//! Activation functions.

use crate::ModelError;
use stablemate_checkpoint::RawConfig;
use stablemate_graph::Value;
use std::f64::consts::FRAC_2_SQRT_PI;

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · logistic(x)`.
    Silu,
    /// GELU by its hyperbolic-tangent formula (Hendrycks & Gimpel, arXiv 1606.08415).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
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
            "relu" => Ok(Self::Relu),
            _ => Err(ModelError::Unsupported {
                file: config.source().to_path_buf(),
                key: key.to_string(),
                found: format!("{name:?}"),
                expected: "this version knows silu, gelu_pytorch_tanh, gelu_new and relu"
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
            Self::Relu => {
                let zero = x.builder().scalar(0.0);
                x.maximum(zero)
            }
        }
    }

    /// Value of the attribute `activation` of kernels.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
            Self::Relu => "relu",
        }
    }

    /// Name in descriptions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu(tanh)",
            Self::Relu => "relu",
        }
    }
}
