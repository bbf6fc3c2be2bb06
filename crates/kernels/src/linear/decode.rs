//! From packed words to codes, in registers. See `stablemate_encodings` for the layout.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::{Codebook, LANES, Packing};

use crate::simd::Simd;

/// Width of the plane of the lowest bits of codes of `bits` bits. Of the next plane: what is left.
pub(super) const fn low_plane(bits: usize) -> usize {
    match bits {
        2 | 3 => 2,
        8 => 8,
        _ => 4,
    }
}

/// How far apart the two pairs are that bytes are made of: see [`Codes::quad`].
pub(super) const fn byte_stride(bits: usize) -> usize {
    8 / low_plane(bits)
}

/// `a` shifted so that bit `from` becomes bit `to`, and masked. All but `a` are known to the compiler.
#[inline(always)]
unsafe fn field<S: Simd>(a: S::Integers, from: usize, to: usize, mask: u32) -> S::Integers {
    let moved = match from.checked_sub(to) {
        Some(0) => a,
        Some(count) => S::shift_right_by(a, count as u32),
        None => S::shift_left_by(a, (to - from) as u32),
    };
    S::and(moved, S::splat_integer((mask << to) as i32))
}

/// A pair's part in a plane of `width` bits, which starts at word `first` of the unit; moved up to bit `to`.
#[inline(always)]
unsafe fn plane<S: Simd>(
    unit: *const i32,
    first: usize,
    width: usize,
    pair: usize,
    to: usize,
) -> S::Integers {
    let pairs = 16 / width;
    let word = S::load_integers(unit.add((first + pair / pairs) * LANES));
    field::<S>(word, width * (pair % pairs), to, ((1 << width) - 1) * 0x0001_0001)
}

/// What codes stand for, as integers without a sign.
pub(super) trait Codes: 'static {
    /// Bits of a code.
    const BITS: usize;

    /// What the largest one stands for.
    const LARGEST: usize;

    /// Pair `pair` (of 16) of the unit at `unit`: what codes `2 · pair` and `2 · pair + 1` stand for in the halves of the
    /// lanes.
    unsafe fn pair<S: Simd>(unit: *const i32, pair: usize) -> S::Integers;

    /// How many integers there are, a power of two: those of [`Self::loose_pair`] count modulo this.
    const LEVELS: usize;

    /// The same with anything in bits above those of [`Self::LEVELS`].
    #[inline(always)]
    unsafe fn loose_pair<S: Simd>(unit: *const i32, pair: usize) -> S::Integers {
        Self::pair::<S>(unit, pair)
    }

    /// Four integers as bytes: pairs `a` and `b = a + stride`, in the order a, b, a, b (even codes, then odd ones), where
    /// [`quad_pairs`] tells `a`.
    unsafe fn quad<S: Simd>(unit: *const i32, quad: usize) -> S::Integers;
}

/// The codes themselves.
pub(super) struct Plain<const BITS: usize>;

/// The elements of MXFP4, doubled and moved up by [`E2m1::CENTRE`].
pub(super) struct E2m1;

impl E2m1 {
    /// What zero stands for.
    pub(super) const CENTRE: i32 = 12;

    const LEVELS: [u8; 16] = {
        let mut levels = [0; 16];
        let mut code = 0;
        while code < 16 {
            levels[code] = (2.0 * Codebook::Mxfp4.values()[code] + Self::CENTRE as f32) as u8;
            code += 1;
        }
        levels
    };
}

impl Codes for E2m1 {
    const BITS: usize = 4;
    const LARGEST: usize = 24;
    const LEVELS: usize = 32;

    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const i32, pair: usize) -> S::Integers {
        // Four bytes are those of two pairs: the compiler looks them up once.
        let word = S::load_integers(unit.add(pair / 4 * LANES));
        let levels = S::look_up_bytes(&Self::LEVELS, word, 4 * (pair % 2) as u32);
        field::<S>(levels, 8 * (pair % 4 / 2), 0, 0x00FF_00FF)
    }

    #[inline(always)]
    unsafe fn quad<S: Simd>(unit: *const i32, quad: usize) -> S::Integers {
        let word = S::load_integers(unit.add(quad / 2 * LANES));
        S::look_up_bytes(&Self::LEVELS, word, 4 * (quad % 2) as u32)
    }
}

impl<const BITS: usize> Codes for Plain<BITS> {
    const BITS: usize = BITS;
    const LARGEST: usize = (1 << BITS) - 1;
    const LEVELS: usize = 1 << BITS;

    #[inline(always)]
    unsafe fn loose_pair<S: Simd>(unit: *const i32, pair: usize) -> S::Integers {
        if low_plane(BITS) != BITS {
            return Self::pair::<S>(unit, pair);
        }
        let pairs = 16 / BITS;
        let word = S::load_integers(unit.add(pair / pairs * LANES));
        S::shift_right_by(word, (BITS * (pair % pairs)) as u32)
    }

    #[inline(always)]
    unsafe fn pair<S: Simd>(unit: *const i32, pair: usize) -> S::Integers {
        let low = low_plane(BITS);
        let codes = plane::<S>(unit, 0, low, pair, 0);
        if BITS == low {
            return codes;
        }
        S::or(codes, plane::<S>(unit, low, BITS - low, pair, low))
    }

    /// In the plane of the lowest bits these are bytes of a word already.
    #[inline(always)]
    unsafe fn quad<S: Simd>(unit: *const i32, quad: usize) -> S::Integers {
        let low = low_plane(BITS);
        let stride = byte_stride(BITS);
        let word = S::load_integers(unit.add(quad / stride * LANES));
        let mask = (((1u64 << low) - 1) * 0x0101_0101) as u32;
        let codes = field::<S>(word, low * (quad % stride), 0, mask);
        if BITS == low {
            return codes;
        }
        let width = BITS - low;
        let pairs = 16 / width;
        let (a, b) = quad_pairs(stride, quad);
        let word = S::load_integers(unit.add((low + a / pairs) * LANES));
        let mask = ((1 << width) - 1) * 0x0001_0001;
        let first = field::<S>(word, width * (a % pairs), low, mask);
        let second = field::<S>(word, width * (b % pairs), low + 8, mask);
        S::or(codes, S::or(first, second))
    }
}

/// Something that is compiled for each kind of codes.
pub(super) trait WithCodes {
    type Output;

    /// # Safety
    /// What the implementation asks for.
    unsafe fn run<K: Codes>(self) -> Self::Output;
}

/// Runs `work` for the codes of a packing whose codes are integers.
///
/// # Safety
/// As [`WithCodes::run`].
pub(super) unsafe fn with_codes<W: WithCodes>(packing: Packing, work: W) -> W::Output {
    if packing.codebook() == Some(Codebook::Mxfp4) {
        return work.run::<E2m1>();
    }
    match packing.bits().count() {
        2 => work.run::<Plain<2>>(),
        3 => work.run::<Plain<3>>(),
        4 => work.run::<Plain<4>>(),
        5 => work.run::<Plain<5>>(),
        6 => work.run::<Plain<6>>(),
        _ => work.run::<Plain<8>>(),
    }
}

/// The pairs of a quad (of 8) of a unit.
pub(super) const fn quad_pairs(stride: usize, quad: usize) -> (usize, usize) {
    let a = 2 * stride * (quad / stride) + quad % stride;
    (a, a + stride)
}
