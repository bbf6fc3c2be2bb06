//! Element-wise operations by Rust's operators and by name.

use super::Value;
use crate::ir::{Binary, Unary};
use std::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Sub};

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $name:ident, $op:ident, $text:literal;)*) => {
        impl Value<'_> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(self) -> Self {
                self.unary($text, Unary::$op)
            }
        )*}
    };
}

unary_methods! {
    /// Absolute value.
    abs, Abs, "abs";
    /// Cosine of radians.
    cosine, Cosine, "cosine";
    /// e to this power.
    exponential, Exponential, "exponential";
    /// Largest integer not above.
    floor, Floor, "floor";
    /// Natural logarithm.
    log, Log, "log";
    /// 1 / (1 + e^-x).
    logistic, Logistic, "logistic";
    /// Nearest integer, ties to even.
    round, RoundNearestEven, "round";
    /// 1 / √x.
    rsqrt, Rsqrt, "rsqrt";
    /// Sine of radians.
    sine, Sine, "sine";
    /// √x.
    sqrt, Sqrt, "sqrt";
    /// Hyperbolic tangent.
    tanh, Tanh, "tanh";
}

impl Neg for Value<'_> {
    type Output = Self;
    #[track_caller]
    fn neg(self) -> Self {
        self.unary("negate", Unary::Negate)
    }
}

macro_rules! operators {
    ($($trait:ident, $method:ident, $op:ident, $text:literal;)*) => {$(
        impl $trait for Value<'_> {
            type Output = Self;
            #[track_caller]
            fn $method(self, other: Self) -> Self {
                self.binary($text, Binary::$op, other)
            }
        }
    )*};
}

operators! {
    Add, add, Add, "add";
    Sub, sub, Subtract, "subtract";
    Mul, mul, Multiply, "multiply";
    Div, div, Divide, "divide";
    BitAnd, bitand, And, "and";
    BitOr, bitor, Or, "or";
}

macro_rules! scalar_operators {
    ($($trait:ident, $method:ident, $op:ident, $text:literal;)*) => {$(
        /// With a constant of the value's element type.
        impl $trait<f64> for Value<'_> {
            type Output = Self;
            #[track_caller]
            fn $method(self, other: f64) -> Self {
                self.binary($text, Binary::$op, self.like(other))
            }
        }
    )*};
}

scalar_operators! {
    Add, add, Add, "add";
    Sub, sub, Subtract, "subtract";
    Mul, mul, Multiply, "multiply";
    Div, div, Divide, "divide";
}
