//! Products of weights that are floats, in f32.
//!
//! Lanes run along the columns: a result is the sum of sixteen sums, each of every sixteenth column in order. So it does
//! not depend on which rows and tokens are computed beside it.

#![expect(clippy::needless_range_loop, reason = "indices of several arrays, which are unrolled")]
#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::{Float, LANES};

use super::micro::BLOCK;
use crate::isa::Isa;
use crate::simd::{Operation, Simd, dispatch};

/// The most rows that are computed at once.
const ROWS: usize = 4;

/// `count` rows (at most [`BLOCK`]) of a weight by some tokens.
pub(super) struct DenseRows<'a> {
    pub float: Float,
    /// `[rows, columns]`.
    pub bytes: &'a [u8],
    pub columns: usize,
    pub first: usize,
    pub count: usize,
    /// `[tokens, columns]`.
    pub x: &'a [f32],
    /// Rows of x.
    pub tokens: &'a [usize],
    /// Whether what comes next is fetched into the second-level cache only.
    pub far: bool,
    /// `[tokens, BLOCK]`.
    pub out: *mut f32,
}

impl DenseRows<'_> {
    /// `R` rows from `row` on; the last one where there is none.
    pub(super) fn weights<const R: usize>(&self, row: usize) -> [*const u8; R] {
        let row_bytes = self.columns * self.float.bytes();
        std::array::from_fn(|r| {
            let row = self.first + (row + r).min(self.count - 1);
            self.bytes[row * row_bytes..][..row_bytes].as_ptr()
        })
    }

    /// `N` tokens from `token` on.
    pub(super) fn x<const N: usize>(&self, token: usize) -> [*const f32; N] {
        let row = |n: usize| self.tokens[token + n] * self.columns;
        std::array::from_fn(|n| self.x[row(n)..][..self.columns].as_ptr())
    }

    /// `R` rows by `N` tokens.
    fn all_columns<const R: usize, const N: usize>(&self, isa: Isa, row: usize, token: usize) {
        let operation = Dense::<R, N> {
            float: self.float,
            weights: self.weights(row),
            x: self.x(token),
            far: self.far,
            columns: self.columns,
            out: self.out.wrapping_add(token * BLOCK + row),
        };
        // SAFETY: it is available; rows and tokens have as many columns, and the result has room for whole groups of rows of all
        // tokens.
        unsafe { dispatch(isa, operation) };
    }
}

/// Computes them. All sizes have been checked.
pub(super) fn block(isa: Isa, rows: &DenseRows<'_>) {
    // Registers for so many sums.
    let many = isa == Isa::Avx512 || isa == Isa::Amx;
    for row in (0..rows.count).step_by(ROWS) {
        let mut done = 0;
        while done < rows.tokens.len() {
            done += match rows.tokens.len() - done {
                4.. if many => {
                    rows.all_columns::<ROWS, 4>(isa, row, done);
                    4
                }
                2.. if many => {
                    rows.all_columns::<ROWS, 2>(isa, row, done);
                    2
                }
                // Four are two and two: alone, a token has too little to do for what is read.
                3 | 5.. => {
                    rows.all_columns::<2, 3>(isa, row, done);
                    rows.all_columns::<2, 3>(isa, row + 2, done);
                    3
                }
                2 | 4 => {
                    rows.all_columns::<2, 2>(isa, row, done);
                    rows.all_columns::<2, 2>(isa, row + 2, done);
                    2
                }
                _ => {
                    rows.all_columns::<ROWS, 1>(isa, row, done);
                    1
                }
            };
        }
    }
}

/// `R` rows by `N` tokens.
///
/// # Safety
/// All rows have `columns`; `out` is `[N, BLOCK]`, of which the first rows are written.
struct Dense<const R: usize, const N: usize> {
    float: Float,
    weights: [*const u8; R],
    x: [*const f32; N],
    far: bool,
    columns: usize,
    out: *mut f32,
}

