//! The inner product by tiles: some blocks of rows by some blocks of up to sixteen tokens.
//!
//! Codes become bytes or bf16, once for all tokens; activations of 16 bits are two planes of such. Bytes need two sums, which are put
//! together. With bf16 there is one, but tiles take half as many columns: better where groups are short, and possible where no sum
//! outgrows the 24 bits of a float. Either way sums are the integers that [`super::micro`] has, and what follows is the same in the
//! same order: the results are the same bits.
//!
//! Columns are taken in stretches whose weights stay in a core's first-level cache while all tokens go by.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::marker::PhantomData;

use stablemate_encodings::{Codebook, LANES, Packing, UNIT};

use super::decode::{Codes, E2m1, Plain};
use super::micro::{BLOCK, TILES};
use super::quantize::{Form, Quantized};
use super::scratch::Lines;
use super::strip::STRIP;
use super::tokens::Block;
use crate::amx::{Configured, Planes, Step, TILE_BYTES, TILE_ROWS, begin, quarter, store};
use crate::isa::Isa;
use crate::simd::{Operation, Simd, dispatch};

/// Bytes of the weights of a stretch.
const STRETCH: usize = 16 << 10;

/// Every group divides it, and so a stretch.
const GROUPS: usize = 128;

/// Numbers of a group's sums: two of two tiles.
const SUMS: usize = 4 * TILE_ROWS * LANES;

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
    unsafe {
        if rows.packing.codebook() == Some(Codebook::Mxfp4) {
            return rows.stretches::<E2m1>(blocks, scratch, out);
        }
        match rows.packing.bits().count() {
            2 => rows.stretches::<Plain<2>>(blocks, scratch, out),
            3 => rows.stretches::<Plain<3>>(blocks, scratch, out),
            4 => rows.stretches::<Plain<4>>(blocks, scratch, out),
            5 => rows.stretches::<Plain<5>>(blocks, scratch, out),
            6 => rows.stretches::<Plain<6>>(blocks, scratch, out),
            _ => rows.stretches::<Plain<8>>(blocks, scratch, out),
        }
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
        let planes = self.form.planes();
        let group = self.packing.group();
        let depth = depth(planes, group);
        let weights = scratch.weights.take(STRETCH / 4).cast::<i32>();
        let sums = scratch.sums.take((LAG + 1) * SUMS).cast::<i32>();
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
        let centre = self.form.centre();
        let shift = (depth(self.form.planes(), self.packing.group()) / 4).trailing_zeros();
        let kind = PhantomData;
        if self.form.planes() == Planes::Floats {
            let level = |code: usize| ((code as i32 - centre) as f32).to_bits() >> 16;
            let table = std::array::from_fn(|n| level(n % K::LEVELS) as u16);
            dispatch(Isa::Amx, DecodeFloats::<K> { codes, units, shift, table, out, kind });
        } else {
            let centre = i32::from_ne_bytes([centre as u8; 4]);
            dispatch(Isa::Amx, DecodeBytes::<K> { codes, units, shift, centre, out, kind });
        }
    }

    /// # Safety
    /// As [`TileProduct`].
    #[inline(always)]
    unsafe fn product(&self, operands: Operands) {
        let biases = self.packing.has_biases();
        let signed = !biases || self.packing.bits().count() < 8;
        match (self.form.planes(), signed, biases) {
            (Planes::Floats, _, false) => {
                dispatch(Isa::Amx, TileProduct::<Floats, true, false>::new(operands));
            }
            (Planes::Floats, _, true) => {
                dispatch(Isa::Amx, TileProduct::<Floats, true, true>::new(operands));
            }
            (Planes::Bytes, true, false) => {
                dispatch(Isa::Amx, TileProduct::<Bytes, true, false>::new(operands));
            }
            (Planes::Bytes, true, true) => {
                dispatch(Isa::Amx, TileProduct::<Bytes, true, true>::new(operands));
            }
            (Planes::Bytes, false, _) => {
                dispatch(Isa::Amx, TileProduct::<Bytes, false, true>::new(operands));
            }
            (Planes::Split, true, false) => {
                dispatch(Isa::Amx, TileProduct::<Split, true, false>::new(operands));
            }
            (Planes::Split, true, true) => {
                dispatch(Isa::Amx, TileProduct::<Split, true, true>::new(operands));
            }
            (Planes::Split, false, _) => {
                dispatch(Isa::Amx, TileProduct::<Split, false, true>::new(operands));
            }
        }
    }
}

