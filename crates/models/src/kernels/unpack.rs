//! Packed weights to f32, by shifts, masks and one multiplication (and addition) per value: an
//! element-wise chain on the words, which compilers fuse with what uses it. The layout is described in
//! `stablemate-encodings`. A table is looked up by selections between its constants, bit after bit of the codes: they are
//! element-wise too, which a gather is not.

use super::half::{brain_bits, half_bits};
use crate::dimensions::{LANE, TILE, WORD};
use stablemate_encodings::{Bits, Codebook, Float, Nested, Packing, Scales, UNIT};
use stablemate_graph::{Dimension, Direction, ElementType, Label, Value};

const UNITS: Label = Label("Unit");
const PLANE_WORD: Label = Label("PlaneWord");
const FIELD: Label = Label("Field");
const HALF: Label = Label("Half");
const CODE: Label = Label("Code");
const COLUMN: Label = Label("Column");
const SCALE_GROUP: Label = Label("ScaleGroup");
const MEMBER: Label = Label("Member");
const SUPER_BLOCK: Label = Label("SuperBlock");
const PART: Label = Label("Part");

/// The words `[.., O, Word]` of the rows of packed weights `[.., Tile, Word, Lane]`.
pub(super) fn rows<'b>(packed: Value<'b>, rows: Dimension) -> Value<'b> {
    let labels = packed.ty().dimensions.iter().map(|dimension| dimension.label).collect::<Vec<_>>();
    let stack = labels.strip_suffix(&[TILE, WORD, LANE]).unwrap_or_default();
    let order = [stack, &[TILE, LANE, WORD]].concat();
    let all = packed.transpose(&order).merge(&[TILE, LANE], rows.label);
    if all.size(rows.label) == rows.size { all } else { all.slice(rows.label, 0..rows.size) }
}

/// Packed rows `[.., Word]` to their values `[.., I]`.
pub(super) fn unpack<'b>(words: Value<'b>, packing: Packing, columns: Dimension) -> Value<'b> {
    let length = packing.code_words(columns.size);
    let codes = codes(words.slice(WORD, 0..length), packing.bits(), columns.size).named("codes");
    let groups = columns.size / packing.group();
    let codes = codes.split(COLUMN, &[SCALE_GROUP.of(groups), MEMBER.of(packing.group())]);
    let levels = levels(codes, packing);
    let scales = words.slice(WORD, length..words.size(WORD));
    let (factor, offset) = match packing.scales() {
        Scales::Centred(float) | Scales::Codebook(Codebook::Nf4(float)) => {
            (centred(scales, float, groups), None)
        }
        Scales::Codebook(Codebook::Mxfp4) => (exponents(scales, groups), None),
        Scales::Affine(float) => affine(scales, float, groups),
        Scales::Nested(nested) => self::nested(scales, nested),
    };
    let values = levels * factor.named("factor");
    let values = match offset {
        Some(offset) => values + offset.named("offset"),
        None => values,
    };
    values.merge(&[SCALE_GROUP, MEMBER], columns.label)
}

/// Code words `[.., Word]` to the codes `[.., Column]`, i32.
fn codes<'b>(words: Value<'b>, bits: Bits, columns: usize) -> Value<'b> {
    let units = words.size(WORD) / bits.count();
    let words = words.split(WORD, &[UNITS.of(units), PLANE_WORD.of(bits.count())]);
    let mut shift = 0;
    let mut codes: Option<Value<'b>> = None;
    for &width in bits.planes() {
        let plane = plane(words.slice(PLANE_WORD, shift..shift + width), width);
        codes = Some(match codes {
            Some(lower) => lower | plane.shift_left(shift as i32),
            None => plane,
        });
        shift += width;
    }
    let codes = codes.unwrap_or(words).merge(&[UNITS, CODE], COLUMN);
    if codes.size(COLUMN) == columns { codes } else { codes.slice(COLUMN, 0..columns) }
}

/// What codes are worth before scales and offsets come to them, f32.
fn levels<'b>(codes: Value<'b>, packing: Packing) -> Value<'b> {
    let integers = match packing.codebook() {
        Some(Codebook::Mxfp4) => return element(codes),
        Some(codebook) => return look_up(codes, codebook.values()),
        None if packing.has_biases() => codes,
        None => codes - f64::from(packing.bits().centre()),
    };
    integers.convert(ElementType::F32)
}

