//! The inner product: some rows of packed codes by some tokens.
//!
//! Both are integers, so that sums within a group are exact; groups are added up in f32 in their order. So a
//! token's result does not depend on what else is computed beside it.

#![expect(clippy::needless_range_loop, reason = "indices of several arrays, which are unrolled")]
#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::marker::PhantomData;

use stablemate_encodings::{LANES, UNIT};

use super::decode::Codes;
use crate::isa::Isa;
use crate::reading::Way;
use crate::simd::{Operation, Simd};

/// Tiles of a block of rows.
pub(super) const TILES: usize = 2;

/// Forms of activations, as [`super::form::Form::words`] tells: pairs of i16,
pub(super) const PAIRS: u8 = 0;
/// bytes,
pub(super) const BYTES: u8 = 1;
/// and the lower bytes of i16 beside the upper ones. There are two sums for each at least.
pub(super) const SPLIT: u8 = 2;

/// Rows of a block.
pub(super) const BLOCK: usize = TILES * LANES;

/// Operands of [`Micro`]. `tokens` is its `TOKENS`.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// Codes of the tiles; the same one twice where there is only one.
    pub codes: [*const i32; TILES],
    /// What will be read next, prefetched on the way: so many cache lines per unit and tile.
    pub next: *const u8,
    pub next_lines: usize,
    /// How it is done, and in which order tiles are read for a single token.
    pub way: Way,
    /// From one tile to the next.
    pub tile_bytes: usize,
    /// `[pairs or quads, tokens]`; split, `[quads, 2, tokens]`.
    pub x: *const i32,
    /// What the integer sums of a group start with, `[groups + 1, tokens]`.
    pub starts: *const i32,
    /// Scales of x, `[groups, tokens]`.
    pub x_scales: *const f32,
    /// Sums of x, `[groups, tokens]`.
    pub x_sums: *const f32,
    /// `[groups, TILES, 16]`.
    pub scales: *const f32,
    /// The same; null if there are no biases.
    pub biases: *const f32,
    /// Columns of a group.
    pub group: usize,
    pub groups: usize,
    /// `[tokens, BLOCK]`, overwritten.
    pub out: *mut f32,
}

/// The product of a block of rows and `TOKENS` tokens.
///
/// # Safety
/// The pointers of the operands are valid for the shapes they have, codes for `groups · group` columns, x too (filled up
/// to a whole unit).
pub(super) struct Micro<K, const FORM: u8, const TOKENS: usize>(Operands, PhantomData<K>);

impl<K, const FORM: u8, const TOKENS: usize> Micro<K, FORM, TOKENS> {
    pub(super) fn new(operands: Operands) -> Self {
        Self(operands, PhantomData)
    }
}

impl<K: Codes, const FORM: u8, const TOKENS: usize> Operation for Micro<K, FORM, TOKENS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        if S::ISA == Isa::Avx512 {
            if TOKENS == 1 && self.0.way == Way::SideBySide {
                product::<S, K, FORM, TILES, TOKENS, 4>(&self.0, 0);
            } else if TOKENS == 1 {
                for tile in 0..TILES {
                    product::<S, K, FORM, 1, TOKENS, 4>(&self.0, tile);
                }
            } else if TOKENS == 2 {
                product::<S, K, FORM, TILES, TOKENS, 2>(&self.0, 0);
            } else {
                product::<S, K, FORM, TILES, TOKENS, 1>(&self.0, 0);
            }
        } else if S::ISA == Isa::Avx2
            && TOKENS == 1
            && FORM != SPLIT
            && self.0.way == Way::SideBySide
        {
            product::<S, K, FORM, TILES, TOKENS, 1>(&self.0, 0);
        } else if S::ISA == Isa::Avx2 && TOKENS <= 4 && FORM != SPLIT
            || S::ISA == Isa::Portable && matches!(TOKENS, 1 | 4) && FORM == PAIRS
        {
            // Fewer or shorter registers. (No other blocks are cut; they would only take long to compile.)
            for tile in 0..TILES {
                product::<S, K, FORM, 1, TOKENS, 1>(&self.0, tile);
            }
        }
    }
}