impl<const R: usize, const N: usize> Operation for Dense<R, N> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        match self.float {
            Float::F32 => self.product::<S, F32>(),
            Float::F16 => self.product::<S, F16>(),
            Float::Bf16 => self.product::<S, Bf16>(),
        }
    }
}

/// Loads sixteen values.
trait Element {
    const BYTES: usize;

    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats;

    /// The first `count` values, the others 0.
    #[inline(always)]
    unsafe fn load_part<S: Simd>(from: *const u8, count: usize) -> S::Floats {
        let mut bytes = [0; 4 * LANES];
        std::ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), count * Self::BYTES);
        Self::load::<S>(bytes.as_ptr())
    }
}

struct F32;
struct F16;
struct Bf16;

impl Element for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        S::load(from.cast())
    }
}

impl Element for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        S::load_f16(from.cast())
    }
}

impl Element for Bf16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(from: *const u8) -> S::Floats {
        S::load_bf16(from.cast())
    }
}

impl<const R: usize, const N: usize> Dense<R, N> {
    #[inline(always)]
    unsafe fn product<S: Simd, E: Element>(&self) {
        let mut sums = [[S::zero(); N]; R];
        let whole = self.columns - self.columns % LANES;
        // The next rows follow. They are fetched in the order in which they lie, as memory likes it, although these rows are
        // read side by side.
        let mut next = self.weights[0].wrapping_add(R * self.columns * E::BYTES);
        for at in (0..whole).step_by(LANES) {
            let mut x = [S::zero(); N];
            for n in 0..N {
                x[n] = S::load(self.x[n].add(at));
            }
            if S::ISA == Isa::Avx2 {
                // There, from all rows at a time.
                if at * E::BYTES % 64 == 0 {
                    for r in 0..R {
                        let ahead = (r + R) * self.columns * E::BYTES;
                        S::prefetch(self.weights[0].wrapping_add(ahead + at * E::BYTES));
                    }
                }
            } else {
                for _ in 0..R * LANES * E::BYTES / 64 {
                    S::prefetch_to(self.far, next);
                    next = next.wrapping_add(64);
                }
            }
            for r in 0..R {
                let weight = E::load::<S>(self.weights[r].add(at * E::BYTES));
                for n in 0..N {
                    sums[r][n] = S::multiply_add(weight, x[n], sums[r][n]);
                }
            }
        }
        let left = self.columns - whole;
        if left > 0 {
            for r in 0..R {
                let weight = E::load_part::<S>(self.weights[r].add(whole * E::BYTES), left);
                for n in 0..N {
                    let x = S::load_part(self.x[n].add(whole), left);
                    sums[r][n] = S::multiply_add(weight, x, sums[r][n]);
                }
            }
        }
        for r in 0..R {
            for n in 0..N {
                *self.out.add(n * BLOCK + r) = S::sum(sums[r][n]);
            }
        }
    }
}

/// Widens a row of floats.
///
/// # Safety
/// `bytes` are as many values as `out` has.
pub(super) struct Widen<'a> {
    pub float: Float,
    pub bytes: &'a [u8],
    pub out: &'a mut [f32],
}

impl Operation for Widen<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        match self.float {
            Float::F32 => widen::<S, F32>(self.bytes, self.out),
            Float::F16 => widen::<S, F16>(self.bytes, self.out),
            Float::Bf16 => widen::<S, Bf16>(self.bytes, self.out),
        }
    }
}

#[inline(always)]
unsafe fn widen<S: Simd, E: Element>(bytes: &[u8], out: &mut [f32]) {
    let (from, to) = (bytes.as_ptr(), out.as_mut_ptr());
    for at in (0..out.len()).step_by(LANES) {
        let count = (out.len() - at).min(LANES);
        if count == LANES {
            S::store(E::load::<S>(from.add(at * E::BYTES)), to.add(at));
        } else {
            let value = E::load_part::<S>(from.add(at * E::BYTES), count);
            S::store_part(value, to.add(at), count);
        }
    }
}
