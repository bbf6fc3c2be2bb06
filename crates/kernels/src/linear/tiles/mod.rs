//! The inner product by tiles: some blocks of rows by some blocks of up to sixteen tokens.
//!
//! Codes become bytes or bf16, once for all tokens; activations of 16 bits are two planes of such. Bytes need two sums, which are put
//! together. With bf16 there is one, but tiles take half as many columns: better where groups are short, and possible where no sum
//! outgrows the 24 bits of a float. Either way sums are the integers that [`super::micro`] has, and what follows is the same in the
//! same order: the results are the same bits.
//!
//! Columns are taken in stretches whose weights stay in a core's first-level cache while all tokens go by.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

mod decode;
mod product;

use std::marker::PhantomData;

use stablemate_encodings::{LANES, Packing, UNIT};

use super::decode::{Codes, WithCodes, with_codes};
use super::form::Form;
use super::micro::{BLOCK, TILES};
use super::quantize::Quantized;
use super::scratch::Lines;
use super::strip::STRIP;
use super::tokens::Block;
use crate::amx::{Configured, Planes, TILE_BYTES};
use crate::simd::dispatch_tiles;
use decode::{DecodeBytes, DecodeFloats};
use product::{ALL_SUMS, Bytes, Floats, Operands, Split, TileProduct};

/// Bytes of the weights of a stretch.
const STRETCH: usize = 16 << 10;

/// Every group divides it, and so a stretch.
const GROUPS: usize = 128;

/// Bytes of a tile's row for groups of `group` columns. A longer group is several tiles.
pub(super) fn depth(planes: Planes, group: usize) -> usize {
    (planes.bytes() * group).min(TILE_BYTES)
}

/// How tiles multiply 16-bit activations by codes that stand for integers of at most this size, less the centre.
pub(super) fn planes(group: usize, largest: i32) -> Planes {
    // A float has all integers up to here, and so every sum.
    let exact = i64::from(largest) * (1 << 15) * group as i64 <= 1 << 24;
    if exact && 2 * group <= TILE_BYTES { Planes::Floats } else { Planes::Split }
}

/// Memory of a thread.
#[derive(Default)]
pub(super) struct TileScratch {
    weights: Lines,
    sums: Lines,
}

/// Some blocks of rows of a packed weight, and x.
pub(super) struct TileRows<'a> {
    pub packing: Packing,
    pub form: Form,
    pub columns: usize,
    /// Codes of the tiles; the same one twice where there is only one.
    pub codes: [[*const i32; TILES]; STRIP],
    /// How many blocks there are.
    pub rows: usize,
    /// `[blocks of rows, groups, TILES, 16]`.
    pub scales: *const f32,
    /// The same, if the packing has biases.
    pub biases: *const f32,
    pub x: &'a Quantized,
    /// What will be read next, fetched on the way, in bytes.
    pub next: *const u8,
    pub next_bytes: usize,
}

/// Multiplies by all `blocks`, which are blocks of tiles. `out` is `[blocks of rows, tokens, BLOCK]`, overwritten.
///
/// # Safety
/// [`Isa::Amx`] is available; pointers are valid for the columns, x is quantised in this form for these blocks.
pub(super) unsafe fn multiply_tiles(
    rows: &TileRows<'_>,
    blocks: &[Block],
    scratch: &mut TileScratch,
    out: *mut f32,
) {
    // SAFETY: passed on.
    unsafe { with_codes(rows.packing, Stretches { rows, blocks, scratch, out }) };
}

/// All of it.
struct Stretches<'a> {
    rows: &'a TileRows<'a>,
    blocks: &'a [Block],
    scratch: &'a mut TileScratch,
    out: *mut f32,
}

impl WithCodes for Stretches<'_> {
    type Output = ();

    /// As [`multiply_tiles`].
    unsafe fn run<K: Codes>(self) {
        // SAFETY: passed on.
        unsafe { self.rows.stretches::<K>(self.blocks, self.scratch, self.out) };
    }
}

