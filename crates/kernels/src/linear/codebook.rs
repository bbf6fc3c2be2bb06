//! The inner product of codes that number the values of a table, in f32.
//!
//! A group's products are added up in a few sums, code after code in turn; then the sums, then the groups, all in
//! an order that does not depend on what else is computed. So a token's result is the same bits in any block.

#![expect(clippy::needless_range_loop, reason = "indices of several arrays, which are unrolled")]
#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::LANES;

use super::micro::{BLOCK, Operands, TILES};
use crate::isa::Isa;
use crate::simd::{Operation, Simd};

/// Codes of a word.
const CODES: usize = 8;

/// The product of a block of rows and `TOKENS` tokens.
///
/// # Safety
/// As [`super::micro::Micro`], with codes of 4 bits; x is f32, `[columns, tokens]`. There are no starts, and no scales and
/// sums of x.
pub(super) struct TableProduct<const TOKENS: usize> {
    pub operands: Operands,
    pub table: &'static [f32; 16],
}

impl<const TOKENS: usize> Operation for TableProduct<TOKENS> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for tile in 0..TILES {
            match (S::ISA, TOKENS) {
                (Isa::Avx512, 1) => self.tokens::<S, 1, 4>(tile, 0),
                (Isa::Avx512, 2) => self.tokens::<S, 2, 4>(tile, 0),
                (Isa::Avx512, _) => {
                    for first in (0..TOKENS).step_by(4) {
                        self.tokens::<S, 4, 4>(tile, first);
                    }
                }
                // Fewer or shorter registers.
                (_, 1) => self.tokens::<S, 1, 2>(tile, 0),
                _ => {
                    for first in (0..TOKENS).step_by(2) {
                        self.tokens::<S, 2, 2>(tile, first);
                    }
                }
            }
        }
    }
}

impl<const TOKENS: usize> TableProduct<TOKENS> {
    /// A tile by `N` tokens from the `first` on, with `C` sums.
    #[inline(always)]
    unsafe fn tokens<S: Simd, const N: usize, const C: usize>(&self, tile: usize, first: usize) {
        let operands = &self.operands;
        let table = S::table(self.table);
        let mut codes = operands.codes[tile];
        let mut x = operands.x.cast::<f32>().add(first);
        let mut next = operands.next.wrapping_add(tile * operands.tile_bytes);
        // The tile is read once; after that it is in the cache.
        let lines = if first == 0 { operands.next_lines } else { 0 };
        let mut totals = [S::zero(); N];
        for group in 0..operands.groups {
            let mut sums = [[S::zero(); N]; C];
            for word in 0..operands.group / CODES {
                // A unit has four words.
                if word % 4 == 0 {
                    for _ in 0..lines {
                        S::prefetch_to(operands.way.far(), next);
                        next = next.wrapping_add(64);
                    }
                }
                let word = S::load_integers(codes);
                for place in 0..CODES {
                    // Neighbours are in the two halves of a lane.
                    let value = S::look_up(table, word, (place / 2 * 4 + place % 2 * 16) as u32);
                    for n in 0..N {
                        let x = S::splat(x.add(place * TOKENS + n).read());
                        let sum = &mut sums[place % C][n];
                        *sum = S::multiply_add(value, x, *sum);
                    }
                }
                codes = codes.add(LANES);
                x = x.add(CODES * TOKENS);
            }
            let scale = S::load(operands.scales.add((group * TILES + tile) * LANES));
            for n in 0..N {
                let mut sum = sums[0][n];
                for other in sums.iter().skip(1) {
                    sum = S::add(sum, other[n]);
                }
                totals[n] = S::multiply_add(sum, scale, totals[n]);
            }
        }
        for n in 0..N {
            S::store(totals[n], operands.out.add((first + n) * BLOCK + tile * LANES));
        }
    }
}
