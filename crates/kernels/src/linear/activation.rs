//! Activation functions on sixteen lanes, accurate to some units in the last place of f32.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use crate::exponential::exponential;
use crate::simd::Simd;

/// What a gate goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x / (1 + e⁻ˣ)`.
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
    /// `x / 2 · (1 + erf(x / √2))`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    Relu2,
}

impl Activation {
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(self, x: S::Floats) -> S::Floats {
        match self {
            Self::Silu => silu::<S>(x),
            Self::GeluTanh => gelu_tanh::<S>(x),
            Self::Gelu => gelu::<S>(x),
            Self::Relu => relu::<S>(x),
            Self::Relu2 => {
                let positive = relu::<S>(x);
                S::multiply(positive, positive)
            }
        }
    }
}

/// How the products with a gate `g` and with `u` are combined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gate {
    /// `activation(g) · u`.
    Plain(Activation),
    /// `(min(max(u, −limit), limit) + 1) · h / (1 + e^(−alpha · h))` with `h = min(g, limit)`.
    ClampedSwiglu {
        /// Steepness of the logistic function.
        alpha: f32,
        /// Positive.
        limit: f32,
    },
}

impl From<Activation> for Gate {
    fn from(activation: Activation) -> Self {
        Self::Plain(activation)
    }
}

impl Gate {
    #[inline(always)]
    pub(super) unsafe fn apply<S: Simd>(self, gate: S::Floats, up: S::Floats) -> S::Floats {
        match self {
            Self::Plain(activation) => S::multiply(activation.apply::<S>(gate), up),
            Self::ClampedSwiglu { alpha, limit } => {
                // The second operand wins where it is not a number.
                let gate = S::minimum(S::splat(limit), gate);
                let up = S::maximum(S::splat(-limit), S::minimum(S::splat(limit), up));
                let gate = logistic::<S>(gate, S::multiply(S::splat(alpha), gate));
                S::multiply(S::add(up, S::splat(1.0)), gate)
            }
        }
    }
}

/// The polynomial of these coefficients, the constant first.
#[inline(always)]
unsafe fn polynomial<S: Simd, const N: usize>(x: S::Floats, coefficients: [f32; N]) -> S::Floats {
    let mut sum = S::splat(coefficients[N - 1]);
    for n in (0..N - 1).rev() {
        sum = S::multiply_add(sum, x, S::splat(coefficients[n]));
    }
    sum
}

/// `x / (1 + e⁻ᵘ)`, by e^−|u|, which cannot overflow.
#[inline(always)]
unsafe fn logistic<S: Simd>(x: S::Floats, u: S::Floats) -> S::Floats {
    let one = S::splat(1.0);
    let power = exponential::<S>(S::subtract(S::zero(), S::absolute(u)));
    let share = S::select_less(u, S::zero(), power, one);
    S::divide(S::multiply(x, share), S::add(one, power))
}

#[inline(always)]
pub(super) unsafe fn silu<S: Simd>(x: S::Floats) -> S::Floats {
    logistic::<S>(x, x)
}

/// (1 + tanh u) / 2 is 1 / (1 + e⁻²ᵘ).
#[inline(always)]
pub(super) unsafe fn gelu_tanh<S: Simd>(x: S::Floats) -> S::Floats {
    const TWICE_SQRT_2_OVER_PI: f32 = 1.595_769_2;
    let cubic = S::multiply_add(S::multiply(x, x), S::splat(0.044_715), S::splat(1.0));
    logistic::<S>(x, S::multiply(S::multiply(x, S::splat(TWICE_SQRT_2_OVER_PI)), cubic))
}

