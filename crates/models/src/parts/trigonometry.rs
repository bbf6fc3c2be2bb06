//! Cosine and sine of large arguments.

use stablemate_graph::{ElementType, Value};

/// `(cos x, sin x)` of f32 radians, exact to about 1e-7 for `|x|` up to 3e5, whether or not a compiler
/// fuses multiplications with additions.
///
/// Compilers differ here: IREE's CPU code generation reduces the argument in one f32 step, which
/// costs 3e-8·|x| (3e-4 at position 10 000), and Vulkan allows an error of 2^-11. So the argument is
/// reduced to `[-π/4, π/4]` in four steps (Cody & Waite) and the polynomials on that interval are the
/// single-precision ones of the Cephes library. The first three parts of π/2 have at most 7 bits, so
/// that their products with the quadrant, below 2^24 / 67, are exact, and so are the differences.
pub fn cosine_and_sine<'b>(x: Value<'b>) -> (Value<'b>, Value<'b>) {
    let builder = x.builder();
    let _scope = builder.scope("trigonometry");
    let quadrant = (x * std::f64::consts::FRAC_2_PI).round().named("quadrant");
    let y = x - quadrant * (25.0 / 16.0);
    let y = y - quadrant * (67.0 / 8192.0);
    let y = y - quadrant * (61.0 / 524_288.0);
    let y = (y - quadrant * 1.267_590_795_056_675e-6).named("reduced");
    let z = y * y;
    let polynomial = z * -1.951_529_589_1e-4 + 8.332_160_873_6e-3;
    let polynomial = polynomial * z + -1.666_665_461_1e-1;
    let sine = y + polynomial * z * y;
    let polynomial = z * 2.443_315_711_809_948e-5 + -1.388_731_625_493_765e-3;
    let polynomial = polynomial * z + 4.166_664_568_298_827e-2;
    let cosine = (z * -0.5 + 1.0) + polynomial * z * z;
    let quadrant = quadrant.convert(ElementType::I32);
    let (one, two, zero) = (builder.integer(1), builder.integer(2), builder.integer(0));
    let differs = |value: Value<'b>| value.compare(stablemate_graph::Direction::Ne, zero);
    let odd = differs(quadrant & one);
    let signed = |negative: Value<'b>, value: Value<'b>| negative.select(-value, value);
    let cosine_negative = differs((quadrant + one) & two);
    let sine_negative = differs(quadrant & two);
    (
        signed(cosine_negative, odd.select(sine, cosine)).named("cosine"),
        signed(sine_negative, odd.select(cosine, sine)).named("sine"),
    )
}