/// The elements of MXFP4: a sign, two bits of an exponent with the bias 1, and a bit of a fraction.
fn element(codes: Value<'_>) -> Value<'_> {
    let builder = codes.builder();
    let magnitude = codes & builder.integer(7);
    let normal = (magnitude.shift_left(22) + f64::from((127 - 1) << 23)).bitcast(ElementType::F32);
    let subnormal = magnitude.convert(ElementType::F32) * 0.5;
    let small = magnitude.compare(Direction::Lt, builder.integer(2));
    let value = small.select(subnormal, normal);
    codes.compare(Direction::Gt, builder.integer(8)).select(-value, value)
}

/// The values that codes number.
fn look_up<'b>(codes: Value<'b>, table: &[f32; 16]) -> Value<'b> {
    let builder = codes.builder();
    let dimensions = codes.ty().dimensions;
    let mut values: Vec<Value<'b>> =
        table.iter().map(|value| builder.scalar(*value).broadcast(&dimensions)).collect();
    for bit in 0..4 {
        let set = codes & builder.integer(1 << bit);
        let set = set.compare(Direction::Ne, builder.integer(0));
        let halves = values.as_chunks::<2>().0.iter();
        values = halves.map(|[clear, one]| set.select(*one, *clear)).collect();
    }
    values.pop().unwrap_or(codes)
}

/// The words `[.., Unit, PlaneWord]` of a plane of `width` bits to its part of the codes `[.., Unit, Code]`.
/// Neighbours stand in the two halves of a word, pairs in ascending places.
fn plane<'b>(words: Value<'b>, width: usize) -> Value<'b> {
    let builder = words.builder();
    let (field, half) = (FIELD.of(UNIT / 2 / width), HALF.of(2));
    let lower = (builder.iota(field) * width as f64).broadcast(&[field, half]);
    let places = lower + builder.iota(half) * 16.0;
    let all = [&words.ty().dimensions[..], &[field, half]].concat();
    let parts = words.broadcast(&all).shift_right(places.broadcast(&all));
    (parts & builder.integer((1 << width) - 1)).merge(&[PLANE_WORD, FIELD, HALF], CODE)
}

/// `words [..]` to their fields of `width` bits, the lowest first: `[.., field]`.
fn fields<'b>(words: Value<'b>, width: usize, field: Dimension) -> Value<'b> {
    let builder = words.builder();
    let all = [&words.ty().dimensions[..], &[field]].concat();
    let places = (builder.iota(field) * width as f64).broadcast(&all);
    words.broadcast(&all).shift_right(places) & builder.integer((1 << width) - 1)
}

/// `x [.., outer, inner]` at place `n` of `inner`: `[.., outer]`.
fn at<'b>(x: Value<'b>, outer: Label, inner: Label, n: usize) -> Value<'b> {
    x.slice(inner, n..n + 1).merge(&[outer, inner], outer)
}

/// i32 bits as f32 values.
fn float<'b>(bits: Value<'b>, float: Float) -> Value<'b> {
    match float {
        Float::F32 => bits.bitcast(ElementType::F32),
        Float::F16 => half_bits(bits),
        Float::Bf16 => brain_bits(bits),
    }
}

/// Two values in the halves of each word: `[.., Word]` to `[.., into]`, `count` of them.
fn pairs<'b>(words: Value<'b>, into: Label, count: usize) -> Value<'b> {
    let all = fields(words, 16, HALF.of(2)).merge(&[WORD, HALF], into);
    if all.size(into) == count { all } else { all.slice(into, 0..count) }
}

fn centred<'b>(words: Value<'b>, kind: Float, groups: usize) -> Value<'b> {
    match kind {
        Float::F32 => float(words.relabel(WORD, SCALE_GROUP), kind),
        Float::F16 | Float::Bf16 => float(pairs(words, SCALE_GROUP, groups), kind),
    }
}