/// Where a line of all lines of a tile of rows is, when tiles have 2^`shift` lines, a power of two.
#[inline(always)]
fn place(shift: u32, line: usize, tile: usize) -> usize {
    let step = line >> shift;
    ((step * TILES + tile) << shift) + (line - (step << shift))
}

/// Codes of a block of rows as bytes, less what zero stands for: `[steps, TILES, lines, 16, 4]`.
///
/// # Safety
/// There are as many units at each of `codes`, and room for them.
struct DecodeBytes<K> {
    codes: [*const i32; TILES],
    units: usize,
    /// Of a tile: see [`place`].
    shift: u32,
    /// In every byte.
    centre: i32,
    out: *mut i32,
    kind: PhantomData<K>,
}

impl<K: Codes> Operation for DecodeBytes<K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        const QUADS: usize = UNIT / 4;
        let centre = S::splat_integer(self.centre);
        for unit in 0..self.units {
            for tile in 0..TILES {
                let codes = self.codes[tile].add(unit * K::BITS * LANES);
                // No tile ends within half a unit.
                let out = [0, 1].map(|half| {
                    let place = place(self.shift, unit * QUADS + half * QUADS / 2, tile);
                    self.out.wrapping_add(place * LANES)
                });
                let put = |value, out| S::store_integers(S::subtract_bytes(value, centre), out);
                put(K::quad::<S>(codes, 0), out[0]);
                put(K::quad::<S>(codes, 1), out[0].add(LANES));
                put(K::quad::<S>(codes, 2), out[0].add(2 * LANES));
                put(K::quad::<S>(codes, 3), out[0].add(3 * LANES));
                put(K::quad::<S>(codes, 4), out[1]);
                put(K::quad::<S>(codes, 5), out[1].add(LANES));
                put(K::quad::<S>(codes, 6), out[1].add(2 * LANES));
                put(K::quad::<S>(codes, 7), out[1].add(3 * LANES));
            }
        }
    }
}

/// The same as bf16: `[steps, TILES, lines, 16, 2]`.
///
/// # Safety
/// As [`DecodeBytes`].
struct DecodeFloats<K> {
    codes: [*const i32; TILES],
    units: usize,
    shift: u32,
    /// What codes stand for, as bf16.
    table: [u16; 64],
    out: *mut i32,
    kind: PhantomData<K>,
}

impl<K: Codes> Operation for DecodeFloats<K> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        const PAIRS: usize = UNIT / 2;
        for unit in 0..self.units {
            for tile in 0..TILES {
                let codes = self.codes[tile].add(unit * K::BITS * LANES);
                for half in 0..2 {
                    // No tile ends within half a unit.
                    let place = place(self.shift, unit * PAIRS + half * PAIRS / 2, tile);
                    self.half::<S>(codes, half, self.out.add(place * LANES));
                }
            }
        }
    }
}

impl<K: Codes> DecodeFloats<K> {
    /// Half a unit: eight pairs.
    #[inline(always)]
    unsafe fn half<S: Simd>(&self, codes: *const i32, half: usize, out: *mut i32) {
        if half == 0 {
            self.pairs::<S, 0>(codes, out);
            self.pairs::<S, 4>(codes, out.add(4 * LANES));
        } else {
            self.pairs::<S, 8>(codes, out);
            self.pairs::<S, 12>(codes, out.add(4 * LANES));
        }
    }

    /// Four pairs, known to the compiler.
    #[inline(always)]
    unsafe fn pairs<S: Simd, const FIRST: usize>(&self, codes: *const i32, out: *mut i32) {
        let pairs = [
            K::loose_pair::<S>(codes, FIRST),
            K::loose_pair::<S>(codes, FIRST + 1),
            K::loose_pair::<S>(codes, FIRST + 2),
            K::loose_pair::<S>(codes, FIRST + 3),
        ];
        for (n, pair) in pairs.into_iter().enumerate() {
            let levels = S::look_up_halves(&self.table, K::BITS, pair);
            S::store_integers(levels, out.add(n * LANES));
        }
    }
}

/// [`Planes`] as types.
trait Kind: 'static {
    const PLANES: Planes;
}

struct Bytes;
struct Split;
struct Floats;

impl Kind for Bytes {
    const PLANES: Planes = Planes::Bytes;
}

impl Kind for Split {
    const PLANES: Planes = Planes::Split;
}

impl Kind for Floats {
    const PLANES: Planes = Planes::Floats;
}

