//! The block types of 32 values. Where their bits are: see [`crate::dequantize`].

/// The 16-bit word at byte `at`.
fn half<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

/// The 32-bit word at byte `at`.
fn word<const BYTES: usize>(block: &[u8; BYTES], at: usize) -> u32 {
    u32::from(half(block, at)) | u32::from(half(block, at + 2)) << 16
}

/// Codes of 4 bits in 16 bytes from `at` on: the low halves first.
pub(super) fn nibbles<const BYTES: usize>(block: &[u8; BYTES], at: usize, codes: &mut [u8; 32]) {
    let (low, high) = codes.split_at_mut(16);
    let bytes = block.get(at..).unwrap_or_default();
    for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
        (*low, *high) = (byte & 15, byte >> 4);
    }
}

/// Bit `n` of a byte as byte `n` of a word.
fn spread(bits: u8) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // Byte n has bit n or nothing; 127 more sets its highest bit, if it has, without carrying.
    let apart = (u64::from(bits) * EACH) & 0x8040_2010_0804_0201;
    (apart + 0x7f * EACH) >> 7 & EACH
}

/// Adds the fifth bits: bit `i` of `bits` belongs to code `i`.
fn fifth_bits(bits: u32, codes: &mut [u8; 32]) {
    for (codes, bits) in codes.as_chunks_mut::<8>().0.iter_mut().zip(bits.to_le_bytes()) {
        *codes = (u64::from_le_bytes(*codes) | spread(bits) << 4).to_le_bytes();
    }
}

pub(super) fn q4_0(block: &[u8; 18], codes: &mut [u8; 32]) -> u16 {
    nibbles(block, 2, codes);
    half(block, 0)
}

pub(super) fn q4_1(block: &[u8; 20], codes: &mut [u8; 32]) -> u32 {
    nibbles(block, 4, codes);
    word(block, 0)
}

pub(super) fn q5_0(block: &[u8; 22], codes: &mut [u8; 32]) -> u16 {
    nibbles(block, 6, codes);
    fifth_bits(word(block, 2), codes);
    half(block, 0)
}

pub(super) fn q5_1(block: &[u8; 24], codes: &mut [u8; 32]) -> u32 {
    nibbles(block, 8, codes);
    fifth_bits(word(block, 4), codes);
    word(block, 0)
}

/// Signed values become codes around 128.
pub(super) fn q8_0(block: &[u8; 34], codes: &mut [u8; 32]) -> u16 {
    for (code, byte) in codes.iter_mut().zip(block.get(2..).unwrap_or_default()) {
        *code = byte ^ 0x80;
    }
    half(block, 0)
}
