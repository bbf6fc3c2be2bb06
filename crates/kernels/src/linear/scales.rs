//! Scales of sixteen rows at once, from any of their packed forms to f32.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::{Codebook, Float, LANES, Nested, Packing, Scales};

use super::micro::TILES;
use crate::simd::{Operation, Simd};

/// Decodes the scales of one tile, and its biases if the packing has any. Those of MXFP4 are halved, because its elements
/// are multiplied doubled.
///
/// # Safety
/// `words` are the tile's words of scales, for `columns`. `scales` and `biases` are `[groups, TILES, 16]` from this tile's
/// place in the first group on; biases are written only if the packing has them.
pub(super) struct DecodeScales {
    pub packing: Packing,
    pub columns: usize,
    pub words: *const i32,
    pub scales: *mut f32,
    pub biases: *mut f32,
}

/// Distance of groups.
const STEP: usize = TILES * LANES;

impl Operation for DecodeScales {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        match self.packing.scales() {
            Scales::Centred(float) | Scales::Codebook(Codebook::Nf4(float)) => {
                self.centred::<S>(float);
            }
            Scales::Codebook(Codebook::Mxfp4) => self.exponents::<S>(),
            Scales::Affine(float) => self.affine::<S>(float),
            Scales::Nested(Nested::MinimumsFour) => self.minimums_four::<S>(),
            Scales::Nested(Nested::MinimumsSix) => self.minimums_six::<S>(),
            Scales::Nested(Nested::CentredSix) => self.centred_six::<S>(),
            Scales::Nested(Nested::CentredEight) => self.centred_eight::<S>(),
        }
    }
}

#[inline(always)]
unsafe fn low<S: Simd>(float: Float, word: S::Integers) -> S::Floats {
    match float {
        Float::F32 => S::as_floats(word),
        Float::F16 => S::low_f16(word),
        Float::Bf16 => S::as_floats(S::shift_left::<16>(word)),
    }
}

#[inline(always)]
unsafe fn high<S: Simd>(float: Float, word: S::Integers) -> S::Floats {
    match float {
        Float::F32 => S::as_floats(word),
        Float::F16 => S::low_f16(S::shift_right::<16>(word)),
        Float::Bf16 => S::as_floats(S::and(word, S::splat_integer(0xFFFF_0000_u32 as i32))),
    }
}

/// `count` bits from `from` on.
#[inline(always)]
unsafe fn bits<S: Simd>(word: S::Integers, from: usize, count: usize) -> S::Integers {
    let mask = S::splat_integer((1 << count) - 1);
    S::and(S::shift_right_by(word, from as u32), mask)
}

/// Integer `n` of the sixteen six-bit ones in three words.
#[inline(always)]
unsafe fn six<S: Simd>(words: &[S::Integers; 3], n: usize) -> S::Integers {
    if n < 15 {
        return bits::<S>(words[n / 5], 6 * (n % 5), 6);
    }
    let upper = S::shift_left::<4>(S::shift_right::<30>(words[2]));
    let middle = S::shift_left::<2>(S::shift_right::<30>(words[1]));
    S::or(S::or(S::shift_right::<30>(words[0]), middle), upper)
}

impl DecodeScales {
    #[inline(always)]
    unsafe fn word<S: Simd>(&self, n: usize) -> S::Integers {
        S::load_integers(self.words.add(n * LANES))
    }

    #[inline(always)]
    fn groups(&self) -> usize {
        self.columns / self.packing.group()
    }

    #[inline(always)]
    fn blocks(&self) -> usize {
        self.columns / Nested::SUPER_BLOCK
    }

    #[inline(always)]
    unsafe fn put<S: Simd>(&self, group: usize, scale: S::Floats) {
        S::store(scale, self.scales.add(group * STEP));
    }

    #[inline(always)]
    unsafe fn put_bias<S: Simd>(&self, group: usize, bias: S::Floats) {
        S::store(bias, self.biases.add(group * STEP));
    }

    #[inline(always)]
    unsafe fn centred<S: Simd>(&self, float: Float) {
        let groups = self.groups();
        if float == Float::F32 {
            for group in 0..groups {
                self.put::<S>(group, S::as_floats(self.word::<S>(group)));
            }
            return;
        }
        for two in 0..groups / 2 {
            let word = self.word::<S>(two);
            self.put::<S>(2 * two, low::<S>(float, word));
            self.put::<S>(2 * two + 1, high::<S>(float, word));
        }
        if groups % 2 == 1 {
            self.put::<S>(groups - 1, low::<S>(float, self.word::<S>(groups / 2)));
        }
    }

