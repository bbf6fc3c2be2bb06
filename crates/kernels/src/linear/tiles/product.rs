//! The product: tiles multiply one group while the sums of an earlier one are scaled.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::marker::PhantomData;

use stablemate_encodings::LANES;

use crate::amx::{Planes, Step, TILE_ROWS, begin, quarter, store};
use crate::linear::micro::{BLOCK, TILES};
use crate::simd::{Operation, Simd};

/// Numbers of a turn's sums: two of two tiles.
const SUMS: usize = 4 * TILE_ROWS * LANES;

/// Numbers of the sums of all turns that are not finished.
pub(super) const ALL_SUMS: usize = (LAG + 1) * SUMS;

/// [`Planes`] as types.
pub(super) trait Kind: 'static {
    const PLANES: Planes;
}

pub(super) struct Bytes;
pub(super) struct Split;
pub(super) struct Floats;

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
pub(super) struct Operands {
    /// Of the first of the groups: see [`Step`].
    pub a: *const u8,
    /// From one block of tokens to the next.
    pub a_block: usize,
    pub b: *const u8,
    /// Bytes of a block of rows in `b`.
    pub b_rows: usize,
    pub depth: usize,
    /// Tiles of a group.
    pub steps: usize,
    /// Of a block.
    pub tokens: usize,
    /// Blocks of tokens.
    pub blocks: usize,
    /// Blocks of rows.
    pub rows: usize,
    /// The first one, and the one behind the last one.
    pub groups: [usize; 2],
    /// Of a row.
    pub all_groups: usize,
    /// `[blocks, all groups, tokens]`.
    pub x_scales: *const f32,
    pub x_sums: *const f32,
    /// `[blocks of rows, all groups, TILES, 16]`.
    pub scales: *const f32,
    pub biases: *const f32,
    /// Room for the sums of all turns that are not finished.
    pub sums: *mut i32,
    /// `[blocks of rows, all tokens, BLOCK]`, to which the product is added.
    pub out: *mut f32,
    /// From one block of rows to the next.
    pub out_rows: usize,
    pub next: *const u8,
    /// For each group of each block of rows, once.
    pub next_lines: usize,
}

/// The product of some groups of some blocks of rows and of tokens.
///
/// # Safety
/// The operands are valid for their shapes, and tiles are configured for them.
pub(super) struct TileProduct<P, const SIGNED: bool, const BIASES: bool>(Operands, PhantomData<P>);

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
    pub(super) fn new(operands: Operands) -> Self {
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
