//! MXFP4, of GGUF's blocks and of MLX. Where their bits are: see [`crate::dequantize`].

use stablemate_encodings::Bits;
use stablemate_encodings::quantize::read_codes;

use super::legacy::nibbles;
use crate::dequantize::Row;

/// Lays scales four to a word, the first in the lowest byte.
fn scales_to_words(scales: impl Iterator<Item = u8>, words: &mut [u32]) {
    words.fill(0);
    for (n, scale) in scales.enumerate() {
        if let Some(word) = words.get_mut(n / 4) {
            *word |= u32::from(scale) << (8 * (n % 4));
        }
    }
}

pub(super) fn blocks(bytes: &[u8], codes: &mut [u8], words: &mut [u32]) {
    let (blocks, _) = bytes.as_chunks::<17>();
    for (block, codes) in blocks.iter().zip(codes.as_chunks_mut().0) {
        nibbles(block, 1, codes);
    }
    scales_to_words(blocks.iter().map(|block| block[0]), words);
}

pub(super) fn row(row: Row<'_>, codes: &mut [u8], words: &mut [u32]) {
    read_codes(Bits::Four, row.values, codes);
    scales_to_words(row.scales.iter().copied(), words);
}
