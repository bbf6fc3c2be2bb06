//! MLX's mode "affine".

use stablemate_encodings::quantize::read_codes;
use stablemate_encodings::{Bits, Float};

use crate::dequantize::Row;

/// Codes, and scales and biases side by side.
pub(super) fn row(bits: Bits, float: Float, row: Row<'_>, codes: &mut [u8], words: &mut [u32]) {
    read_codes(bits, row.values, codes);
    match float {
        Float::F32 => {
            let scales = row.scales.as_chunks().0.iter();
            let pairs = scales.zip(row.biases.as_chunks().0);
            for ((scale, bias), words) in pairs.zip(words.as_chunks_mut::<2>().0) {
                *words = [u32::from_le_bytes(*scale), u32::from_le_bytes(*bias)];
            }
        }
        Float::F16 | Float::Bf16 => {
            let scales = row.scales.as_chunks::<2>().0.iter();
            let pairs = scales.zip(row.biases.as_chunks::<2>().0);
            for ((scale, bias), word) in pairs.zip(words) {
                *word = u32::from_le_bytes([scale[0], scale[1], bias[0], bias[1]]);
            }
        }
    }
}
