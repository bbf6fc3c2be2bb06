//! Quantisation as MLX does it (mode "affine"), and the stream of bits in which MLX stores codes.
//!
//! Follows `mlx.core.quantize` (0.32: `mlx/backend/cpu/quantized.cpp` and the `affine_quantize` kernel): all of
//! it is float32 arithmetic, whatever the type of the weights; codes come from the scale and the bias before
//! these are rounded to that type. A group's scale is its range divided by the largest code, negative unless the
//! smallest value is the largest in magnitude; then it is adjusted so that zero has a code, and the edge of larger
//! magnitude becomes the bias. So that edge has code 0.

use std::fmt;

use half::{bf16, f16};

use crate::packing::{Bits, Float, Packing, Scales};

/// The smallest magnitude of a scale before it is adjusted.
const SMALLEST_SCALE: f32 = 1e-7;

/// 2²³: of a float between this and its double, the lowest bit stands for one.
const UNIT_STEP: f32 = 8_388_608.0;

/// What cannot be quantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuantizeError {
    /// A group holds an infinity or a NaN, or its range is none that float32 has.
    NotFinite {
        /// The place of the group's first value in the row.
        column: usize,
    },
    /// The packing is not affine, or the lengths of row, codes and scales do not fit it. A mistake in the program.
    Form(String),
}

impl fmt::Display for QuantizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite { column } => write!(
                formatter,
                "the group from column {column} on holds infinities, NaN or too wide a range: only finite values \
                 can be quantised"
            ),
            Self::Form(message) => message.fmt(formatter),
        }
    }
}

impl std::error::Error for QuantizeError {}

/// Quantises one group: fills `codes` and returns scale and bias, not yet rounded to the type they are stored in.
/// `None` if a value is not finite.
pub fn quantize_group(bits: Bits, values: &[f32], codes: &mut [u8]) -> Option<(f32, f32)> {
    let largest_code = ((1u32 << bits.count()) - 1) as f32;
    let (smallest, largest) = range(values);
    // Comparisons pass NaN over, hence the second test.
    if !(largest - smallest).is_finite() || !all_finite(values) {
        return None;
    }
    let negative = smallest.abs() > largest.abs();
    let step = ((largest - smallest) / largest_code).max(SMALLEST_SCALE);
    let (step, edge) = if negative { (step, smallest) } else { (-step, largest) };
    let zero_code = (edge / step).round_ties_even();
    let (scale, bias) = if zero_code == 0.0 { (step, 0.0) } else { (edge / zero_code, edge) };
    for (value, code) in values.iter().zip(codes) {
        let place = ((value - bias) / scale).clamp(0.0, largest_code);
        // The sum rounds to the nearest whole number, to the even one of two, which its lowest bits are.
        *code = (place + UNIT_STEP).to_bits() as u8;
    }
    Some((scale, bias))
}

/// The smallest and the largest value. Lanes, so that the compiler may use vectors.
fn range(values: &[f32]) -> (f32, f32) {
    const WIDTH: usize = 8;
    let (mut smallest, mut largest) = ([f32::INFINITY; WIDTH], [f32::NEG_INFINITY; WIDTH]);
    let (pieces, rest) = values.as_chunks::<WIDTH>();
    for piece in pieces {
        for lane in 0..WIDTH {
            smallest[lane] =
                if piece[lane] < smallest[lane] { piece[lane] } else { smallest[lane] };
            largest[lane] = if piece[lane] > largest[lane] { piece[lane] } else { largest[lane] };
        }
    }
    let both = |values: &[f32]| values.iter().copied().fold(f32::INFINITY, f32::min);
    let most = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (both(&smallest).min(both(rest)), most(&largest).max(most(rest)))
}

fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    values.iter().fold(true, |all, value| all & (value.to_bits() & EXPONENT != EXPONENT))
}

