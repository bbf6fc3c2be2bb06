//! Products of weights that are floats by many tokens, where registers are few: weights are widened once for all tokens.
//!
//! Columns are taken in stretches of some rows, which lie together in a core's first-level cache while all tokens go by. Activations are
//! gathered in stretches, too. (Where they come from, rows and tokens are often a power of two apart, and push each other out of caches.) Sums are those of [`super::dense`], in the same order.

#![expect(clippy::needless_range_loop, reason = "indices of several arrays, which are unrolled")]
#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::LANES;

use super::dense::{self, DenseRows, Widen};
use super::micro::BLOCK;
use super::scratch::{Lines, Shared};
use super::tokens::{Block, Tokens};
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::simd::{Operation, Simd, dispatch};

/// Columns of a stretch.
const STRETCH: usize = 512;

/// Tokens of a run: a stretch of theirs stays in a core's second-level cache.
pub(super) const MOST_TOKENS: usize = 160;

/// Rows of a stretch.
const ROWS: usize = 8;

/// Rows and tokens that are computed at once: as many sums as there are registers for.
const ROWS_AT_ONCE: usize = 2;
const TOKENS_AT_ONCE: usize = 3;

/// Activations as they are gone through: `[stretches, tokens, STRETCH]`, the last stretch filled up to whole lanes.
#[derive(Default)]
pub(super) struct Gathered {
    values: Lines,
    tokens: usize,
}

impl Gathered {
    /// Gathers the rows of `x`, which has `columns`.
    pub(super) fn fill(&mut self, kernels: &Kernels, x: &[f32], columns: usize, tokens: &Tokens) {
        let live = tokens.inputs(tokens.blocks());
        self.tokens = live.len();
        let stretches = columns.div_ceil(STRETCH);
        let values = Shared::new(self.values.floats(stretches * live.len() * STRETCH));
        kernels.pool().run(live.len(), &|token| {
            let x = &x[live[token] * columns..][..columns];
            for (stretch, x) in x.chunks(STRETCH).enumerate() {
                let first = (stretch * live.len() + token) * STRETCH;
                // SAFETY: each token's parts are its own, and there is room for all.
                let out = unsafe { values.part(first, x.len().next_multiple_of(LANES)) };
                out[..x.len()].copy_from_slice(x);
                out[x.len()..].fill(0.0);
            }
        });
    }

    /// From the first token of these blocks on.
    pub(super) fn from(&self, blocks: &[Block]) -> Stretches {
        let first = blocks.first().map_or(0, |block| block.first);
        let start = self.values.start().wrapping_add(first * STRETCH);
        Stretches { start, tokens: self.tokens }
    }
}

/// Where some tokens' stretches are.
#[derive(Clone, Copy)]
pub(super) struct Stretches {
    start: *const f32,
    tokens: usize,
}

impl Stretches {
    /// The stretch of a token that begins with column `first`; others' follow.
    fn stretch(self, first: usize, token: usize) -> *const f32 {
        self.start.wrapping_add(first * self.tokens + token * STRETCH)
    }
}

/// Computes them. All sizes have been checked.
pub(super) fn strip(isa: Isa, rows: &DenseRows<'_>, x: Stretches, scratch: &mut Lines) {
    if rows.columns == 0 {
        return dense::block(isa, rows);
    }
    let tokens = rows.tokens.len();
    let weights = scratch.take(ROWS * (STRETCH + tokens * LANES));
    let sums = weights.wrapping_add(ROWS * STRETCH);
    let row_bytes = rows.columns * rows.float.bytes();
    for row in (0..rows.count).step_by(ROWS) {
        for first in (0..rows.columns).step_by(STRETCH) {
            let columns = STRETCH.min(rows.columns - first);
            widen(isa, rows, row, first..first + columns, weights);
            // The columns that come next: of these rows, or of those behind them.
            let ahead = match first + columns < rows.columns {
                true => (first + columns) * rows.float.bytes(),
                false => ROWS * row_bytes,
            };
            let following = rows.weights::<1>(row)[0].wrapping_add(ahead);
            let mut done = 0;
            while done < tokens {
                let part = Part {
                    row,
                    x: x.stretch(first, done),
                    first,
                    columns,
                    weights,
                    following: if done == 0 { following } else { std::ptr::null() },
                    row_bytes,
                    sums: sums.wrapping_add(done * ROWS * LANES),
                    out: rows.out.wrapping_add(done * BLOCK + row),
                };
                match tokens - done {
                    1 => part.multiply::<1>(isa, rows),
                    2 => part.multiply::<2>(isa, rows),
                    _ => part.multiply::<TOKENS_AT_ONCE>(isa, rows),
                }
                done += TOKENS_AT_ONCE;
            }
        }
    }
}