/// Operands of [`TileProduct`].
#[derive(Clone, Copy)]
struct Operands {
    /// Of the first of the groups: see [`Step`].
    a: *const u8,
    /// From one block of tokens to the next.
    a_block: usize,
    b: *const u8,
    /// Bytes of a block of rows in `b`.
    b_rows: usize,
    depth: usize,
    /// Tiles of a group.
    steps: usize,
    /// Of a block.
    tokens: usize,
    /// Blocks of tokens.
    blocks: usize,
    /// Blocks of rows.
    rows: usize,
    /// The first one, and the one behind the last one.
    groups: [usize; 2],
    /// Of a row.
    all_groups: usize,
    /// `[blocks, all groups, tokens]`.
    x_scales: *const f32,
    x_sums: *const f32,
    /// `[blocks of rows, all groups, TILES, 16]`.
    scales: *const f32,
    biases: *const f32,
    /// Room for the sums of all turns that are not finished.
    sums: *mut i32,
    /// `[blocks of rows, all tokens, BLOCK]`, to which the product is added.
    out: *mut f32,
    /// From one block of rows to the next.
    out_rows: usize,
    next: *const u8,
    /// For each group of each block of rows, once.
    next_lines: usize,
}

/// The product of some groups of some blocks of rows and of tokens.
///
/// # Safety
/// The operands are valid for their shapes, and tiles are configured for them.
struct TileProduct<P, const SIGNED: bool, const BIASES: bool>(Operands, PhantomData<P>);

impl<P: Kind, const SIGNED: bool, const BIASES: bool> Operation for TileProduct<P, SIGNED, BIASES> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let operands = &self.0;
        let [first, last] = operands.groups;
        let shape = [operands.rows, last - first];
        let turns = shape[0] * shape[1];
        let count = turns * operands.blocks;
        let mut next = operands.next;
        let mut multiplied = Turn::default();
        let mut finished = Turn::default();
        for turn in 0..count + LAG {
            if multiplied.rows == 0 {
                self.fetch::<S>(multiplied);
            }
            if turn < turns {
                for _ in 0..operands.next_lines {
                    S::prefetch_far(next);
                    next = next.wrapping_add(64);
                }
            }
            // Tiles multiply while the sums of an earlier turn are scaled.
            match (turn < count, turn >= LAG) {
                (true, true) => self.turn::<S, true, true>(multiplied, finished),
                (true, false) => self.turn::<S, true, false>(multiplied, finished),
                (false, true) => self.turn::<S, false, true>(multiplied, finished),
                (false, false) => {}
            }
            multiplied.advance(shape);
            if turn >= LAG {
                finished.advance(shape);
            }
        }
    }
}

/// How many turns later sums are scaled: they should have arrived in memory.
const LAG: usize = 1;

/// A group of a block of rows and of a block of tokens.
#[derive(Clone, Copy, Default)]
struct Turn {
    rows: usize,
    /// Counted from the first one.
    group: usize,
    block: usize,
    /// Where its sums are.
    place: usize,
}

impl Turn {
    /// To the next one, of so many blocks of rows and groups.
    #[inline(always)]
    fn advance(&mut self, [rows, groups]: [usize; 2]) {
        self.rows += 1;
        if self.rows == rows {
            self.rows = 0;
            self.group += 1;
            if self.group == groups {
                self.group = 0;
                self.block += 1;
            }
        }
        self.place = if self.place == LAG { 0 } else { self.place + 1 };
    }
}

impl<P: Kind, const SIGNED: bool, const BIASES: bool> TileProduct<P, SIGNED, BIASES> {
    fn new(operands: Operands) -> Self {
        Self(operands, PhantomData)
    }

    /// Bytes of a group's activations.
    #[inline(always)]
    fn group_bytes(&self) -> usize {
        self.0.steps * P::PLANES.count() * self.0.tokens * self.0.depth
    }

    /// A group's activations.
    #[inline(always)]
    fn activations(&self, turn: Turn) -> *const u8 {
        self.0.a.wrapping_add(turn.block * self.0.a_block + turn.group * self.group_bytes())
    }

    /// Fetches the activations of the next group.
    #[inline(always)]
    unsafe fn fetch<S: Simd>(&self, turn: Turn) {
        let bytes = self.group_bytes();
        let at = self.activations(turn).wrapping_add(bytes);
        for line in (0..bytes).step_by(64) {
            S::prefetch(at.wrapping_add(line));
        }
    }