/// Four bytes `e` in each word, worth `2^(e − 127)`.
fn exponents<'b>(words: Value<'b>, groups: usize) -> Value<'b> {
    let all = fields(words, 8, FIELD.of(4)).merge(&[WORD, FIELD], SCALE_GROUP);
    let bytes =
        if all.size(SCALE_GROUP) == groups { all } else { all.slice(SCALE_GROUP, 0..groups) };
    // The smallest is no normal number.
    let bits = bytes.shift_left(23).maximum(words.builder().integer(1 << 22));
    bits.bitcast(ElementType::F32)
}

fn affine<'b>(words: Value<'b>, kind: Float, groups: usize) -> (Value<'b>, Option<Value<'b>>) {
    let both = match kind {
        Float::F32 => words.split(WORD, &[SCALE_GROUP.of(groups), HALF.of(2)]),
        Float::F16 | Float::Bf16 => fields(words.relabel(WORD, SCALE_GROUP), 16, HALF.of(2)),
    };
    let part = |n| float(at(both, SCALE_GROUP, HALF, n), kind);
    (part(0), Some(part(1)))
}

fn nested<'b>(words: Value<'b>, nested: Nested) -> (Value<'b>, Option<Value<'b>>) {
    let half = |bits| float(bits, Float::F16);
    match nested {
        Nested::MinimumsFour | Nested::MinimumsSix => {
            let length = if nested == Nested::MinimumsFour { 5 } else { 4 };
            let blocks = words.size(WORD) / length;
            let parts = words.split(WORD, &[SUPER_BLOCK.of(blocks), PART.of(length)]);
            let both = fields(at(parts, SUPER_BLOCK, PART, 0), 16, HALF.of(2));
            let (d, m) = (at(both, SUPER_BLOCK, HALF, 0), at(both, SUPER_BLOCK, HALF, 1));
            let small = parts.slice(PART, 1..length);
            let (s, t) = if nested == Nested::MinimumsFour {
                let bytes = bytes(small);
                let fifteen = bytes.builder().integer(15);
                (bytes & fifteen, bytes.shift_right(bytes.builder().integer(4)))
            } else {
                let all = sixes(small);
                (all.slice(SCALE_GROUP, 0..8), all.slice(SCALE_GROUP, 8..16))
            };
            let product = |d: Value<'b>, s: Value<'b>| {
                let product = half(d) * s.convert(ElementType::F32);
                product.merge(&[SUPER_BLOCK, SCALE_GROUP], SCALE_GROUP)
            };
            (product(d, s), Some(-product(m, t)))
        }
        Nested::CentredSix | Nested::CentredEight => {
            let length = if nested == Nested::CentredSix { 3 } else { 4 };
            // 2n words hold the integers of n super-blocks, with another for every two.
            let blocks = words.size(WORD) * 2 / (2 * length + 1);
            let small = words.slice(WORD, 0..length * blocks);
            let small = small.split(WORD, &[SUPER_BLOCK.of(blocks), PART.of(length)]);
            let s = if nested == Nested::CentredSix {
                sixes(small) - 32.0
            } else {
                let bytes = bytes(small);
                bytes - (bytes & bytes.builder().integer(0x80)) * 2.0
            };
            let d = words.slice(WORD, length * blocks..words.size(WORD));
            let factor = half(pairs(d, SUPER_BLOCK, blocks)) * s.convert(ElementType::F32);
            (factor.merge(&[SUPER_BLOCK, SCALE_GROUP], SCALE_GROUP), None)
        }
    }
}

/// Four words of bytes `[.., SuperBlock, Part]` to `[.., SuperBlock, ScaleGroup]`.
fn bytes(words: Value<'_>) -> Value<'_> {
    fields(words, 8, FIELD.of(4)).merge(&[PART, FIELD], SCALE_GROUP)
}

/// Three words of six-bit integers to sixteen of them, `[.., SuperBlock, ScaleGroup]`: five in each
/// word, and two bits of the sixteenth.
fn sixes(words: Value<'_>) -> Value<'_> {
    let builder = words.builder();
    let five = fields(words, 6, FIELD.of(5)).merge(&[PART, FIELD], SCALE_GROUP);
    let last = words.shift_right(builder.integer(30));
    let last = last.relabel(PART, SCALE_GROUP);
    let part = |n: usize| last.slice(SCALE_GROUP, n..n + 1).shift_left(2 * n as i32);
    five.concatenate(&[part(0) | part(1) | part(2)], SCALE_GROUP)
}
