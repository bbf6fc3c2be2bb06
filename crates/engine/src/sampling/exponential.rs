//! The exponential function, the same on every machine.

/// `log2(e)`.
const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln(2)` in two parts: the first has few bits, so that small multiples of it are exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = (std::f64::consts::LN_2 - LN_2_HIGH as f64) as f32;
/// Adding 1.5 · 2²³ rounds to a whole number, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` for `x ≤ 0` to within about an ulp, 0 for `x < -87`. Made of additions, multiplications and
/// bits: unlike the platform's function it gives the same everywhere, and the compiler can do several
/// at once.
pub fn exponential(x: f32) -> f32 {
    let shifted = x * LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let rest = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    // Taylor's series: |rest| ≤ ln(2) / 2, the first term left out is below 2^-27.
    let mut series = 1.0 / 5040.0;
    for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * rest + term;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    // Not a branch: those keep the compiler from doing several at once.
    let fits = u32::from(x >= -87.0).wrapping_neg();
    f32::from_bits((series * power).to_bits() & fits)
}
