//! Kernels: heavy operations that keep their name in the text.

use std::fmt;

/// A kernel: a namespaced name, attributes, and (given to [`Builder::composite`]) its decomposition.
///
/// It prints as `stablehlo.composite`. The decomposition is the kernel's specification and what a
/// consumer without the kernel runs; a consumer that has it replaces the decomposition's body and
/// finds it by `name`, operand types and attributes.
///
/// [`Builder::composite`]: crate::Builder::composite
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// `stablemate.<kernel>`: the composite's name and the native kernel's.
    pub name: &'static str,
    /// Static parameters, printed in this order.
    pub attributes: Vec<(&'static str, Attribute)>,
}

impl Kernel {
    /// A kernel without attributes.
    pub fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new() }
    }

    /// Adds an attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// The part after the namespace: `linear` of `stablemate.linear`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// The value of a kernel's attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// `f32`.
    Float(f32),
    /// `i64`.
    Integer(i64),
    /// A string.
    Text(String),
}

impl From<f32> for Attribute {
    fn from(value: f32) -> Self {
        Self::Float(value)
    }
}

impl From<usize> for Attribute {
    fn from(value: usize) -> Self {
        Self::Integer(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::Text(value.to_string())
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{} : f32", crate::print::float(*value)),
            Self::Integer(value) => write!(f, "{value} : i64"),
            Self::Text(value) => write!(f, "{value:?}"),
        }
    }
}
