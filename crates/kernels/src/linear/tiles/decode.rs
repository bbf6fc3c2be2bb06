//! Codes as tiles have them.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::marker::PhantomData;

use stablemate_encodings::{LANES, UNIT};

use crate::linear::decode::Codes;
use crate::linear::micro::TILES;
use crate::simd::{Operation, Simd};

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
pub(super) struct DecodeBytes<K> {
    pub codes: [*const i32; TILES],
    pub units: usize,
    /// Of a tile: see [`place`].
    pub shift: u32,
    /// In every byte.
    pub centre: i32,
    pub out: *mut i32,
    pub kind: PhantomData<K>,
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
pub(super) struct DecodeFloats<K> {
    pub codes: [*const i32; TILES],
    pub units: usize,
    pub shift: u32,
    /// What codes stand for, as bf16.
    pub table: [u16; 64],
    pub out: *mut i32,
    pub kind: PhantomData<K>,
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
