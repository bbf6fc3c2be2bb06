//! Keys and values into the cache and out of it.

use super::half::{half_bits, narrow};
use super::one;
use crate::CacheElement;
use stablemate_graph::{Direction, ElementType, Kernel, Label, Value};

/// The largest code of [`CacheElement::Q8`].
const LARGEST: f64 = 127.0;

/// `pool [B, L, K, W']` with `update [T, K, W]` written to the slots `[T, 2]` (block, position in it).
/// Padding tokens all write to block 0, which no sequence owns.
pub fn write<'b>(pool: Value<'b>, slots: Value<'b>, update: Value<'b>) -> Value<'b> {
    let kernel = Kernel::new("stablemate.write_cache");
    one(pool.builder().composite(kernel, &[pool, slots, update], |_, operands| {
        let [pool, slots, update] = *operands else { return Vec::new() };
        let update = match pool.ty().element {
            ElementType::I8 => quantised(update),
            ElementType::I16 => narrow(update),
            _ => update,
        };
        vec![pool.put(slots, update)]
    }))
}

/// What [`write`] has put into a pool, in f32: `[.., W'] → [.., W]`.
pub(super) fn read(values: Value<'_>) -> Value<'_> {
    match values.ty().element {
        ElementType::I8 => dequantised(values),
        ElementType::I16 => half_bits(values.convert(ElementType::I32)),
        _ => values,
    }
}

/// `x [.., K, W]` as [`CacheElement::Q8`] says: `[.., K, W + 4]` i8.
fn quantised(x: Value<'_>) -> Value<'_> {
    let builder = x.builder();
    let Some(width) = x.ty().dimensions.last().map(|dimension| dimension.label) else { return x };
    let scale = (x.abs().max(width) / LARGEST).named("scale");
    let zero = builder.scalar(0.0);
    let codes = scale.compare(Direction::Gt, zero).broadcast(&x.ty().dimensions);
    let codes = codes.select((x / scale).round(), zero);
    // Scales among the subnormal numbers are so coarse that quotients may leave the range.
    let codes = codes.minimum(builder.scalar(127.0)).maximum(builder.scalar(-127.0));
    let bytes = width.of(CacheElement::SCALE_BYTES);
    let all = [&scale.ty().dimensions[..], &[bytes]].concat();
    let places = (builder.iota(bytes) * 8.0).broadcast(&all);
    let bits = scale.bitcast(ElementType::I32).broadcast(&all);
    let bytes = bits.shift_right(places) & builder.integer(0xFF);
    let bytes = bytes - (bytes & builder.integer(0x80)) * 2.0;
    let codes = codes.convert(ElementType::I32).convert(ElementType::I8).named("codes");
    codes.concatenate(&[bytes.convert(ElementType::I8)], width)
}

/// The inverse: `[.., K, W + 4]` i8 → `[.., K, W]` f32.
fn dequantised(x: Value<'_>) -> Value<'_> {
    let dimensions = x.ty().dimensions;
    let [.., heads, width] = dimensions[..] else { return x };
    let values = width.size.saturating_sub(CacheElement::SCALE_BYTES);
    let codes = x.slice(width.label, 0..values).convert(ElementType::F32);
    let byte = |n: usize| {
        let byte = x.slice(width.label, values + n..values + n + 1).convert(ElementType::I32);
        let byte = byte & x.builder().integer(0xFF);
        let labels: [Label; 2] = [heads.label, width.label];
        byte.merge(&labels, heads.label).shift_left(8 * n as i32)
    };
    let scale = (byte(0) | byte(1) | byte(2) | byte(3)).bitcast(ElementType::F32);
    codes * scale.named("scale")
}
