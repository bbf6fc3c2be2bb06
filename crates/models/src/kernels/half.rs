//! Half precision to single precision, and back.

use stablemate_graph::{Direction, ElementType, Value};

/// The same values in f32. Half precision is spelled in integer operations, and bf16 comes as its bits
/// in i16: a plain `convert` of a weight compiles neither from bf16 for Vulkan (beside a product of
/// several rows) nor from f16 for VMVX in IREE 3.13.
pub(super) fn widen(value: Value<'_>) -> Value<'_> {
    match value.ty().element {
        ElementType::I16 => brain_bits(value.convert(ElementType::I32)),
        ElementType::F16 => half_bits(value.bitcast(ElementType::I16).convert(ElementType::I32)),
        _ => value.convert(ElementType::F32),
    }
}

/// The values whose bf16 bits are the lower halves of these i32.
pub(super) fn brain_bits(bits: Value<'_>) -> Value<'_> {
    bits.shift_left(16).bitcast(ElementType::F32)
}

/// The values whose f16 bits are the lower halves of these i32.
pub(super) fn half_bits(bits: Value<'_>) -> Value<'_> {
    let builder = bits.builder();
    let magnitude = bits & builder.integer(0x7FFF);
    // Exponents are biased by 15 in f16 and by 127 in f32; below 2^-14 there is none.
    let normal = (magnitude.shift_left(13) + f64::from((127 - 15) << 23)).bitcast(ElementType::F32);
    let subnormal = magnitude.convert(ElementType::F32) * 2f64.powi(-24);
    let special = magnitude.shift_left(13) | builder.integer(0x7F80_0000);
    let small = magnitude.compare(Direction::Lt, builder.integer(0x0400));
    let large = magnitude.compare(Direction::Ge, builder.integer(0x7C00));
    let finite = small.select(subnormal, normal).bitcast(ElementType::I32);
    let sign = bits.shift_left(16) & builder.integer(i32::MIN);
    (large.select(special, finite) | sign).bitcast(ElementType::F32)
}

/// f32 values as the bits (i16) of f16, rounded to nearest even; in integer operations, because VMVX has no
/// conversion.
pub(super) fn narrow(value: Value<'_>) -> Value<'_> {
    let builder = value.builder();
    let bits = value.bitcast(ElementType::I32);
    let magnitude = bits & builder.integer(i32::MAX);
    // 2^16 becomes infinity, as does everything above.
    let finite = magnitude.minimum(builder.integer(0x4780_0000));
    let thirteen = builder.integer(13);
    // Half a unit in the last place that stays, less one bit where that place is even.
    let odd = finite.shift_right(thirteen) & builder.integer(1);
    let rounded = (finite + odd + f64::from(0x0FFF)).shift_right(thirteen);
    let normal = rounded - f64::from((127 - 15) << 10);
    // The unit of 0.5 in f32 is the one of subnormal numbers in f16, so that an addition rounds.
    let subnormal = (value.abs() + 0.5).bitcast(ElementType::I32) - f64::from(0x3F00_0000);
    let small = magnitude.compare(Direction::Lt, builder.integer(0x3880_0000));
    let nan = magnitude.compare(Direction::Gt, builder.integer(0x7F80_0000));
    let narrowed = nan.select(builder.integer(0x7E00), small.select(subnormal, normal));
    // The sign counts -2^15 in a signed integer of 16 bits.
    let negative = bits.compare(Direction::Lt, builder.integer(0));
    let signed = negative.select(narrowed - 32_768.0, narrowed);
    signed.convert(ElementType::I16)
}