/// Quantises a row for an affine packing, one scale and bias per group, stored in the packing's type. `codes` has
/// as many values as the row; `scales` has [`Packing::scale_words`] words, filled as [`Scales::Affine`] says.
///
/// # Errors
/// Values that are not finite; a packing that is not affine; lengths that do not fit.
pub fn quantize_row(
    packing: Packing,
    values: &[f32],
    codes: &mut [u8],
    scales: &mut [u32],
) -> Result<(), QuantizeError> {
    let Scales::Affine(float) = packing.scales() else {
        return Err(QuantizeError::Form(format!(
            "{packing}: only affine packings are quantised to"
        )));
    };
    let group = packing.group();
    let fits = values.len().is_multiple_of(group)
        && codes.len() == values.len()
        && scales.len() == packing.scale_words(values.len());
    if !fits {
        let message = format!(
            "{packing}: a row of {} values, {} codes and {} words of scales",
            values.len(),
            codes.len(),
            scales.len()
        );
        return Err(QuantizeError::Form(message));
    }
    let words = scales.chunks_exact_mut(packing.scale_words(group));
    let groups = values.chunks_exact(group).zip(codes.chunks_exact_mut(group)).zip(words);
    for (index, ((values, codes), words)) in groups.enumerate() {
        let (scale, bias) = quantize_group(packing.bits(), values, codes)
            .ok_or(QuantizeError::NotFinite { column: index * group })?;
        store(float, scale, bias, words);
    }
    Ok(())
}

/// Stores scale and bias of a group as [`Scales::Affine`] says: one word, or two of float32.
fn store(float: Float, scale: f32, bias: f32, words: &mut [u32]) {
    let pair = |scale: u16, bias: u16| u32::from(scale) | u32::from(bias) << 16;
    match (float, words) {
        (Float::F32, [first, second]) => (*first, *second) = (scale.to_bits(), bias.to_bits()),
        (Float::F16, [word]) => {
            *word = pair(f16::from_f32(scale).to_bits(), f16::from_f32(bias).to_bits());
        }
        (Float::Bf16, [word]) => {
            *word = pair(bf16::from_f32(scale).to_bits(), bf16::from_f32(bias).to_bits());
        }
        // The caller's chunks have just these lengths.
        (_, _) => {}
    }
}

/// Reads codes from a stream of bits, the first code in the lowest bits of the first byte: eight codes stand in as
/// many bytes as a code has bits. MLX's `weight` rows are such streams, in little-endian 32-bit words. Codes that
/// `bytes` has no bits for are zero.
pub fn read_codes(bits: Bits, bytes: &[u8], codes: &mut [u8]) {
    match bits {
        Bits::Two => read::<2>(bytes, codes),
        Bits::Three => read::<3>(bytes, codes),
        Bits::Four => read::<4>(bytes, codes),
        Bits::Five => read::<5>(bytes, codes),
        Bits::Six => read::<6>(bytes, codes),
        Bits::Eight => {
            let stored = bytes.iter().copied().chain(std::iter::repeat(0));
            codes.iter_mut().zip(stored).for_each(|(code, byte)| *code = byte);
        }
    }
}

fn read<const BITS: usize>(bytes: &[u8], codes: &mut [u8]) {
    let (whole, rest) = codes.as_chunks_mut::<8>();
    let (stored, cut) = bytes.as_chunks::<BITS>();
    let mut last = [0; BITS];
    last.iter_mut().zip(cut).for_each(|(last, byte)| *last = *byte);
    let stored = stored.iter().copied().chain([last]).chain(std::iter::repeat([0; BITS]));
    let mut stored = stored.map(|bytes| {
        let stream = bytes.iter().rev().fold(0u64, |stream, byte| stream << 8 | u64::from(*byte));
        std::array::from_fn::<u8, 8, _>(|code| (stream >> (BITS * code)) as u8 & ((1 << BITS) - 1))
    });
    for (codes, stored) in whole.iter_mut().zip(&mut stored) {
        *codes = stored;
    }
    for (code, stored) in rest.iter_mut().zip(stored.next().unwrap_or_default()) {
        *code = stored;
    }
}

/// Writes codes as the stream that [`read_codes`] reads. `bytes` has as many bits as all codes together, rounded up
/// to bytes; what it has no room for is left out.
pub fn write_codes(bits: Bits, codes: &[u8], bytes: &mut [u8]) {
    for (codes, bytes) in codes.chunks(8).zip(bytes.chunks_mut(bits.count())) {
        let places = codes.iter().enumerate();
        let stream = places.fold(0u64, |stream, (place, code)| {
            stream | u64::from(*code) << (bits.count() * place)
        });
        bytes.iter_mut().zip(stream.to_le_bytes()).for_each(|(byte, stored)| *byte = stored);
    }
}

#[cfg(test)]
mod tests;