#[inline(always)]
pub(super) unsafe fn gelu<S: Simd>(x: S::Floats) -> S::Floats {
    // −ln(erfc t) / t for 0 ≤ t ≤ 6.5, in t / 3.25 − 1, by least squares. Beyond, erfc is nothing.
    const TERMS: [f32; 13] = [
        3.801_922_8,
        2.981_837_3,
        0.146_229_55,
        -0.080_730_796,
        0.043_544_557,
        -0.022_547_806,
        0.010_818_039,
        -0.004_013_614_7,
        0.001_149_755,
        -0.001_020_720_8,
        8.797_429e-5,
        0.001_183_606_2,
        -0.000_665_467_35,
    ];
    let t = S::multiply(S::absolute(x), S::splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = S::minimum(t, S::splat(6.5));
    let place = S::multiply_add(t, S::splat(1.0 / 3.25), S::splat(-1.0));
    let power = S::multiply(t, polynomial::<S, 13>(place, TERMS));
    // Half of erfc |x / √2|: the share of a negative x that is left, and of a positive one that is lost.
    let tail = S::multiply(S::splat(0.5), exponential::<S>(S::subtract(S::zero(), power)));
    let share = S::select_less(x, S::zero(), tail, S::subtract(S::splat(1.0), tail));
    S::multiply(x, share)
}

#[inline(always)]
pub(super) unsafe fn relu<S: Simd>(x: S::Floats) -> S::Floats {
    // NaN stays NaN.
    S::select_less(x, S::zero(), S::zero(), x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{Operation, dispatch};

    struct Apply(Activation, [f32; 16]);

    impl Operation for Apply {
        type Output = [f32; 16];

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> [f32; 16] {
            let mut out = self.1;
            let x = S::load(out.as_ptr());
            S::store(self.0.apply::<S>(x), out.as_mut_ptr());
            out
        }
    }

    /// erfc by its continued fraction or its series.
    fn erfc(x: f64) -> f64 {
        if x < 0.0 {
            return 2.0 - erfc(-x);
        }
        let scale = 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp();
        if x > 2.5 {
            let fraction = (1..120).rev().fold(x, |below, n| x + f64::from(n) / 2.0 / below);
            return scale / 2.0 / fraction;
        }
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        1.0 - scale * sum
    }

    fn reference(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
                x / (1.0 + (-2.0 * u).exp())
            }
            Activation::Gelu => x * erfc(-x / std::f64::consts::SQRT_2) / 2.0,
            Activation::Relu => x.max(0.0),
            Activation::Relu2 => x.max(0.0).powi(2),
        }
    }

    #[test]
    fn near_the_reference_everywhere() {
        const ALL: [Activation; 5] = [
            Activation::Silu,
            Activation::GeluTanh,
            Activation::Gelu,
            Activation::Relu,
            Activation::Relu2,
        ];
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for activation in ALL {
                let mut worst = 0.0f64;
                for step in 0..6000u32 {
                    let most = if activation == Activation::Relu2 { 1e18 } else { 1e37 };
                    let magnitude = 10f32.powf(step as f32 / 6000.0 * 45.0 - 7.0).min(most);
                    let x = if step % 2 == 0 { magnitude } else { -magnitude };
                    // SAFETY: it is available.
                    let got = unsafe { dispatch(isa, Apply(activation, [x; 16])) }[15];
                    let expected = reference(activation, f64::from(x));
                    // Where the function is small beside x, what counts is what x's own product may lose.
                    let size = f64::from(x.abs());
                    let scale = match activation {
                        // The only one that grows faster than x.
                        Activation::Relu2 => expected.max(size * 0.1),
                        _ => expected.abs().max(size * 0.1).min(size),
                    };
                    let error = (f64::from(got) - expected).abs() / scale;
                    worst = worst.max(error);
                    assert!(error < 6e-7, "{isa} {activation:?} {x}: {got}, not {expected}");
                }
                // SAFETY: it is available.
                let nan = unsafe { dispatch(isa, Apply(activation, [f32::NAN; 16])) };
                assert!(nan.iter().all(|value| value.is_nan()), "{isa} {activation:?}");
                assert!(worst > 0.0 || activation == Activation::Relu);
            }
        }
    }
}
