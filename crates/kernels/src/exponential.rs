//! The exponential and the hyperbolic tangent on sixteen lanes.

use crate::simd::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts. The first has nine significant bits, so that its products with exponents are exact
/// without fused multiplication too.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// `(e^r - 1 - r) / r²` for |r| ≤ ln(2)/2, lowest power first: interpolated at Chebyshev nodes, within
/// 1e-8 of e^r.
const POLYNOMIAL: [f32; 5] = [0.5, 0.166_665_78, 0.041_666_556, 0.008_363_174, 0.001_392_617_7];
/// Where the power of two has become 0.
const LOWEST: f32 = -88.0;

/// `(p, s)` with `e^x = s · (1 + p)` for x ≤ 0, s a power of two.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn parts<S: Simd>(x: S::Floats) -> (S::Floats, S::Floats) {
    // SAFETY: the caller's contract.
    unsafe {
        // The second operand wins where one is not a number.
        let x = S::maximum(S::splat(LOWEST), x);
        let n = S::round(S::multiply(x, S::splat(LOG2_E)));
        let r = S::multiply_add(n, S::splat(-LN2_HIGH), x);
        let r = S::multiply_add(n, S::splat(-LN2_LOW), r);
        let [c0, c1, c2, c3, c4] = POLYNOMIAL;
        let q = S::multiply_add(S::splat(c4), r, S::splat(c3));
        let q = S::multiply_add(q, r, S::splat(c2));
        let q = S::multiply_add(q, r, S::splat(c1));
        let q = S::multiply_add(q, r, S::splat(c0));
        let p = S::multiply_add(S::multiply(q, r), r, r);
        let biased = S::add_integers(S::to_integers(n), S::splat_integer(127));
        (p, S::as_floats(S::shift_left::<23>(biased)))
    }
}

/// `e^x` for x ≤ 0, within 2 units in the last place; exactly 1 at 0, exactly 0 below -87.7, not a number
/// where x is none.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
pub(crate) unsafe fn exponential<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: the caller's contract.
    unsafe {
        let (p, scale) = parts::<S>(x);
        S::multiply_add(p, scale, scale)
    }
}

/// `tanh x`, within a few units in the last place however small x is.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
pub(crate) unsafe fn hyperbolic_tangent<S: Simd>(x: S::Floats) -> S::Floats {
    // SAFETY: the caller's contract.
    unsafe {
        // With m = 1 - e^(-2|x|), which does not cancel when taken from the parts: m / (2 - m).
        let sign = S::and(S::as_integers(x), S::splat_integer(i32::MIN));
        let (p, scale) = parts::<S>(S::multiply(S::absolute(x), S::splat(-2.0)));
        let one = S::splat(1.0);
        let m = S::subtract(S::subtract(one, scale), S::multiply(p, scale));
        let magnitude = S::divide(m, S::subtract(S::splat(2.0), m));
        S::as_floats(S::or(S::as_integers(magnitude), sign))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;
    use crate::simd::{Operation, dispatch};

    /// The exponential and the tangent of sixteen values.
    struct Both([f32; 16]);

    impl Operation for Both {
        type Output = ([f32; 16], [f32; 16]);

        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Self::Output {
            let (mut powers, mut tangents) = ([0.0; 16], [0.0; 16]);
            // SAFETY: arrays of sixteen.
            unsafe {
                let x = S::load(self.0.as_ptr());
                S::store(exponential::<S>(x), powers.as_mut_ptr());
                S::store(hyperbolic_tangent::<S>(x), tangents.as_mut_ptr());
            }
            (powers, tangents)
        }
    }

    fn both(x: [f32; 16]) -> impl Iterator<Item = (Isa, [f32; 16], [f32; 16])> {
        Isa::ALL.into_iter().filter(|isa| isa.available()).map(move |isa| {
            // SAFETY: it is available.
            let (powers, tangents) = unsafe { dispatch(isa, Both(x)) };
            (isa, powers, tangents)
        })
    }

    /// The distance in units in the last place.
    fn distance(found: f32, exact: f64) -> f64 {
        let exponent = exact.abs().log2().floor().max(-126.0);
        (f64::from(found) - exact).abs() / (exponent - 23.0).exp2()
    }

    #[test]
    fn accurate() {
        let mut x = -87.3f32;
        while x < -1e-30 {
            for (isa, powers, tangents) in both([x; 16]) {
                assert!(distance(powers[3], f64::from(x).exp()) < 2.0, "{isa}: e^{x}");
                assert!(distance(tangents[3], f64::from(x).tanh()) < 4.0, "{isa}: tanh {x}");
            }
            x *= 0.9987;
        }
    }

    #[test]
    fn special_values() {
        let mut x = [0.0; 16];
        x[1..8].copy_from_slice(&[
            -0.0,
            f32::NEG_INFINITY,
            f32::NAN,
            -87.8,
            f32::MIN,
            -1e-40,
            50.0,
        ]);
        for (isa, powers, tangents) in both(x) {
            assert_eq!(powers[..3], [1.0, 1.0, 0.0], "{isa}");
            assert!(powers[3].is_nan() && tangents[3].is_nan(), "{isa}");
            assert_eq!(powers[4..7], [0.0, 0.0, 1.0], "{isa}");
            assert_eq!(tangents[0].to_bits(), 0, "{isa}");
            assert_eq!(tangents[1].to_bits(), (-0.0f32).to_bits(), "{isa}");
            assert_eq!((tangents[2], tangents[5], tangents[7]), (-1.0, -1.0, 1.0), "{isa}");
        }
    }
}