    /// Multiplies one turn and finishes another one, in quarters.
    #[inline(always)]
    unsafe fn turn<S: Simd, const MULTIPLY: bool, const FINISH: bool>(
        &self,
        multiplied: Turn,
        finished: Turn,
    ) {
        let operands = &self.0;
        let (steps, step) = (operands.steps, multiplied.group * operands.steps);
        let plane = operands.tokens * operands.depth;
        let b = multiplied.rows * operands.b_rows + step * TILES * operands.depth * LANES;
        let mut step = Step {
            a: self.activations(multiplied),
            depth: operands.depth,
            plane,
            b: operands.b.wrapping_add(b),
        };
        if MULTIPLY {
            begin(P::PLANES);
            for _ in 1..steps {
                quarter(&step, P::PLANES, SIGNED, 0);
                quarter(&step, P::PLANES, SIGNED, 1);
                quarter(&step, P::PLANES, SIGNED, 2);
                quarter(&step, P::PLANES, SIGNED, 3);
                step.a = step.a.add(P::PLANES.count() * plane);
                step.b = step.b.add(TILES * operands.depth * LANES);
            }
            quarter(&step, P::PLANES, SIGNED, 0);
        }
        if FINISH {
            self.finish::<S>(finished, 0);
        }
        if MULTIPLY {
            quarter(&step, P::PLANES, SIGNED, 1);
        }
        if FINISH {
            self.finish::<S>(finished, 1);
        }
        if MULTIPLY {
            quarter(&step, P::PLANES, SIGNED, 2);
        }
        if FINISH {
            self.finish::<S>(finished, 2);
        }
        if MULTIPLY {
            quarter(&step, P::PLANES, SIGNED, 3);
        }
        if FINISH {
            self.finish::<S>(finished, 3);
        }
        if MULTIPLY {
            store(operands.sums.wrapping_add(multiplied.place * SUMS), P::PLANES);
        }
    }

    /// Scales a quarter of a turn's sums and adds them to the result.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, turn: Turn, quarter: usize) {
        const HALF: usize = TILE_ROWS / 2;
        let operands = &self.0;
        let group = operands.groups[0] + turn.group;
        let (tile, first) = (quarter / 2, quarter % 2 * HALF);
        let place = (turn.rows * operands.all_groups + group) * BLOCK + tile * LANES;
        let factors = [
            S::load(operands.scales.add(place)),
            if BIASES { S::load(operands.biases.add(place)) } else { S::zero() },
        ];
        let sums = operands.sums.add(turn.place * SUMS + (tile * TILE_ROWS + first) * LANES);
        let x = (turn.block * operands.all_groups + group) * operands.tokens + first;
        let token = turn.block * operands.tokens + first;
        let out = turn.rows * operands.out_rows + token * BLOCK + tile * LANES;
        let out = operands.out.wrapping_add(out);
        if operands.tokens == TILE_ROWS {
            self.tokens::<S>(factors, sums, x, out, HALF);
        } else {
            let count = operands.tokens.saturating_sub(first).min(HALF);
            self.tokens::<S>(factors, sums, x, out, count);
        }
    }

    /// Scales the sums of `count` tokens.
    #[inline(always)]
    unsafe fn tokens<S: Simd>(
        &self,
        [scale, bias]: [S::Floats; 2],
        sums: *const i32,
        x: usize,
        out: *mut f32,
        count: usize,
    ) {
        let scales = self.0.x_scales.wrapping_add(x);
        let totals = self.0.x_sums.wrapping_add(x);
        for n in 0..count {
            let sum = Self::sum::<S>(sums.add(n * LANES));
            let out = out.add(n * BLOCK);
            let factor = S::multiply(scale, S::splat(*scales.add(n)));
            let mut total = S::multiply_add(sum, factor, S::load(out));
            if BIASES {
                total = S::multiply_add(bias, S::splat(*totals.add(n)), total);
            }
            S::store(total, out);
        }
    }

    /// Sixteen sums, of both planes.
    #[inline(always)]
    unsafe fn sum<S: Simd>(at: *const i32) -> S::Floats {
        const SECOND: usize = TILES * TILE_ROWS * LANES;
        match P::PLANES {
            Planes::Floats => S::load(at.cast()),
            Planes::Bytes => S::to_floats(S::load_integers(at)),
            Planes::Split => {
                let (upper, lower) = (S::load_integers(at), S::load_integers(at.add(SECOND)));
                S::to_floats(S::add_integers(S::shift_left::<8>(upper), lower))
            }
        }
    }
}
