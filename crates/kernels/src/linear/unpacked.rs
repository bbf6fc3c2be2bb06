//! The inner product of many tokens where there are no tiles: codes are unpacked once, for all of them.
//!
//! Columns are taken in stretches whose unpacked weights stay in a core's first-level cache while all tokens go by. Sums are
//! those of [`super::micro`], in the same order.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::marker::PhantomData;

use stablemate_encodings::{LANES, UNIT};

use super::decode::{Codes, WithCodes, with_codes};
use super::micro::{BLOCK, BYTES, Operands, TILES};
use super::multiply;
use super::scratch::Lines;
use super::strip::StripRows;
use super::tokens::Block;
use crate::isa::Isa;
use crate::simd::{Operation, Simd, dispatch};

/// Tokens of a block.
pub(super) const UNPACKED_WIDTH: usize = 4;

/// Bytes of the unpacked weights of a stretch.
const STRETCH: usize = 16 << 10;

/// Every group divides it, and so a stretch.
const GROUPS: usize = 128;

/// Multiplies by all `blocks`, which are of [`UNPACKED_WIDTH`]. `out` is `[blocks of rows, tokens, BLOCK]`, overwritten.
///
/// # Safety
/// The instruction set is available; pointers are valid for the columns, x is quantised in this form for these blocks.
pub(super) unsafe fn multiply_unpacked(
    isa: Isa,
    rows: &StripRows<'_>,
    blocks: &[Block],
    scratch: &mut Lines,
    out: *mut f32,
) {
    let words = rows.form.words(UNPACKED_WIDTH);
    let value_bytes = if words == BYTES { 1 } else { 2 };
    let group = rows.packing.group();
    let groups = rows.columns / group;
    let stretch = STRETCH / (rows.rows * BLOCK * value_bytes) / GROUPS * GROUPS;
    let weights = scratch.take(STRETCH / 4).cast::<i32>();
    let tokens = blocks.len() * UNPACKED_WIDTH;
    for first in (0..rows.columns).step_by(stretch) {
        let columns = stretch.min(rows.columns - first);
        let tile_words = columns.next_multiple_of(UNIT) * LANES * value_bytes / 4;
        let mut largest = 0;
        for index in 0..rows.rows {
            let to = weights.add(index * TILES * tile_words);
            let unpack = Unpack { isa, words, rows, index, first, columns, to, tile_words };
            largest = with_codes(rows.packing, unpack);
        }
        let begin = first / group;
        for (n, block) in blocks.iter().enumerate() {
            let x = rows.x.view(block);
            for index in 0..rows.rows {
                let codes = weights.add(index * TILES * tile_words).cast_const();
                let scales = (index * groups + begin) * BLOCK;
                let operands = Operands {
                    codes: [codes, codes.add(tile_words)],
                    next: std::ptr::null(),
                    next_lines: 0,
                    far: false,
                    tile_bytes: 4 * tile_words,
                    x: x.words.add(first * UNPACKED_WIDTH * value_bytes / 4),
                    starts: x.starts.add(begin * UNPACKED_WIDTH),
                    x_scales: x.scales.add(begin * UNPACKED_WIDTH),
                    x_sums: x.sums.add(begin * UNPACKED_WIDTH),
                    scales: rows.scales.add(scales),
                    biases: match rows.packing.has_biases() {
                        true => rows.biases.add(scales),
                        false => std::ptr::null(),
                    },
                    group,
                    groups: columns / group,
                    add: first > 0,
                    out: out.add((index * tokens + n * UNPACKED_WIDTH) * BLOCK),
                };
                multiply::multiply_unpacked(isa, words, largest, operands);
            }
        }
    }
}

/// Unpacks a block of rows.
struct Unpack<'a> {
    isa: Isa,
    /// The form.
    words: u8,
    rows: &'a StripRows<'a>,
    /// Which block of rows.
    index: usize,
    /// The first column.
    first: usize,
    columns: usize,
    to: *mut i32,
    tile_words: usize,
}

impl WithCodes for Unpack<'_> {
    /// What the largest code stands for.
    type Output = usize;

    /// There is room for the columns of two tiles, filled up to whole units.
    unsafe fn run<K: Codes>(self) -> usize {
        let unit_words = self.first / UNIT * K::BITS * LANES;
        let units = self.columns.div_ceil(UNIT);
        for (tile, codes) in self.rows.codes[self.index].into_iter().enumerate() {
            let codes = codes.wrapping_add(unit_words);
            let out = self.to.add(tile * self.tile_words);
            if self.words == BYTES {
                dispatch(self.isa, UnpackBytes::<K> { codes, units, out, kind: PhantomData });
            } else {
                dispatch(self.isa, UnpackPairs::<K> { codes, units, out, kind: PhantomData });
            }
        }
        K::LARGEST
    }
}

/// Codes of a tile as pairs of 16 bits: `[units, 16, 16]`.
///
/// # Safety
/// There are as many units, and room for them.
struct UnpackPairs<K> {
    codes: *const i32,
    units: usize,
    out: *mut i32,
    kind: PhantomData<K>,
}

impl<K: Codes> Operation for UnpackPairs<K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (mut codes, mut out) = (self.codes, self.out);
        for _ in 0..self.units {
            four_pairs::<S, K, 0>(codes, out);
            four_pairs::<S, K, 4>(codes, out);
            four_pairs::<S, K, 8>(codes, out);
            four_pairs::<S, K, 12>(codes, out);
            codes = codes.add(K::BITS * LANES);
            out = out.add(UNIT / 2 * LANES);
        }
    }
}

/// Four pairs, known to the compiler.
#[inline(always)]
unsafe fn four_pairs<S: Simd, K: Codes, const FIRST: usize>(codes: *const i32, out: *mut i32) {
    let out = out.add(FIRST * LANES);
    S::store_integers(K::pair::<S>(codes, FIRST), out);
    S::store_integers(K::pair::<S>(codes, FIRST + 1), out.add(LANES));
    S::store_integers(K::pair::<S>(codes, FIRST + 2), out.add(2 * LANES));
    S::store_integers(K::pair::<S>(codes, FIRST + 3), out.add(3 * LANES));
}

/// The same as bytes: `[units, 8, 16]`.
///
/// # Safety
/// As [`UnpackPairs`].
struct UnpackBytes<K> {
    codes: *const i32,
    units: usize,
    out: *mut i32,
    kind: PhantomData<K>,
}

impl<K: Codes> Operation for UnpackBytes<K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (mut codes, mut out) = (self.codes, self.out);
        for _ in 0..self.units {
            four_quads::<S, K, 0>(codes, out);
            four_quads::<S, K, 4>(codes, out);
            codes = codes.add(K::BITS * LANES);
            out = out.add(UNIT / 4 * LANES);
        }
    }
}

/// Four quads, known to the compiler.
#[inline(always)]
unsafe fn four_quads<S: Simd, K: Codes, const FIRST: usize>(codes: *const i32, out: *mut i32) {
    let out = out.add(FIRST * LANES);
    S::store_integers(K::quad::<S>(codes, FIRST), out);
    S::store_integers(K::quad::<S>(codes, FIRST + 1), out.add(LANES));
    S::store_integers(K::quad::<S>(codes, FIRST + 2), out.add(2 * LANES));
    S::store_integers(K::quad::<S>(codes, FIRST + 3), out.add(3 * LANES));
}
