//! Little-endian floats.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Copies.
pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<4>().0.iter().zip(out) {
        *out = f32::from_le_bytes(*bytes);
    }
}

/// Widens. Goes through an aligned buffer, since the conversion of whole slices uses the
/// processor's instructions for it where they exist.
pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    const PIECE: usize = 256;
    let mut piece = [f16::ZERO; PIECE];
    for (bytes, out) in bytes.as_chunks::<2>().0.chunks(PIECE).zip(out.chunks_mut(PIECE)) {
        let count = bytes.len().min(out.len());
        for (value, bytes) in piece.iter_mut().zip(bytes) {
            *value = f16::from_le_bytes(*bytes);
        }
        let (Some(values), Some(out)) = (piece.get(..count), out.get_mut(..count)) else {
            continue;
        };
        values.convert_to_f32_slice(out);
    }
}

/// Widens: the bits become the upper half.
pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    for (bytes, out) in bytes.as_chunks::<2>().0.iter().zip(out) {
        *out = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
    }
}
