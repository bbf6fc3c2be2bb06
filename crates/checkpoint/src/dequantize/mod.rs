//! From stored bytes to float32.
//!
//! The arithmetic of each block type is the one of ggml's reference (`ggml-quants.c`, and the same
//! order of operations in gguf-py's `quants.py`): all in float32, results equal bit for bit. MLX's
//! affine weights are `scale * q + bias`, also in float32, whatever type scale and bias are kept in
//! (MLX itself computes in that type).

mod affine;
mod float;
mod k_quants;
mod legacy;
mod mxfp4;

use crate::encoding::{BlockType, Encoding, Float};

pub(crate) use mxfp4::nan_scale;

/// Where the values of a row, or of some blocks, are stored.
#[derive(Clone, Copy, Default)]
pub(crate) struct Row<'a> {
    /// Floats, blocks or codes.
    pub(crate) values: &'a [u8],
    /// Scales that stand apart from the codes; empty if there are none.
    pub(crate) scales: &'a [u8],
    /// The same for biases.
    pub(crate) biases: &'a [u8],
}

impl<'a> Row<'a> {
    /// A row whose scales, if any, are in its blocks.
    pub(crate) fn alone(values: &'a [u8]) -> Self {
        Self { values, ..Self::default() }
    }
}

/// Decodes whole blocks. `row` holds exactly the blocks of `out.len()` values: what is missing on
/// either side stays as it is.
pub(crate) fn decode(encoding: Encoding, row: Row<'_>, out: &mut [f32]) {
    let bytes = row.values;
    match encoding {
        Encoding::Dense(Float::F32) => float::f32(bytes, out),
        Encoding::Dense(Float::F16) => float::f16(bytes, out),
        Encoding::Dense(Float::Bf16) => float::bf16(bytes, out),
        Encoding::Affine { bits, group, scales } => affine::decode(bits, group, scales, row, out),
        Encoding::Mxfp4 => mxfp4::row(row, out),
        Encoding::Block(BlockType::Mxfp4) => blocks(bytes, out, mxfp4::block),
        Encoding::Block(BlockType::Q4_0) => blocks(bytes, out, legacy::q4_0),
        Encoding::Block(BlockType::Q4_1) => blocks(bytes, out, legacy::q4_1),
        Encoding::Block(BlockType::Q5_0) => blocks(bytes, out, legacy::q5_0),
        Encoding::Block(BlockType::Q5_1) => blocks(bytes, out, legacy::q5_1),
        Encoding::Block(BlockType::Q8_0) => blocks(bytes, out, legacy::q8_0),
        Encoding::Block(BlockType::Q2K) => blocks(bytes, out, k_quants::q2_k),
        Encoding::Block(BlockType::Q3K) => blocks(bytes, out, k_quants::q3_k),
        Encoding::Block(BlockType::Q4K) => blocks(bytes, out, k_quants::q4_k),
        Encoding::Block(BlockType::Q5K) => blocks(bytes, out, k_quants::q5_k),
        Encoding::Block(BlockType::Q6K) => blocks(bytes, out, k_quants::q6_k),
    }
}

/// Applies the decoder of one block to each block. Sizes are array types, so that nothing in a
/// decoder can be out of bounds.
fn blocks<const BYTES: usize, const VALUES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; VALUES]),
) {
    let (bytes, _) = bytes.as_chunks::<BYTES>();
    let (out, _) = out.as_chunks_mut::<VALUES>();
    for (bytes, out) in bytes.iter().zip(out) {
        decode(bytes, out);
    }
}

#[cfg(test)]
mod tests;