/// `C` sums of each row and token, so that additions of few tokens do not wait for each other. Integers add up to
/// the same in any order.
type Sums<S, const R: usize, const N: usize, const C: usize> = [[[<S as Simd>::Integers; N]; R]; C];
type Totals<S, const R: usize, const N: usize> = [[<S as Simd>::Floats; N]; R];

/// `R` tiles from the `first` on.
#[inline(always)]
unsafe fn product<
    S: Simd,
    K: Codes,
    const FORM: u8,
    const R: usize,
    const N: usize,
    const C: usize,
>(
    operands: &Operands,
    first: usize,
) {
    let mut totals: Totals<S, R, N> = [[S::zero(); N]; R];
    let mut sums = start::<S, R, N, C>(operands, 0);
    let words = K::BITS * LANES;
    let units = (operands.groups * operands.group).div_ceil(UNIT);
    let units_of_group = operands.group.div_ceil(UNIT);
    let halves = operands.group < UNIT;
    let (mut group, mut left) = (0, units_of_group);
    let mut x = operands.x;
    let mut next = operands.next.wrapping_add(first * operands.tile_bytes);
    let mut place = 0;
    for _ in 0..units {
        let codes: [_; R] = std::array::from_fn(|r| operands.codes[first + r].wrapping_add(place));
        if operands.way.far() {
            for _ in 0..operands.next_lines {
                for r in 0..R {
                    S::prefetch_far(next.wrapping_add(r * operands.tile_bytes));
                }
                next = next.wrapping_add(64);
            }
        } else {
            for _ in 0..R * operands.next_lines {
                S::prefetch(next);
                next = next.wrapping_add(64);
            }
        }
        x = half::<S, K, FORM, R, N, C, 0>(codes, x, &mut sums);
        if halves {
            finish::<S, FORM, R, N, C>(operands, first, group, &sums, &mut totals);
            group += 1;
            if group == operands.groups {
                break;
            }
            sums = start::<S, R, N, C>(operands, group);
        }
        x = half::<S, K, FORM, R, N, C, 1>(codes, x, &mut sums);
        left -= 1;
        if left == 0 {
            finish::<S, FORM, R, N, C>(operands, first, group, &sums, &mut totals);
            group += 1;
            left = units_of_group;
            sums = start::<S, R, N, C>(operands, group);
        }
        place += words;
    }
    for r in 0..R {
        for n in 0..N {
            S::store(totals[r][n], operands.out.add(n * BLOCK + (first + r) * LANES));
        }
    }
}

#[inline(always)]
unsafe fn start<S: Simd, const R: usize, const N: usize, const C: usize>(
    operands: &Operands,
    group: usize,
) -> Sums<S, R, N, C> {
    let mut sums = [[[S::splat_integer(0); N]; R]; C];
    for n in 0..N {
        let start = S::splat_integer(*operands.starts.add(group * N + n));
        for r in 0..R {
            sums[0][r][n] = start;
        }
    }
    sums
}

/// Half a unit: eight pairs, or four quads.
#[inline(always)]
unsafe fn half<
    S: Simd,
    K: Codes,
    const FORM: u8,
    const R: usize,
    const N: usize,
    const C: usize,
    const HALF: usize,
