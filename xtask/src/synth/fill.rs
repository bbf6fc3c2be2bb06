//! Random weights, straight as the bytes of their encoding: codes are uniform, and scales are such that a weight's
//! standard deviation is about 0.02 whatever the encoding, so that activations stay finite through any depth.
//!
//! The same seed gives the same bytes. Nothing is quantised: that would take minutes and change no speed.

use half::{bf16, f16};
use stablemate_fixtures::gguf::Kind;

/// The standard deviation of a weight.
const DEVIATION: f32 = 0.02;

/// How many different numbers or scales there are: enough that no two blocks look alike to a machine.
const CHOICES: usize = 4096;

/// What a stretch of a file is filled with.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// Random weights in a type of GGUF.
    Weights(Kind),
    /// MLX's packed codes: any bits are good.
    Codes,
    /// MLX's scales, bfloat16, for this many bits a code.
    Scales(u32),
    /// The biases that go with the scales of the same seed: half a range below zero.
    Biases(u32),
}

impl Fill {
    /// The bytes that belong together: a stretch is a multiple of this.
    pub fn unit(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            // Eight bytes are made at a time, and numbers of fewer bytes come in rows of a multiple of eight.
            Self::Weights(kind) => kind.block().1.max(8),
            Self::Codes | Self::Scales(_) | Self::Biases(_) => 8,
        }
    }

    /// Fills a stretch whose length is a multiple of [`Fill::unit`].
    pub fn write(&self, seed: u64, out: &mut [u8]) {
        let mut random = Random(seed);
        match self {
            Self::Bytes(bytes) => out.copy_from_slice(bytes),
            Self::Weights(kind) => weights(*kind, &mut random, out),
            Self::Codes => random.fill(out),
            Self::Scales(bits) => scales(*bits, 1.0, &mut random, out),
            Self::Biases(bits) => {
                scales(*bits, -((1_u32 << bits) as f32 - 1.0) / 2.0, &mut random, out);
            }
        }
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    fn fill(&mut self, out: &mut [u8]) {
        let mut words = out.chunks_exact_mut(8);
        for word in &mut words {
            word.copy_from_slice(&self.next().to_le_bytes());
        }
        let rest = words.into_remainder();
        let last = self.next().to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// The output function of splitmix64: neighbouring numbers become unrelated ones.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn weights(kind: Kind, random: &mut Random, out: &mut [u8]) {
    match kind {
        Kind::F32 => numbers(normal().map(f32::to_le_bytes), random, out),
        Kind::F16 => numbers(normal().map(|value| f16::from_f32(value).to_le_bytes()), random, out),
        Kind::BF16 => {
            numbers(normal().map(|value| bf16::from_f32(value).to_le_bytes()), random, out);
        }
        _ => blocks(kind, random, out),
    }
}

/// Numbers out of a table, four for each random word.
fn numbers<const SIZE: usize>(
    table: impl Iterator<Item = [u8; SIZE]>,
    random: &mut Random,
    out: &mut [u8],
) {
    let table: Vec<[u8; SIZE]> = table.collect();
    let mut word = 0;
    for (index, number) in out.chunks_exact_mut(SIZE).enumerate() {
        word = if index % 4 == 0 { random.next() } else { word >> 16 };
        number.copy_from_slice(&table[word as usize % CHOICES]);
    }
}

/// Numbers of (almost) a normal distribution: sums of twelve uniform ones.
fn normal() -> impl Iterator<Item = f32> {
    let mut random = Random(0);
    (0..CHOICES).map(move |_| {
        let sum: f64 = (0..12).map(|_| random.next() as f64 / u64::MAX as f64).sum();
        (sum - 6.0) as f32 * DEVIATION
    })
}

/// How the scales of a block type make weights of deviation 1 and mean 0, codes and inner scales being uniform.
struct Scaling {
    /// Where the half-precision scale is.
    scale: usize,
    /// The deviation of a weight whose scale is 1.
    deviation: f32,
    /// Where the second factor is, if there is one, and its size for a scale of 1.
    offset: Option<(usize, f32)>,
}

/// Deviations follow from the codes: a uniform code of n values has (n² - 1) / 12, and a product of independent
/// numbers has the product of their squares' means less the square of its mean.
fn scaling(kind: Kind) -> Scaling {
    let (scale, deviation, offset) = match kind {
        Kind::Q4_0 => (0, 4.61, None),
        Kind::Q4_1 => (0, 4.61, Some((2, -7.5))),
        Kind::Q5_0 => (0, 9.23, None),
        Kind::Q5_1 => (0, 9.23, Some((2, -15.5))),
        Kind::Q8_0 => (0, 36.9, None),
        Kind::Q2_K => (80, 13.9, Some((82, 1.5))),
        Kind::Q3_K => (108, 43.3, None),
        Kind::Q4_K => (0, 258.0, Some((2, 7.5))),
        Kind::Q5_K => (0, 527.0, Some((2, 15.5))),
        Kind::Q6_K => (208, 1366.0, None),
        other => unreachable!("{other:?} is no block type that is written"),
    };
    Scaling { scale, deviation, offset }
}

fn blocks(kind: Kind, random: &mut Random, out: &mut [u8]) {
    random.fill(out);
    if kind == Kind::MXFP4 {
        return powers_of_two(random, out);
    }
    let Scaling { scale, deviation, offset } = scaling(kind);
    let second = offset.map_or(0.0, |(_, ratio)| ratio);
    // With a second factor, the mean is zero by itself; without one, the sign of the scale sees to it.
    let signed = offset.is_none();
    let table: Vec<[[u8; 2]; 2]> = factors(deviation, signed)
        .map(|factor| [factor, factor * second].map(|value| f16::from_f32(value).to_le_bytes()))
        .collect();
    for block in out.chunks_exact_mut(kind.block().1) {
        if kind == Kind::Q8_0 {
            limit_to_seven_bits(&mut block[2..]);
        }
        let [first, second] = table[random.next() as usize % CHOICES];
        block[scale..scale + 2].copy_from_slice(&first);
        if let Some((place, _)) = offset {
            block[place..place + 2].copy_from_slice(&second);
        }
    }
}

/// The elements of MXFP4 have a deviation of 2.93, and their scales are 2^-8 and 2^-7.
fn powers_of_two(random: &mut Random, out: &mut [u8]) {
    for block in out.chunks_exact_mut(Kind::MXFP4.block().1) {
        block[0] = 119 + (random.next() & 1) as u8;
    }
}

/// No quantiser writes -128 in 8 bits, and not every kernel can take it: codes are in -64..64.
fn limit_to_seven_bits(codes: &mut [u8]) {
    for code in codes {
        let low = *code & 0x7F;
        *code = low | ((low & 0x40) << 1);
    }
}

/// Scales that differ by up to a third either way, half of them negative if they are `signed`.
fn factors(deviation: f32, signed: bool) -> impl Iterator<Item = f32> {
    (0..CHOICES).map(move |index| {
        let factor = DEVIATION / deviation * (0.67 + 0.66 * index as f32 / CHOICES as f32);
        if signed && index % 2 == 1 { -factor } else { factor }
    })
}

/// MLX's scales, times a number.
fn scales(bits: u32, times: f32, random: &mut Random, out: &mut [u8]) {
    let codes = (1_u32 << bits) as f32;
    let deviation = ((codes * codes - 1.0) / 12.0).sqrt();
    // The bias must be the exact multiple of the scale that is stored, for the mean to be zero.
    let stored = factors(deviation, false).map(|factor| bf16::from_f32(factor).to_f32());
    numbers(stored.map(|factor| bf16::from_f32(factor * times).to_le_bytes()), random, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fill: &Fill, seed: u64, units: usize) -> Vec<u8> {
        let mut bytes = vec![0; units * fill.unit()];
        fill.write(seed, &mut bytes);
        bytes
    }

    fn halves(bytes: &[u8]) -> Vec<f32> {
        let halves = bytes.chunks_exact(2);
        halves.map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32()).collect()
    }

    #[test]
    fn the_seed_alone_decides() {
        for kind in [Kind::F16, Kind::Q4_0, Kind::Q6_K] {
            let fill = Fill::Weights(kind);
            assert_eq!(filled(&fill, 7, 100), filled(&fill, 7, 100));
            assert_ne!(filled(&fill, 7, 100), filled(&fill, 8, 100));
        }
    }

    #[test]
    fn weights_have_the_deviation_asked_for() {
        let numbers = halves(&filled(&Fill::Weights(Kind::F16), 1, 10_000));
        assert_deviation(&numbers);

        let blocks = filled(&Fill::Weights(Kind::Q4_0), 1, 10_000);
        let of_block = |block: &[u8]| {
            let scale = halves(&block[..2])[0];
            block[2..].iter().map(|byte| scale * (f32::from(byte & 15) - 8.0)).collect::<Vec<_>>()
        };
        assert_deviation(&blocks.chunks_exact(18).flat_map(of_block).collect::<Vec<_>>());
    }

    fn assert_deviation(values: &[f32]) {
        let count = values.len() as f32;
        let mean = values.iter().sum::<f32>() / count;
        let deviation = (values.iter().map(|value| value * value).sum::<f32>() / count).sqrt();
        assert!(mean.abs() < 0.001, "mean {mean}");
        assert!((0.018..0.023).contains(&deviation), "deviation {deviation}");
    }

    #[test]
    fn factors_of_every_block_type_are_ordinary_numbers() {
        for kind in Kind::BLOCKS.into_iter().filter(|kind| *kind != Kind::MXFP4) {
            let Scaling { scale, offset, .. } = scaling(kind);
            let blocks = filled(&Fill::Weights(kind), 3, 50);
            for block in blocks.chunks_exact(kind.block().1) {
                for place in [Some(scale), offset.map(|(place, _)| place)].into_iter().flatten() {
                    let factor = halves(&block[place..place + 2])[0].abs();
                    assert!((5e-6..0.1).contains(&factor), "{kind:?}: {factor}");
                }
            }
        }
        let bytes = filled(&Fill::Weights(Kind::Q8_0), 3, 50);
        let codes = bytes.chunks_exact(34).flat_map(|block| &block[2..]);
        assert!(codes.map(|code| *code as i8).all(|code| (-64..64).contains(&code)));
    }

    #[test]
    fn biases_belong_to_the_scales_of_their_seed() {
        let number = |pair: &[u8]| bf16::from_le_bytes([pair[0], pair[1]]).to_f32();
        let scales = filled(&Fill::Scales(4), 5, 64);
        let biases = filled(&Fill::Biases(4), 5, 64);
        for (scale, bias) in scales.chunks_exact(2).zip(biases.chunks_exact(2)) {
            let ratio = number(bias) / number(scale);
            assert!((-7.6..-7.4).contains(&ratio), "{ratio}");
        }
    }
}
