//! The block types of 256 values ("K-quants"): groups of 16 or 32 values, whose scales are
//! themselves quantised and share one or two half-precision factors.

use half::f16;

/// The half-precision float at byte `at`.
fn factor<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// 16 bytes (4-bit scale, 4-bit minimum), 64 bytes of 2-bit values, d, dmin: f16.
/// value = d * scale * q - dmin * minimum, in groups of 16.
///
/// Each half of the block (128 values) uses 32 bytes: their bits 0–1 are values 0–31 of that half,
/// bits 2–3 values 32–63, and so on.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let d = factor(block, 80);
    let minimum = factor(block, 82);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[group] & 15);
        let offset = minimum * f32::from(block[group] >> 4);
        let (bytes, shift) = two_bits(group);
        for (i, out) in out.iter_mut().enumerate() {
            let q = (block[16 + bytes + i] >> shift) & 3;
            *out = scale * f32::from(q) - offset;
        }
    }
}

/// 32 bytes of third bits, 64 bytes of 2-bit values, 12 bytes of 6-bit scales, d: f16.
/// value = d * (scale - 32) * (q - 4), in groups of 16; q is three bits wide.
///
/// The low bits lie as in Q2_K. Bit `n` of the 32 bytes of third bits belongs to values
/// `32 n ..= 32 n + 31`.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let d = factor(block, 108);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        // Low four bits: byte g % 8, low or high half. Upper two: byte 8 + g % 4, pair g / 4.
        let low = (block[96 + group % 8] >> (4 * (group / 8))) & 15;
        let high = (block[104 + group % 4] >> (2 * (group / 4))) & 3;
        let scale = d * f32::from((low | high << 4) as i8 - 32);
        let (bytes, shift) = two_bits(group);
        for (i, out) in out.iter_mut().enumerate() {
            let q = (block[32 + bytes + i] >> shift) & 3;
            let third = (block[group % 2 * 16 + i] >> (group / 2)) & 1;
            *out = scale * f32::from((q | third << 2) as i8 - 4);
        }
    }
}

/// d, dmin: f16, 12 bytes of 6-bit scales and minimums, 128 bytes of nibbles.
/// value = d * scale * q - dmin * minimum, in groups of 32.
///
/// Groups 2n and 2n + 1 are the low and the high halves of the same 32 bytes.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let scales: &[u8; 12] = &std::array::from_fn(|i| block[4 + i]);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = six_bits(scales, group);
        let scale = factor(block, 0) * f32::from(scale);
        let offset = factor(block, 2) * f32::from(minimum);
        for (i, out) in out.iter_mut().enumerate() {
            let q = (block[16 + group / 2 * 32 + i] >> (4 * (group % 2))) & 15;
            *out = scale * f32::from(q) - offset;
        }
    }
}

/// As Q4_K with 32 bytes of fifth bits before the nibbles: bit `g` of byte `i` belongs to value `i`
/// of group `g`.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let scales: &[u8; 12] = &std::array::from_fn(|i| block[4 + i]);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = six_bits(scales, group);
        let scale = factor(block, 0) * f32::from(scale);
        let offset = factor(block, 2) * f32::from(minimum);
        for (i, out) in out.iter_mut().enumerate() {
            let low = (block[48 + group / 2 * 32 + i] >> (4 * (group % 2))) & 15;
            let fifth = (block[16 + i] >> group) & 1;
            *out = scale * f32::from(low | fifth << 4) - offset;
        }
    }
}

/// 128 bytes of low nibbles, 64 bytes of upper bit pairs, 16 signed scales, d: f16.
/// value = d * scale * (q - 32), in groups of 16; q is six bits wide.
///
/// Each half of the block (128 values) uses 64 bytes of nibbles, values 0–63 low and 64–127 high,
/// and 32 bytes of bit pairs, as Q2_K's.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = factor(block, 208);
    for (group, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = d * f32::from(block[192 + group] as i8);
        let (pairs, pair_shift) = two_bits(group);
        let nibbles = group / 8 * 64 + group % 4 * 16;
        let nibble_shift = group % 8 / 4 * 4;
        for (i, out) in out.iter_mut().enumerate() {
            let low = (block[nibbles + i] >> nibble_shift) & 15;
            let high = (block[128 + pairs + i] >> pair_shift) & 3;
            *out = scale * f32::from((low | high << 4) as i8 - 32);
        }
    }
}

/// Where the 16 bit pairs of a group stand among the 64 bytes of a block, and their shift.
fn two_bits(group: usize) -> (usize, usize) {
    (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2)
}

/// The 6-bit scale and minimum of a group of Q4_K and Q5_K. Bytes 0–3 hold the scales of groups
/// 0–3, bytes 4–7 their minimums, bytes 8–11 the low halves of groups 4–7 (scale low, minimum
/// high); the upper pairs of those are the upper pairs of bytes 0–7.
fn six_bits(bytes: &[u8; 12], group: usize) -> (u8, u8) {
    let j = group % 4;
    if group < 4 {
        return (bytes[j] & 63, bytes[4 + j] & 63);
    }
    (bytes[8 + j] & 15 | bytes[j] >> 6 << 4, bytes[8 + j] >> 4 | bytes[4 + j] >> 6 << 4)
}