>(
    codes: [*const i32; R],
    x: *const i32,
    sums: &mut Sums<S, R, N, C>,
) -> *const i32 {
    if FORM == SPLIT {
        split_quads::<S, K, R, N, C>(codes, x, sums, 4 * HALF);
        split_quads::<S, K, R, N, C>(codes, x.add(2 * N), sums, 4 * HALF + 1);
        split_quads::<S, K, R, N, C>(codes, x.add(4 * N), sums, 4 * HALF + 2);
        split_quads::<S, K, R, N, C>(codes, x.add(6 * N), sums, 4 * HALF + 3);
        return x.add(8 * N);
    }
    if FORM == BYTES && S::ISA == Isa::Avx2 {
        narrow_quads::<S, K, R, N, C>(codes, x, sums, 4 * HALF);
        return x.add(4 * N);
    }
    if FORM == BYTES {
        quads::<S, K, R, N, C>(codes, x, sums, 4 * HALF);
        quads::<S, K, R, N, C>(codes, x.add(N), sums, 4 * HALF + 1);
        quads::<S, K, R, N, C>(codes, x.add(2 * N), sums, 4 * HALF + 2);
        quads::<S, K, R, N, C>(codes, x.add(3 * N), sums, 4 * HALF + 3);
        return x.add(4 * N);
    }
    pairs::<S, K, R, N, C>(codes, x, sums, 8 * HALF);
    pairs::<S, K, R, N, C>(codes, x.add(N), sums, 8 * HALF + 1);
    pairs::<S, K, R, N, C>(codes, x.add(2 * N), sums, 8 * HALF + 2);
    pairs::<S, K, R, N, C>(codes, x.add(3 * N), sums, 8 * HALF + 3);
    pairs::<S, K, R, N, C>(codes, x.add(4 * N), sums, 8 * HALF + 4);
    pairs::<S, K, R, N, C>(codes, x.add(5 * N), sums, 8 * HALF + 5);
    pairs::<S, K, R, N, C>(codes, x.add(6 * N), sums, 8 * HALF + 6);
    pairs::<S, K, R, N, C>(codes, x.add(7 * N), sums, 8 * HALF + 7);
    x.add(8 * N)
}

#[inline(always)]
unsafe fn pairs<S: Simd, K: Codes, const R: usize, const N: usize, const C: usize>(
    codes: [*const i32; R],
    x: *const i32,
    sums: &mut Sums<S, R, N, C>,
    pair: usize,
) {
    let mut decoded = [S::splat_integer(0); R];
    for r in 0..R {
        decoded[r] = K::pair::<S>(codes[r], pair);
    }
    for n in 0..N {
        let x = S::splat_integer(*x.add(n));
        for r in 0..R {
            let sum = &mut sums[pair % C][r][n];
            *sum = S::dot_pairs(*sum, decoded[r], x);
        }
    }
}

/// A quad of each tile.
#[inline(always)]
unsafe fn decode<S: Simd, K: Codes, const R: usize>(
    codes: [*const i32; R],
    quad: usize,
) -> [S::Integers; R] {
    let mut decoded = [S::splat_integer(0); R];
    for r in 0..R {
        decoded[r] = K::quad::<S>(codes[r], quad);
    }
    decoded
}

#[inline(always)]
unsafe fn quads<S: Simd, K: Codes, const R: usize, const N: usize, const C: usize>(
    codes: [*const i32; R],
    x: *const i32,
    sums: &mut Sums<S, R, N, C>,
    quad: usize,
) {
    let decoded = decode::<S, K, R>(codes, quad);
    for n in 0..N {
        let x = S::splat_integer(*x.add(n));
        for r in 0..R {
            let sum = &mut sums[quad % C][r][n];
            *sum = S::dot_bytes(*sum, decoded[r], x);
        }
    }
}

