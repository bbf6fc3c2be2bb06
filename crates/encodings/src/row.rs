//! Rows in the packed layout: to words, and back. Plain code, one value at a time; kernels do the same on sixteen
//! rows at once, and are tested against this.
//!
//! Lengths are the caller's business: what is missing on one side is left out, what is left over on the other
//! stays as it is.

use half::{bf16, f16};

use crate::codebook::Codebook;
use crate::packing::{Bits, Float, LANES, Nested, Packing, Scales, UNIT};

/// Groups and super-blocks of a row share words, two halves in each.
fn half_of(words: &[u32], index: usize) -> u16 {
    let word = words.get(index / 2).copied().unwrap_or_default();
    (word >> (16 * (index % 2))) as u16
}

/// A half-precision value; f32 does not come here.
fn widen(float: Float, bits: u16) -> f32 {
    match float {
        Float::Bf16 => bf16::from_bits(bits).to_f32(),
        Float::F16 | Float::F32 => f16::from_bits(bits).to_f32(),
    }
}

/// Sixteen six-bit integers in three words: see [`Nested`]. Higher bits are cut off.
pub fn pack_six_bits(values: &[u8; 16]) -> [u32; 3] {
    let mut words = [0; 3];
    for (n, value) in values.iter().enumerate().take(15) {
        words[n / 5] |= u32::from(value & 63) << (6 * (n % 5));
    }
    for (n, word) in words.iter_mut().enumerate() {
        *word |= (u32::from(values[15]) >> (2 * n) & 3) << 30;
    }
    words
}

/// The sixteen six-bit integers of three words.
pub fn unpack_six_bits(words: &[u32; 3]) -> [u8; 16] {
    std::array::from_fn(|n| match n {
        15 => (words[0] >> 30 | words[1] >> 30 << 2 | words[2] >> 30 << 4) as u8,
        _ => (words[n / 5] >> (6 * (n % 5)) & 63) as u8,
    })
}

/// Lays up to sixteen packed rows (one after the other, `row_words` each) as a tile; missing rows become zero
/// words. `tile` has `row_words · 16` words.
pub fn interleave(rows: &[u32], row_words: usize, tile: &mut [u32]) {
    for (n, lanes) in tile.chunks_mut(LANES).enumerate().take(row_words) {
        for (lane, word) in lanes.iter_mut().enumerate() {
            *word = rows.get(lane * row_words + n).copied().unwrap_or_default();
        }
    }
}

/// Takes row `lane` out of a tile.
pub fn gather(tile: &[u32], lane: usize, row: &mut [u32]) {
    for (word, lanes) in row.iter_mut().zip(tile.chunks(LANES)) {
        *word = lanes.get(lane).copied().unwrap_or_default();
    }
}

/// Where a plane's bits of code `n` of a unit are: word of the plane, and bit.
fn place(width: usize, n: usize) -> (usize, usize) {
    let (pair, odd) = (n / 2, n % 2);
    let pairs = 16 / width;
    (pair / pairs, width * (pair % pairs) + 16 * odd)
}

impl Bits {
    /// Packs a unit of codes; `words` are as many as a code has bits.
    fn pack_unit(self, codes: &[u8], words: &mut [u32]) {
        words.fill(0);
        let (mut first, mut shift) = (0, 0);
        for width in self.planes() {
            for (n, code) in codes.iter().enumerate() {
                let (word, bit) = place(*width, n);
                if let Some(word) = words.get_mut(first + word) {
                    *word |= (u32::from(*code) >> shift & ((1 << width) - 1)) << bit;
                }
            }
            (first, shift) = (first + width, shift + width);
        }
    }

    /// Code `n` of a unit.
    fn code(self, words: &[u32], n: usize) -> u8 {
        let (mut first, mut shift, mut code) = (0, 0, 0);
        for width in self.planes() {
            let (word, bit) = place(*width, n);
            let word = words.get(first + word).copied().unwrap_or_default();
            code |= (word >> bit & ((1 << width) - 1)) << shift;
            (first, shift) = (first + width, shift + width);
        }
        code as u8
    }
}

impl Packing {
    /// Packs a row: `codes` of all its values (higher bits are cut off), and the words of its `scales` (as
    /// [`Scales`] says). `out` has [`Self::row_words`] of `codes.len()` words.
    pub fn pack_row(self, codes: &[u8], scales: &[u32], out: &mut [u32]) {
        let at = self.code_words(codes.len()).min(out.len());
        let (code_words, scale_words) = out.split_at_mut(at);
        for (codes, words) in codes.chunks(UNIT).zip(code_words.chunks_mut(self.bits().count())) {
            self.bits().pack_unit(codes, words);
        }
        for (out, word) in scale_words.iter_mut().zip(scales) {
            *out = *word;
        }
    }