    /// Bytes `e` as `2^(e − 128)`.
    #[inline(always)]
    unsafe fn exponents<S: Simd>(&self) {
        let half = S::splat(0.5);
        let smallest = S::splat(Codebook::exponent(0));
        for group in 0..self.groups() {
            // The byte becomes the exponent of a float.
            let word = self.word::<S>(group / 4);
            let moved = match group % 4 {
                0 => S::shift_left::<23>(word),
                1 => S::shift_left::<15>(word),
                2 => S::shift_left::<7>(word),
                _ => S::shift_right::<1>(word),
            };
            let scale = S::as_floats(S::and(moved, S::splat_integer(0xFF << 23)));
            self.put::<S>(group, S::multiply(half, S::maximum(scale, smallest)));
        }
    }

    #[inline(always)]
    unsafe fn affine<S: Simd>(&self, float: Float) {
        for group in 0..self.groups() {
            let (first, second) = match float {
                Float::F32 => (self.word::<S>(2 * group), self.word::<S>(2 * group + 1)),
                _ => (self.word::<S>(group), self.word::<S>(group)),
            };
            self.put::<S>(group, low::<S>(float, first));
            self.put_bias::<S>(group, high::<S>(float, second));
        }
    }

    /// `factor · integer`, negated for biases.
    #[inline(always)]
    unsafe fn minimum<S: Simd>(&self, group: usize, factor: S::Floats, minimum: S::Integers) {
        let product = S::multiply(factor, S::to_floats(minimum));
        self.put_bias::<S>(group, S::subtract(S::splat(-0.0), product));
    }

    #[inline(always)]
    unsafe fn scale<S: Simd>(&self, group: usize, factor: S::Floats, scale: S::Integers) {
        self.put::<S>(group, S::multiply(factor, S::to_floats(scale)));
    }

    #[inline(always)]
    unsafe fn minimums_four<S: Simd>(&self) {
        for block in 0..self.blocks() {
            let factors = self.word::<S>(5 * block);
            let d = low::<S>(Float::F16, factors);
            let m = high::<S>(Float::F16, factors);
            for n in 0..16 {
                let word = self.word::<S>(5 * block + 1 + n / 4);
                self.scale::<S>(16 * block + n, d, bits::<S>(word, 8 * (n % 4), 4));
                self.minimum::<S>(16 * block + n, m, bits::<S>(word, 8 * (n % 4) + 4, 4));
            }
        }
    }

    #[inline(always)]
    unsafe fn minimums_six<S: Simd>(&self) {
        for block in 0..self.blocks() {
            let factors = self.word::<S>(4 * block);
            let d = low::<S>(Float::F16, factors);
            let m = high::<S>(Float::F16, factors);
            let words = [1, 2, 3].map(|n| 4 * block + n);
            let words =
                [self.word::<S>(words[0]), self.word::<S>(words[1]), self.word::<S>(words[2])];
            for n in 0..8 {
                self.scale::<S>(8 * block + n, d, six::<S>(&words, n));
                self.minimum::<S>(8 * block + n, m, six::<S>(&words, n + 8));
            }
        }
    }

    /// `d` of a super-block, where they stand behind `before` words.
    #[inline(always)]
    unsafe fn factor<S: Simd>(&self, before: usize, block: usize) -> S::Floats {
        let word = self.word::<S>(before + block / 2);
        if block.is_multiple_of(2) {
            low::<S>(Float::F16, word)
        } else {
            high::<S>(Float::F16, word)
        }
    }

    #[inline(always)]
    unsafe fn centred_six<S: Simd>(&self) {
        let offset = S::splat_integer(-32);
        for block in 0..self.blocks() {
            let d = self.factor::<S>(3 * self.blocks(), block);
            let words = [
                self.word::<S>(3 * block),
                self.word::<S>(3 * block + 1),
                self.word::<S>(3 * block + 2),
            ];
            for n in 0..16 {
                let scale = S::add_integers(six::<S>(&words, n), offset);
                self.scale::<S>(16 * block + n, d, scale);
            }
        }
    }

    #[inline(always)]
    unsafe fn centred_eight<S: Simd>(&self) {
        let sign = S::splat_integer(128);
        let offset = S::splat_integer(-128);
        for block in 0..self.blocks() {
            let d = self.factor::<S>(4 * self.blocks(), block);
            for n in 0..16 {
                // Flipping the sign bit adds 128.
                let byte = bits::<S>(self.word::<S>(4 * block + n / 4), 8 * (n % 4), 8);
                let carried = S::and(S::add_integers(byte, sign), S::splat_integer(255));
                self.scale::<S>(16 * block + n, d, S::add_integers(carried, offset));
            }
        }
    }
}