/// Four quads, whose sums are kept in 16 bits as long as they fit.
#[inline(always)]
unsafe fn narrow_quads<S: Simd, K: Codes, const R: usize, const N: usize, const C: usize>(
    codes: [*const i32; R],
    x: *const i32,
    sums: &mut Sums<S, R, N, C>,
    first: usize,
) {
    let mut halves = [[S::splat_integer(0); N]; R];
    narrow_quad::<S, K, R, N>(codes, x, &mut halves, first);
    narrow_quad::<S, K, R, N>(codes, x.add(N), &mut halves, first + 1);
    // Two products each, of activations of at most 127.
    if 4 * 2 * 127 * K::LARGEST > i16::MAX as usize {
        add_halves::<S, R, N>(&mut sums[0], &halves);
        halves = [[S::splat_integer(0); N]; R];
    }
    narrow_quad::<S, K, R, N>(codes, x.add(2 * N), &mut halves, first + 2);
    narrow_quad::<S, K, R, N>(codes, x.add(3 * N), &mut halves, first + 3);
    add_halves::<S, R, N>(&mut sums[0], &halves);
}

#[inline(always)]
unsafe fn narrow_quad<S: Simd, K: Codes, const R: usize, const N: usize>(
    codes: [*const i32; R],
    x: *const i32,
    halves: &mut [[S::Integers; N]; R],
    quad: usize,
) {
    let decoded = decode::<S, K, R>(codes, quad);
    for n in 0..N {
        let x = S::splat_integer(*x.add(n));
        for r in 0..R {
            halves[r][n] = S::dot_bytes_in_halves(halves[r][n], decoded[r], x);
        }
    }
}

#[inline(always)]
unsafe fn add_halves<S: Simd, const R: usize, const N: usize>(
    sums: &mut [[S::Integers; N]; R],
    halves: &[[S::Integers; N]; R],
) {
    for r in 0..R {
        for n in 0..N {
            sums[r][n] = S::add_halves(sums[r][n], halves[r][n]);
        }
    }
}

/// The even ones of the sums are those of the lower bytes.
#[inline(always)]
unsafe fn split_quads<S: Simd, K: Codes, const R: usize, const N: usize, const C: usize>(
    codes: [*const i32; R],
    x: *const i32,
    sums: &mut Sums<S, R, N, C>,
    quad: usize,
) {
    let decoded = decode::<S, K, R>(codes, quad);
    let first = 2 * quad % C;
    for n in 0..N {
        let lower = S::splat_integer(*x.add(n));
        let upper = S::splat_integer(*x.add(N + n));
        for r in 0..R {
            let sum = &mut sums[first][r][n];
            *sum = S::dot_bytes(*sum, lower, decoded[r]);
            let sum = &mut sums[first + 1][r][n];
            *sum = S::dot_bytes(*sum, decoded[r], upper);
        }
    }
}

/// Scales a group's sums and adds them to the totals.
#[inline(always)]
unsafe fn finish<S: Simd, const FORM: u8, const R: usize, const N: usize, const C: usize>(
    operands: &Operands,
    first: usize,
    group: usize,
    sums: &Sums<S, R, N, C>,
    totals: &mut Totals<S, R, N>,
) {
    let rows = (group * TILES + first) * LANES;
    for r in 0..R {
        let scale = S::load(operands.scales.add(rows + r * LANES));
        for n in 0..N {
            let factor = S::multiply(scale, S::splat(*operands.x_scales.add(group * N + n)));
            let step = if FORM == SPLIT { 2 } else { 1 };
            let mut sum = sums[0][r][n];
            for other in sums.iter().skip(step).step_by(step) {
                sum = S::add_integers(sum, other[r][n]);
            }
            if FORM == SPLIT {
                let mut upper = sums[1][r][n];
                for other in sums.iter().skip(3).step_by(2) {
                    upper = S::add_integers(upper, other[r][n]);
                }
                sum = S::add_integers(sum, S::shift_left::<8>(upper));
            }
            totals[r][n] = S::multiply_add(S::to_floats(sum), factor, totals[r][n]);
        }
    }
    if !operands.biases.is_null() {
        for r in 0..R {
            let bias = S::load(operands.biases.add(rows + r * LANES));
            for n in 0..N {
                let sum = S::splat(*operands.x_sums.add(group * N + n));
                totals[r][n] = S::multiply_add(bias, sum, totals[r][n]);
            }
        }
    }
}