    /// The codes of a packed row.
    pub fn unpack_codes(self, words: &[u32], codes: &mut [u8]) {
        for (words, codes) in words.chunks(self.bits().count()).zip(codes.chunks_mut(UNIT)) {
            for (n, code) in codes.iter_mut().enumerate() {
                *code = self.bits().code(words, n);
            }
        }
    }

    /// The values of a packed row, in f32 and in the order of operations of the formats' own
    /// implementations (ggml's reference and MLX), so that they are equal bit for bit:
    /// `scale · (q − centre)`, `scale · q + bias`, `(d · s) · q − m · t`, `scale · table[q]`.
    pub fn unpack_row(self, words: &[u32], out: &mut [f32]) {
        let columns = out.len();
        let at = self.code_words(columns).min(words.len());
        let (code_words, scale_words) = words.split_at(at);
        let mut codes = [0; UNIT];
        // Groups are half a unit, or whole units.
        let step = self.group().min(UNIT);
        let units = code_words.chunks(self.bits().count()).zip(out.chunks_mut(UNIT));
        for (unit, (words, out)) in units.enumerate() {
            self.unpack_codes(words, &mut codes);
            for (n, (codes, out)) in codes.chunks(step).zip(out.chunks_mut(step)).enumerate() {
                let group = (unit * UNIT + n * step) / self.group();
                let (scale, bias) = self.scale(scale_words, columns, group);
                for (out, code) in out.iter_mut().zip(codes) {
                    let scaled = scale * self.level(*code);
                    *out = bias.map_or(scaled, |bias| scaled + bias);
                }
            }
        }
    }

    /// The scale of a group in a row of `columns` values, and its bias where the packing has biases: `w = scale · level +
    /// bias` (see [`Self::level`]). `words` are the row's words of scales.
    pub fn scale(self, words: &[u32], columns: usize, group: usize) -> (f32, Option<f32>) {
        let word = |n: usize| words.get(n).copied().unwrap_or_default();
        match self.scales() {
            Scales::Centred(Float::F32) | Scales::Codebook(Codebook::Nf4(Float::F32)) => {
                (f32::from_bits(word(group)), None)
            }
            Scales::Centred(float) | Scales::Codebook(Codebook::Nf4(float)) => {
                (widen(float, half_of(words, group)), None)
            }
            Scales::Codebook(Codebook::Mxfp4) => {
                let byte = (word(group / 4) >> (8 * (group % 4))) as u8;
                (Codebook::exponent(byte), None)
            }
            Scales::Affine(Float::F32) => {
                (f32::from_bits(word(2 * group)), Some(f32::from_bits(word(2 * group + 1))))
            }
            Scales::Affine(float) => {
                let word = word(group);
                (widen(float, word as u16), Some(widen(float, (word >> 16) as u16)))
            }
            Scales::Nested(nested) => nested_scale(nested, words, columns, group),
        }
    }
}

/// The value 0 for what is missing.
fn nested_scale(nested: Nested, words: &[u32], columns: usize, group: usize) -> (f32, Option<f32>) {
    let blocks = columns / Nested::SUPER_BLOCK;
    let groups = Nested::SUPER_BLOCK / nested.group();
    let (block, n) = (group / groups, group % groups);
    let word = |n: usize| words.get(n).copied().unwrap_or_default();
    let first = block * nested.block_words();
    let (low, high) = (word(first) as u16, (word(first) >> 16) as u16);
    let (low, high) = (widen(Float::F16, low), widen(Float::F16, high));
    let byte = |first: usize| (word(first + n / 4) >> (8 * (n % 4))) as u8;
    let six = |first: usize| unpack_six_bits(&std::array::from_fn(|n| word(first + n)));
    // Factors of centred forms stand behind the words of all blocks.
    let factors = words.get(blocks * nested.block_words()..).unwrap_or_default();
    let factor = widen(Float::F16, half_of(factors, block));
    match nested {
        Nested::MinimumsFour => {
            let byte = byte(first + 1);
            (low * f32::from(byte & 15), Some(-(high * f32::from(byte >> 4))))
        }
        Nested::MinimumsSix => {
            let values = six(first + 1);
            (low * f32::from(values[n]), Some(-(high * f32::from(values[n + 8]))))
        }
        Nested::CentredSix => (factor * f32::from(six(first)[n] as i8 - 32), None),
        Nested::CentredEight => (factor * f32::from(byte(first) as i8), None),
    }
}

#[cfg(test)]
mod tests;