/// Some columns of [`ROWS`] rows from `row` on, [`STRETCH`] apart.
fn widen(
    isa: Isa,
    rows: &DenseRows<'_>,
    row: usize,
    columns: std::ops::Range<usize>,
    weights: *mut f32,
) {
    let bytes = rows.float.bytes();
    for (n, from) in rows.weights::<ROWS>(row).into_iter().enumerate() {
        // SAFETY: the row has these columns, and there is room for a stretch of each; the instruction set is available.
        unsafe {
            let from = from.add(columns.start * bytes);
            let from = std::slice::from_raw_parts(from, columns.len() * bytes);
            let out = std::slice::from_raw_parts_mut(weights.add(n * STRETCH), columns.len());
            dispatch(isa, Widen { float: rows.float, bytes: from, out });
        }
    }
}

/// Some columns of some rows and tokens.
#[derive(Clone, Copy)]
struct Part {
    row: usize,
    /// `[tokens, STRETCH]`.
    x: *const f32,
    first: usize,
    columns: usize,
    /// `[ROWS, STRETCH]`.
    weights: *const f32,
    /// The weights that will be widened next, if they are to be fetched now; rows are `row_bytes` apart.
    following: *const u8,
    row_bytes: usize,
    /// What the columns before have come to: `[ROWS, tokens, 16]`.
    sums: *mut f32,
    /// `[tokens, BLOCK]`.
    out: *mut f32,
}

impl Part {
    /// By its first `N` tokens.
    fn multiply<const N: usize>(self, isa: Isa, rows: &DenseRows<'_>) {
        let count = ROWS.min(rows.count - self.row);
        let last = self.first + self.columns == rows.columns;
        // SAFETY: it is available; tokens have these columns, and the result has room for whole pairs of rows.
        unsafe { dispatch(isa, Product::<N> { part: self, count, last }) };
    }
}

/// The product of some columns of `count` rows by `N` tokens.
///
/// # Safety
/// There are as many columns of all rows and tokens. If they are the `last` ones the result is written, else the sums.
struct Product<const N: usize> {
    part: Part,
    count: usize,
    last: bool,
}

impl<const N: usize> Operation for Product<N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for row in (0..self.count).step_by(ROWS_AT_ONCE) {
            self.rows::<S>(row);
        }
    }
}

impl<const N: usize> Product<N> {
    /// [`ROWS_AT_ONCE`] rows.
    #[inline(always)]
    unsafe fn rows<S: Simd>(&self, row: usize) {
        let Part { first, columns, .. } = self.part;
        let weights = self.part.weights.add(row * STRETCH);
        let place = |r: usize, n: usize| self.part.sums.add(((row + r) * N + n) * LANES);
        let mut sums = [[S::zero(); N]; ROWS_AT_ONCE];
        if first > 0 {
            for r in 0..ROWS_AT_ONCE {
                for n in 0..N {
                    sums[r][n] = S::load(place(r, n));
                }
            }
        }
        let whole = columns - columns % LANES;
        // Each pair of rows fetches one of the tokens that follow.
        let next = TOKENS_AT_ONCE + row / ROWS_AT_ONCE % TOKENS_AT_ONCE;
        let next = self.part.x.wrapping_add(next * STRETCH);
        let following = self.part.following.wrapping_add(row * self.part.row_bytes);
        for at in (0..whole).step_by(LANES) {
            S::prefetch(next.wrapping_add(at).cast());
            if !self.part.following.is_null() {
                S::prefetch(following.wrapping_add(2 * at));
                S::prefetch(following.wrapping_add(self.part.row_bytes + 2 * at));
            }
            let weights: [_; ROWS_AT_ONCE] =
                std::array::from_fn(|r| S::load(weights.add(r * STRETCH + at)));
            for n in 0..N {
                let x = S::load(self.part.x.add(n * STRETCH + at));
                for r in 0..ROWS_AT_ONCE {
                    sums[r][n] = S::multiply_add(weights[r], x, sums[r][n]);
                }
            }
        }
        if whole < columns {
            for r in 0..ROWS_AT_ONCE {
                let left = columns - whole;
                let weight = S::load_part(weights.add(r * STRETCH + whole), left);
                for n in 0..N {
                    let x = S::load_part(self.part.x.add(n * STRETCH + whole), left);
                    sums[r][n] = S::multiply_add(weight, x, sums[r][n]);
                }
            }
        }
        for r in 0..ROWS_AT_ONCE {
            for n in 0..N {
                if self.last {
                    *self.part.out.add(n * BLOCK + row + r) = S::sum(sums[r][n]);
                } else {
                    S::store(sums[r][n], place(r, n));
                }
            }
        }
    }
}
