//! From stored bytes to codes and words of scales, which [`stablemate_encodings::Packing`] puts together to
//! packed rows. Nothing is computed: a packed row has the values of the stored one bit for bit.

mod affine;
mod k_quants;
mod legacy;
mod mxfp4;
mod tensor;
mod units;

use crate::dequantize::Row;
use crate::encoding::{BlockType, Encoding};

/// Codes and words of scales of a row of whole blocks: as many as the encoding's packing has for this many values.
/// Both are overwritten; what is missing on either side stays as it is. Floats have neither.
pub(crate) fn codes_and_scales(
    encoding: Encoding,
    row: Row<'_>,
    codes: &mut [u8],
    scales: &mut [u32],
) {
    let block = match encoding {
        Encoding::Dense(_) => return,
        Encoding::Affine { bits, scales: float, .. } => {
            return affine::row(bits, float, row, codes, scales);
        }
        Encoding::Mxfp4 => return mxfp4::row(row, codes, scales),
        Encoding::Block(block) => block,
    };
    let bytes = row.values;
    match block {
        BlockType::Mxfp4 => mxfp4::blocks(bytes, codes, scales),
        BlockType::Q4_0 => centred(bytes, codes, scales, legacy::q4_0),
        BlockType::Q5_0 => centred(bytes, codes, scales, legacy::q5_0),
        BlockType::Q8_0 => centred(bytes, codes, scales, legacy::q8_0),
        BlockType::Q4_1 => affine_blocks(bytes, codes, scales, legacy::q4_1),
        BlockType::Q5_1 => affine_blocks(bytes, codes, scales, legacy::q5_1),
        BlockType::Q2K => minimums(bytes, codes, scales, k_quants::q2_k),
        BlockType::Q4K => minimums(bytes, codes, scales, k_quants::q4_k),
        BlockType::Q5K => minimums(bytes, codes, scales, k_quants::q5_k),
        BlockType::Q3K => factors_behind(bytes, codes, scales, k_quants::q3_k),
        BlockType::Q6K => factors_behind(bytes, codes, scales, k_quants::q6_k),
    }
}

/// Puts half number `index` into words of two.
fn put_half(words: &mut [u32], index: usize, half: u16) {
    if let Some(word) = words.get_mut(index / 2) {
        let half = u32::from(half);
        *word = if index.is_multiple_of(2) { half } else { *word | half << 16 };
    }
}

/// Blocks of one factor: two per word.
fn centred<const BYTES: usize>(
    bytes: &[u8],
    codes: &mut [u8],
    scales: &mut [u32],
    block: impl Fn(&[u8; BYTES], &mut [u8; 32]) -> u16,
) {
    let blocks = bytes.as_chunks().0.iter().zip(codes.as_chunks_mut().0);
    for (index, (bytes, codes)) in blocks.enumerate() {
        put_half(scales, index, block(bytes, codes));
    }
}

/// Blocks of a factor and a bias: a word each.
fn affine_blocks<const BYTES: usize>(
    bytes: &[u8],
    codes: &mut [u8],
    scales: &mut [u32],
    block: impl Fn(&[u8; BYTES], &mut [u8; 32]) -> u32,
) {
    let blocks = bytes.as_chunks().0.iter().zip(codes.as_chunks_mut().0);
    for ((bytes, codes), word) in blocks.zip(scales) {
        *word = block(bytes, codes);
    }
}

/// Super-blocks whose words stand one after the other.
fn minimums<const BYTES: usize, const WORDS: usize>(
    bytes: &[u8],
    codes: &mut [u8],
    scales: &mut [u32],
    block: impl Fn(&[u8; BYTES], &mut [u8; 256]) -> [u32; WORDS],
) {
    let blocks = bytes.as_chunks().0.iter().zip(codes.as_chunks_mut().0);
    for ((bytes, codes), words) in blocks.zip(scales.as_chunks_mut().0) {
        *words = block(bytes, codes);
    }
}

/// Super-blocks whose factors stand behind the words of all of them, two per word.
fn factors_behind<const BYTES: usize, const WORDS: usize>(
    bytes: &[u8],
    codes: &mut [u8],
    scales: &mut [u32],
    block: impl Fn(&[u8; BYTES], &mut [u8; 256]) -> ([u32; WORDS], u16),
) {
    let (bytes, _) = bytes.as_chunks();
    let Some((words, factors)) = scales.split_at_mut_checked(WORDS * bytes.len()) else {
        return;
    };
    let blocks = bytes.iter().zip(codes.as_chunks_mut().0).zip(words.as_chunks_mut().0);
    for (index, ((bytes, codes), words)) in blocks.enumerate() {
        let (stored, factor) = block(bytes, codes);
        *words = stored;
        put_half(factors, index, factor);
    }
}