impl TileRows<'_> {
    /// # Safety
    /// As [`multiply_tiles`].
    unsafe fn stretches<K: Codes>(
        &self,
        blocks: &[Block],
        scratch: &mut TileScratch,
        out: *mut f32,
    ) {
        let planes = self.form.planes;
        let group = self.packing.group();
        let depth = depth(planes, group);
        let weights = scratch.weights.take(STRETCH / 4).cast::<i32>();
        let sums = scratch.sums.take(ALL_SUMS).cast::<i32>();
        let tokens: usize = blocks.iter().map(|block| block.width).sum();
        std::slice::from_raw_parts_mut(out, self.rows * tokens * BLOCK).fill(0.0);
        let groups = (self.columns / group).max(1);
        let lines = self.next_bytes.div_ceil(64 * groups * self.rows);
        let stretch = STRETCH / (self.rows * BLOCK * planes.bytes()) / GROUPS * GROUPS;
        let mut configured = None;
        let mut shape = 0;
        for first in (0..self.columns).step_by(stretch) {
            let columns = stretch.min(self.columns - first);
            let row_words = columns.next_multiple_of(UNIT) * BLOCK * planes.bytes() / 4;
            for rows in 0..self.rows {
                self.decode::<K>(rows, first, columns, weights.add(rows * row_words));
            }
            let begin = first / group;
            let mut done = 0;
            // All blocks but the last one have the same width.
            for blocks in blocks.chunk_by(|a, b| a.width == b.width) {
                let width = blocks[0].width;
                if shape != width {
                    drop(configured.take());
                    configured = Some(Configured::new(width, depth));
                    shape = width;
                }
                let x = self.x.view(&blocks[0]);
                let before = first * width * planes.count() * planes.bytes();
                let operands = Operands {
                    a: x.words.cast::<u8>().wrapping_add(before),
                    a_block: self.x.block_bytes(width),
                    b: weights.cast::<u8>(),
                    b_rows: 4 * row_words,
                    depth,
                    steps: planes.bytes() * group / depth,
                    tokens: width,
                    blocks: blocks.len(),
                    rows: self.rows,
                    groups: [begin, begin + columns / group],
                    all_groups: self.columns / group,
                    x_scales: x.scales,
                    x_sums: x.sums,
                    scales: self.scales,
                    biases: self.biases,
                    sums,
                    out: out.wrapping_add(done * BLOCK),
                    out_rows: tokens * BLOCK,
                    next: self.next.wrapping_add(64 * lines * self.rows * begin),
                    next_lines: if done == 0 { lines } else { 0 },
                };
                self.product(operands);
                done += blocks.len() * width;
            }
        }
    }

    /// Codes of a block of rows, of `columns` from the `first` on, as tiles have them.
    ///
    /// # Safety
    /// As [`multiply_tiles`]; there is room for the columns, filled up to whole units.
    unsafe fn decode<K: Codes>(&self, rows: usize, first: usize, columns: usize, out: *mut i32) {
        let unit_words = first / UNIT * K::BITS * LANES;
        let codes = self.codes[rows].map(|codes| codes.wrapping_add(unit_words));
        let units = columns.div_ceil(UNIT);
        let centre = self.form.centre;
        let shift = (depth(self.form.planes, self.packing.group()) / 4).trailing_zeros();
        let kind = PhantomData;
        if self.form.planes == Planes::Floats {
            let level = |code: usize| ((code as i32 - centre) as f32).to_bits() >> 16;
            let table = std::array::from_fn(|n| level(n % K::LEVELS) as u16);
            dispatch_tiles(DecodeFloats::<K> { codes, units, shift, table, out, kind });
        } else {
            let centre = i32::from_ne_bytes([centre as u8; 4]);
            dispatch_tiles(DecodeBytes::<K> { codes, units, shift, centre, out, kind });
        }
    }

    /// # Safety
    /// As [`TileProduct`].
    #[inline(always)]
    unsafe fn product(&self, operands: Operands) {
        let biases = self.packing.has_biases();
        let signed = !biases || self.packing.bits().count() < 8;
        match (self.form.planes, signed, biases) {
            (Planes::Floats, _, false) => {
                dispatch_tiles(TileProduct::<Floats, true, false>::new(operands));
            }
            (Planes::Floats, _, true) => {
                dispatch_tiles(TileProduct::<Floats, true, true>::new(operands));
            }
            (Planes::Bytes, true, false) => {
                dispatch_tiles(TileProduct::<Bytes, true, false>::new(operands));
            }
            (Planes::Bytes, true, true) => {
                dispatch_tiles(TileProduct::<Bytes, true, true>::new(operands));
            }
            (Planes::Bytes, false, _) => {
                dispatch_tiles(TileProduct::<Bytes, false, true>::new(operands));
            }
            (Planes::Split, true, false) => {
                dispatch_tiles(TileProduct::<Split, true, false>::new(operands));
            }
            (Planes::Split, true, true) => {
                dispatch_tiles(TileProduct::<Split, true, true>::new(operands));
            }
            (Planes::Split, false, _) => {
                dispatch_tiles(TileProduct::<Split, false, true>::new(operands));
            }
        }
    }
}
