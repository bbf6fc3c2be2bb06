//! MXFP4: see [`Codebook::Mxfp4`]. All values are products of a power of two, hence exact (or, of the largest scale,
//! infinite, where f32 has no such number).

use stablemate_encodings::quantize::read_codes;
use stablemate_encodings::{Bits, Codebook};

use super::Row;
use crate::encoding::{BlockType, Encoding};

/// Bytes of the codes of a group.
const CODE_BYTES: usize = Codebook::MXFP4_GROUP / 2;

fn value(scale: f32, code: u8) -> f32 {
    scale * Codebook::Mxfp4.values()[usize::from(code & 15)]
}

/// GGUF's block: scale, 16 bytes of nibbles. Byte `i` holds value `i` in its low and value `i + 16` in its high half.
pub(super) fn block(block: &[u8; 17], out: &mut [f32; 32]) {
    let [scale, bytes @ ..] = block;
    let scale = Codebook::exponent(*scale);
    let (low, high) = out.split_at_mut(16);
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        (*low, *high) = (value(scale, byte & 15), value(scale, byte >> 4));
    }
}

/// MLX's mode "mxfp4": codes in order, the first in the lowest bits; scales of their own.
pub(super) fn row(row: Row<'_>, out: &mut [f32]) {
    let groups =
        row.values.chunks_exact(CODE_BYTES).zip(out.chunks_exact_mut(Codebook::MXFP4_GROUP));
    for ((bytes, out), scale) in groups.zip(row.scales) {
        let scale = Codebook::exponent(*scale);
        let mut codes = [0; Codebook::MXFP4_GROUP];
        read_codes(Bits::Four, bytes, &mut codes);
        for (code, out) in codes.into_iter().zip(out) {
            *out = value(scale, code);
        }
    }
}

/// The first group of a row whose scale is no number.
pub(crate) fn nan_scale(encoding: Encoding, row: Row<'_>) -> Option<usize> {
    let is_nan = |scale: &u8| *scale == Codebook::NAN_SCALE;
    match encoding {
        Encoding::Mxfp4 => row.scales.iter().position(is_nan),
        Encoding::Block(BlockType::Mxfp4) => {
            row.values.iter().step_by(1 + CODE_BYTES).position(is_nan)
        }
        Encoding::Dense(_) | Encoding::Affine { .. } | Encoding::Block(_) => None,
    }
}
