//! The block types of 256 values. Where their bits are: see [`crate::dequantize`]; how their scales are packed:
//! [`stablemate_encodings::Nested`].

use stablemate_encodings::pack_six_bits;

/// The bytes from `at` on. `at + SIZE` lies inside the block.
fn part<const BYTES: usize, const SIZE: usize>(block: &[u8; BYTES], at: usize) -> [u8; SIZE] {
    std::array::from_fn(|place| block[at + place])
}

/// The 16-bit word at byte `at`.
fn half<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u16 {
    u16::from_le_bytes(part(block, at))
}

/// The 32-bit word at byte `at`.
fn word<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u32 {
    u32::from_le_bytes(part(block, at))
}

/// Adds some bits of each byte to a code: those of `mask` after a shift down by `from`, shifted up by `to`.
fn add(bytes: &[u8; 32], from: usize, mask: u8, to: usize, codes: &mut [u8; 32]) {
    let mask = u64::from_ne_bytes([mask; 8]);
    for (codes, bytes) in codes.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks().0) {
        let bits = u64::from_ne_bytes(*bytes) >> from & mask;
        *codes = (u64::from_ne_bytes(*codes) | bits << to).to_ne_bytes();
    }
}

/// Codes of two bits: each half of a block uses 32 bytes, of which bits 0–1 are its codes 0–31, bits 2–3 its codes
/// 32–63, and so on. They are shifted up by `shift` and added.
fn two_bits(bytes: &[u8; 64], shift: usize, codes: &mut [u8; 256]) {
    let halves = codes.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<32>().0);
    for (codes, bytes) in halves {
        for (pair, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            add(bytes, 2 * pair, 3, shift, codes);
        }
    }
}

/// Codes of four bits: groups 2n and 2n + 1 of 32 are the low and the high halves of the same 32 bytes.
fn nibbles(bytes: &[u8; 128], codes: &mut [u8; 256]) {
    let quarters = codes.as_chunks_mut::<64>().0.iter_mut().zip(bytes.as_chunks::<32>().0);
    for (codes, bytes) in quarters {
        let (low, high) = codes.split_at_mut(32);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
}

/// Adds one bit, worth `1 << shift`, to each code: bit `g` of byte `i` belongs to code `i` of group `g` of 32.
fn one_bit(bytes: &[u8; 32], shift: usize, codes: &mut [u8; 256]) {
    for (group, codes) in codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        add(bytes, group, 1, shift, codes);
    }
}

/// The eight 6-bit scales, then the eight minimums, of Q4_K and Q5_K.
fn scales_and_minimums(bytes: &[u8; 12]) -> [u32; 3] {
    let mut values = [0; 16];
    for j in 0..4 {
        let (first, second, third) = (bytes[j], bytes[4 + j], bytes[8 + j]);
        values[j] = first & 63;
        values[8 + j] = second & 63;
        values[4 + j] = third & 15 | first >> 6 << 4;
        values[12 + j] = third >> 4 | second >> 6 << 4;
    }
    pack_six_bits(&values)
}

pub(super) fn q2_k(block: &[u8; 84], codes: &mut [u8; 256]) -> [u32; 5] {
    codes.fill(0);
    two_bits(&part(block, 16), 0, codes);
    [word(block, 80), word(block, 0), word(block, 4), word(block, 8), word(block, 12)]
}

pub(super) fn q3_k(block: &[u8; 110], codes: &mut [u8; 256]) -> ([u32; 3], u16) {
    codes.fill(0);
    two_bits(&part(block, 32), 0, codes);
    one_bit(&part(block, 0), 2, codes);
    let bytes: [u8; 12] = part(block, 96);
    // Low four bits: byte g % 8, low or high half. Upper two: byte 8 + g % 4, pair g / 4.
    let scales = std::array::from_fn(|group| {
        let low = bytes[group % 8] >> (4 * (group / 8)) & 15;
        let high = bytes[8 + group % 4] >> (2 * (group / 4)) & 3;
        low | high << 4
    });
    (pack_six_bits(&scales), half(block, 108))
}

pub(super) fn q4_k(block: &[u8; 144], codes: &mut [u8; 256]) -> [u32; 4] {
    nibbles(&part(block, 16), codes);
    let [first, second, third] = scales_and_minimums(&part(block, 4));
    [word(block, 0), first, second, third]
}

pub(super) fn q5_k(block: &[u8; 176], codes: &mut [u8; 256]) -> [u32; 4] {
    nibbles(&part(block, 48), codes);
    one_bit(&part(block, 16), 4, codes);
    let [first, second, third] = scales_and_minimums(&part(block, 4));
    [word(block, 0), first, second, third]
}

/// Each half of the block uses 64 bytes of nibbles: codes 0–63 low, 64–127 high.
pub(super) fn q6_k(block: &[u8; 210], codes: &mut [u8; 256]) -> ([u32; 4], u16) {
    let bytes: [u8; 128] = part(block, 0);
    let halves = codes.as_chunks_mut::<128>().0.iter_mut().zip(bytes.as_chunks::<64>().0);
    for (codes, bytes) in halves {
        let (low, high) = codes.split_at_mut(64);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    }
    two_bits(&part(block, 128), 4, codes);
    let scales = std::array::from_fn(|word_| word(block, 192 + 4 * word_));
    (scales, half(block, 208))
}
