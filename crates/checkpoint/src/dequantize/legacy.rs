//! The block types of 32 values: one scale, sometimes one minimum.
//!
//! In the 4- and 5-bit types, byte `i` holds value `i` in its low and value `i + 16` in its high
//! half; the fifth bits stand in one little-endian word, bit `i` for value `i`.

use half::f16;

/// The half-precision float at byte `at`.
fn scale<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// d: f16, 16 bytes of nibbles. value = d * (q - 8)
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = d * f32::from((byte & 15) as i8 - 8);
        out[i + 16] = d * f32::from((byte >> 4) as i8 - 8);
    }
}

/// d, m: f16, 16 bytes of nibbles. value = d * q + m
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let m = scale(block, 2);
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = d * f32::from(byte & 15) + m;
        out[i + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// d: f16, fifth bits: u32, 16 bytes of nibbles. value = d * (q - 16)
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let high = u32::from_le_bytes([block[2], block[3], block[4], block[5]]);
    for i in 0..16 {
        let (low, upper) = five_bits(block[6 + i], high, i);
        out[i] = d * f32::from(low as i8 - 16);
        out[i + 16] = d * f32::from(upper as i8 - 16);
    }
}

/// d, m: f16, fifth bits: u32, 16 bytes of nibbles. value = d * q + m
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    let m = scale(block, 2);
    let high = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
    for i in 0..16 {
        let (low, upper) = five_bits(block[8 + i], high, i);
        out[i] = d * f32::from(low) + m;
        out[i + 16] = d * f32::from(upper) + m;
    }
}

/// d: f16, 32 signed bytes. value = q * d
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = scale(block, 0);
    for i in 0..32 {
        out[i] = f32::from(block[2 + i] as i8) * d;
    }
}

/// The 5-bit values `i` and `i + 16`.
fn five_bits(byte: u8, high: u32, i: usize) -> (u8, u8) {
    let fifth = |bit: usize| ((high >> bit) as u8 & 1) << 4;
    (byte & 15 | fifth(i), byte >> 4 | fifth(i + 16))
}
