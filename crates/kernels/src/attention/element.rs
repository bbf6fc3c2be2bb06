//! Rows of the cache as vectors.

use crate::cache::CacheElement;
use crate::simd::Simd;

/// How rows of sixteen values and more lie in memory. Scales are not applied.
pub(super) trait Element: 'static {
    const BYTES: usize;

    /// The sixteen values from `16 · vector` on.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the row has them.
    unsafe fn load<S: Simd>(row: *const u8, vector: usize) -> S::Floats;
}

pub(super) struct F32;
pub(super) struct F16;
pub(super) struct I8;

impl Element for F32 {
    const BYTES: usize = 4;

    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, vector: usize) -> S::Floats {
        // SAFETY: the caller's contract.
        unsafe { S::load(row.add(64 * vector).cast()) }
    }
}

impl Element for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, vector: usize) -> S::Floats {
        // SAFETY: the caller's contract.
        unsafe { S::load_f16(row.add(32 * vector).cast()) }
    }
}

impl Element for I8 {
    const BYTES: usize = 1;

    #[inline(always)]
    unsafe fn load<S: Simd>(row: *const u8, vector: usize) -> S::Floats {
        // SAFETY: the caller's contract.
        unsafe { S::load_i8(row.add(16 * vector).cast()) }
    }
}

/// The values of a row as f32, filled up with zeros to whole vectors.
///
/// # Safety
/// As all functions of [`Simd`]; the row has `width` values, and `to` space for whole vectors.
#[inline(always)]
pub(super) unsafe fn decode<S: Simd>(
    element: CacheElement,
    row: *const u8,
    width: usize,
    to: *mut f32,
) {
    // SAFETY: the caller's contract.
    unsafe {
        match element {
            CacheElement::F32 => decode_as::<S, F32>(row, width, to),
            CacheElement::F16 => decode_as::<S, F16>(row, width, to),
            CacheElement::Q8 => decode_as::<S, I8>(row, width, to),
        }
    }
}

/// # Safety
/// As [`decode`].
#[inline(always)]
unsafe fn decode_as<S: Simd, E: Element>(row: *const u8, width: usize, to: *mut f32) {
    let (vectors, rest) = (width / 16, width % 16);
    // SAFETY: the caller's contract; of the last vector only what the row has is read.
    unsafe {
        for vector in 0..vectors {
            S::store(E::load::<S>(row, vector), to.add(16 * vector));
        }
        if rest > 0 {
            let mut last = [0u8; 64];
            let from = row.add(16 * vectors * E::BYTES);
            last.as_mut_ptr().copy_from_nonoverlapping(from, rest * E::BYTES);
            S::store(E::load::<S>(last.as_ptr(), 0), to.add(16 * vectors));
        }
    }
}

/// The factor of a q8 row's values.
///
/// # Safety
/// The row has `width` values and its factor.
#[inline(always)]
pub(super) unsafe fn scale(row: *const u8, width: usize) -> f32 {
    // SAFETY: the caller's contract.
    unsafe { f32::from_le_bytes(row.add(width).cast::<[u8; 4]>().read_unaligned()) }
}
