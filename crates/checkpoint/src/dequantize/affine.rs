//! MLX's mode "affine".

use stablemate_encodings::quantize::read_codes;
use stablemate_encodings::{Bits, Float, UNIT};

use super::{Row, float};

/// value = scale * q + bias. Codes are a stream of bits, the first code in the lowest bits; one scale and one
/// bias for each group of values.
pub(super) fn decode(bits: Bits, group: usize, scales: Float, row: Row<'_>, out: &mut [f32]) {
    let code_bytes = group * bits.count() / 8;
    let groups = row.values.chunks_exact(code_bytes.max(1)).zip(out.chunks_exact_mut(group.max(1)));
    let factors =
        row.scales.chunks_exact(scales.bytes()).zip(row.biases.chunks_exact(scales.bytes()));
    for ((codes, out), (scale, bias)) in groups.zip(factors) {
        let (scale, bias) = (one(scales, scale), one(scales, bias));
        // A unit of codes is a whole number of bytes; the smallest group is half a unit.
        let pieces = codes.chunks(UNIT * bits.count() / 8).zip(out.chunks_mut(UNIT));
        for (bytes, out) in pieces {
            let mut codes = [0; UNIT];
            read_codes(bits, bytes, &mut codes);
            for (code, out) in codes.into_iter().zip(out) {
                *out = scale * f32::from(code) + bias;
            }
        }
    }
}

/// The float that these bytes are.
fn one(kind: Float, bytes: &[u8]) -> f32 {
    let mut value = [0.0];
    match kind {
        Float::F32 => float::f32(bytes, &mut value),
        Float::F16 => float::f16(bytes, &mut value),
        Float::Bf16 => float::bf16(bytes, &mut value),
    }
    value[0]
}
