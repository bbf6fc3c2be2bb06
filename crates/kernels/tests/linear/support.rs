//! Random operands, and what products of them are.

use half::{bf16, f16};
use stablemate_encodings::{
    Bits, Codebook, Float, LANES, Nested, Packing, Scales, interleave, pack_six_bits,
};
use stablemate_kernels::{Isa, Matrix, Weight};

/// A small generator, so that a case is its seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn bits(&mut self) -> u32 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.bits() as usize % end
    }

    /// Between −1 and 1.
    pub fn float(&mut self) -> f32 {
        self.bits() as f32 / (1u64 << 31) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    /// Like activations: a few columns are much larger.
    pub fn activations(&mut self, count: usize) -> Vec<f32> {
        let one = |random: &mut Self| match random.below(50) {
            0 => 40.0 * random.float(),
            1 => 0.0,
            _ => random.float(),
        };
        (0..count).map(|_| one(self)).collect()
    }

    /// About a third is padding.
    pub fn live(&mut self, count: usize) -> Vec<i32> {
        (0..count).map(|n| if self.below(3) == 0 { -1 } else { n as i32 }).collect()
    }
}

pub fn isas() -> Vec<Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available()).collect()
}

/// Every packing there is, less nested scales with widths that no file has.
pub fn packings() -> Vec<Packing> {
    let mut all = Vec::new();
    for bits in Bits::ALL {
        for group in [16, 32, 64, 128] {
            for float in [Float::F32, Float::F16, Float::Bf16] {
                all.push(Packing::new(bits, group, Scales::Centred(float)).unwrap());
                all.push(Packing::new(bits, group, Scales::Affine(float)).unwrap());
            }
        }
    }
    for (bits, nested) in [
        (Bits::Two, Nested::MinimumsFour),
        (Bits::Three, Nested::CentredSix),
        (Bits::Four, Nested::MinimumsSix),
        (Bits::Five, Nested::MinimumsSix),
        (Bits::Six, Nested::CentredEight),
    ] {
        all.push(Packing::new(bits, nested.group(), Scales::Nested(nested)).unwrap());
    }
    for codebook in Codebook::ALL {
        let new = |group| Packing::new(Bits::Four, group, Scales::Codebook(codebook)).ok();
        all.extend([16, 32, 64, 128].into_iter().filter_map(new));
    }
    all
}

fn half_bits(float: Float, value: f32) -> u32 {
    match float {
        Float::Bf16 => u32::from(bf16::from_f32(value).to_bits()),
        _ => u32::from(f16::from_f32(value).to_bits()),
    }
}

/// Random words of a row's scales.
fn scale_words(packing: Packing, columns: usize, random: &mut Random) -> Vec<u32> {
    let groups = columns / packing.group();
    let blocks = columns / Nested::SUPER_BLOCK;
    let scale = |random: &mut Random| 0.01 + 0.05 * random.float();
    match packing.scales() {
        Scales::Codebook(Codebook::Mxfp4) => {
            let exponents: Vec<u32> = (0..groups).map(|_| 118 + random.bits() % 8).collect();
            let word = |four: &[u32]| four.iter().rev().fold(0, |word, byte| word << 8 | byte);
            exponents.chunks(4).map(word).collect()
        }
        Scales::Centred(Float::F32) | Scales::Codebook(Codebook::Nf4(Float::F32)) => {
            (0..groups).map(|_| scale(random).to_bits()).collect()
        }
        Scales::Affine(Float::F32) => (0..2 * groups).map(|_| scale(random).to_bits()).collect(),
        Scales::Centred(float) | Scales::Affine(float) | Scales::Codebook(Codebook::Nf4(float)) => {
            (0..packing.scale_words(columns))
                .map(|_| half_bits(float, scale(random)) | half_bits(float, scale(random)) << 16)
                .collect()
        }
        Scales::Nested(nested) => {
            let mut factors = Vec::new();
            let mut words = Vec::new();
            for _ in 0..blocks {
                let factor =
                    half_bits(Float::F16, scale(random)) | half_bits(Float::F16, 0.02) << 16;
                let integers: [u8; 16] = std::array::from_fn(|_| random.bits() as u8);
                match nested {
                    Nested::MinimumsFour => {
                        words.push(factor);
                        words.extend((0..4).map(|_| random.bits()));
                    }
                    Nested::MinimumsSix => {
                        words.push(factor);
                        words.extend(pack_six_bits(&integers));
                    }
                    Nested::CentredSix => words.extend(pack_six_bits(&integers)),
                    Nested::CentredEight => words.extend((0..4).map(|_| random.bits())),
                }
                if nested.centred() {
                    factors.push(factor & 0xFFFF);
                }
            }
            let pairs = factors.chunks(2).map(|two| two[0] | two.get(1).unwrap_or(&0) << 16);
            words.extend(pairs);
            words
        }
    }
}

/// A weight and everything known about it.
pub struct Stored {
    pub rows: usize,
    pub columns: usize,
    data: Data,
    /// `[rows, columns]`.
    pub values: Vec<f32>,
}

enum Data {
    /// Begins at `[1..]`, so that floats are at odd addresses.
    Dense(Float, Vec<u8>),
    /// Codes, scales, biases of all rows.
    Packed(Packing, Vec<u32>, Quantization),
}

/// A packed weight before it is packed: `[rows, columns]`, `[rows, groups]` twice.
pub struct Quantization {
    pub codes: Vec<u8>,
    pub scales: Vec<(f32, Option<f32>)>,
}

impl Stored {
    pub fn packed(packing: Packing, rows: usize, columns: usize, random: &mut Random) -> Self {
        let scales = |random: &mut Random| scale_words(packing, columns, random);
        Self::with(packing, rows, columns, random, scales, |random| random.bits() as u8)
    }

    /// All codes are the same.
    pub fn packed_with_codes(
        packing: Packing,
        rows: usize,
        columns: usize,
        random: &mut Random,
        code: u8,
    ) -> Self {
        let scales = |random: &mut Random| scale_words(packing, columns, random);
        Self::with(packing, rows, columns, random, scales, |_| code)
    }

    /// Each group of a row has another scale: 255 groups have all.
    pub fn mxfp4_of_all_scales(rows: usize, columns: usize, random: &mut Random) -> Self {
        let scales = Scales::Codebook(Codebook::Mxfp4);
        let packing = Packing::new(Bits::Four, Codebook::MXFP4_GROUP, scales).unwrap();
        let words: Vec<u32> = (0..packing.scale_words(columns) as u32)
            .map(|n| u32::from_le_bytes([0, 1, 2, 3].map(|byte| (4 * n + byte) as u8)))
            .collect();
        let codes = |random: &mut Random| random.bits() as u8;
        Self::with(packing, rows, columns, random, |_| words.clone(), codes)
    }

    fn with(
        packing: Packing,
        rows: usize,
        columns: usize,
        random: &mut Random,
        scale_words: impl Fn(&mut Random) -> Vec<u32>,
        code: impl Fn(&mut Random) -> u8,
    ) -> Self {
        let row_words = packing.row_words(columns);
        let mask = ((1u32 << packing.bits().count()) - 1) as u8;
        let mut packed = Vec::new();
        let mut values = vec![0.0; rows * columns];
        let mut quantization = Quantization { codes: Vec::new(), scales: Vec::new() };
        for row in 0..rows {
            let codes: Vec<u8> = (0..columns).map(|_| code(random) & mask).collect();
            let scales = scale_words(random);
            let mut words = vec![0; row_words];
            packing.pack_row(&codes, &scales, &mut words);
            packing.unpack_row(&words, &mut values[row * columns..][..columns]);
            let groups = 0..columns / packing.group();
            quantization.scales.extend(groups.map(|group| packing.scale(&scales, columns, group)));
            quantization.codes.extend(codes);
            packed.extend(words);
        }
        let mut words = vec![0; packing.words(rows, columns)];
        let tiles = packed.chunks(row_words * LANES).zip(words.chunks_mut(row_words * LANES));
        tiles.for_each(|(rows, tile)| interleave(rows, row_words, tile));
        Self { rows, columns, data: Data::Packed(packing, words, quantization), values }
    }

    pub fn dense(float: Float, rows: usize, columns: usize, random: &mut Random) -> Self {
        let mut values = random.floats(rows * columns);
        let mut bytes = vec![0];
        for value in &mut values {
            match float {
                Float::F32 => bytes.extend(value.to_le_bytes()),
                Float::F16 => {
                    let half = f16::from_f32(*value);
                    *value = half.to_f32();
                    bytes.extend(half.to_le_bytes());
                }
                Float::Bf16 => {
                    let half = bf16::from_f32(*value);
                    *value = half.to_f32();
                    bytes.extend(half.to_le_bytes());
                }
            }
        }
        Self { rows, columns, data: Data::Dense(float, bytes), values }
    }

    pub fn matrix(&self) -> Matrix<'_> {
        let weight = match &self.data {
            Data::Dense(float, bytes) => Weight::Dense { float: *float, bytes: &bytes[1..] },
            Data::Packed(packing, words, _) => Weight::Packed { packing: *packing, words },
        };
        Matrix { weight, rows: self.rows, columns: self.columns }
    }

    /// `x · Wᵀ` in f64, `[T, rows]`, and what the products' magnitudes add up to.
    pub fn product(&self, x: &[f32]) -> Vec<(f64, f64)> {
        let mut out = Vec::new();
        for x in x.chunks_exact(self.columns) {
            for row in self.values.chunks_exact(self.columns) {
                let products = x.iter().zip(row).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let sums = products
                    .fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
                out.push(sums);
            }
        }
        out
    }

    /// The same for packed weights and activations rounded to integers up to `limit` (with NF4 they stay as they are), the
    /// magnitudes being those of the parts with and without bias, and the error of rounding x at most.
    pub fn rounded_product(&self, x: &[f32], limit: f32) -> Vec<(f64, f64, f64)> {
        let Data::Packed(packing, _, quantization) = &self.data else { panic!("it is dense") };
        let group = packing.group();
        let floats = matches!(packing.codebook(), Some(Codebook::Nf4(_)));
        let limit = (!floats).then_some(limit);
        let mut out = Vec::new();
        for x in x.chunks_exact(self.columns) {
            let rounded: Vec<(f64, Vec<f64>)> = x.chunks(group).map(|x| round(x, limit)).collect();
            for row in 0..self.rows {
                let (mut sum, mut size, mut error) = (0.0, 0.0, 0.0);
                for (n, (x_scale, x)) in rounded.iter().enumerate() {
                    let at = row * self.columns + n * group;
                    let (scale, bias) = quantization.scales[row * rounded.len() + n];
                    let levels = quantization.codes[at..][..group].iter();
                    let levels = levels.map(|code| f64::from(packing.level(*code)));
                    let products: Vec<f64> = levels.zip(x).map(|(level, x)| level * x).collect();
                    // Integers are added up exactly.
                    let magnitude = match floats {
                        true => products.iter().map(|product| product.abs()).sum::<f64>(),
                        false => products.iter().sum::<f64>().abs(),
                    };
                    let factor = f64::from(scale) * x_scale;
                    let total: f64 = x.iter().sum();
                    let second = f64::from(bias.unwrap_or(0.0)) * x_scale * total;
                    sum += factor * products.iter().sum::<f64>() + second;
                    size += factor.abs() * magnitude + second.abs();
                    let weights = self.values[at..][..group].iter();
                    let weights = weights.map(|w| f64::from(w.abs())).sum::<f64>();
                    error += if floats { 0.0 } else { x_scale / 2.0 * weights };
                }
                out.push((sum, size, error));
            }
        }
        out
    }
}

/// A group of x as integers and their scale; as it is without a limit.
fn round(x: &[f32], limit: Option<f32>) -> (f64, Vec<f64>) {
    let Some(limit) = limit else {
        return (1.0, x.iter().map(|x| f64::from(*x)).collect());
    };
    let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    if largest == 0.0 {
        return (0.0, vec![0.0; x.len()]);
    }
    let factor = limit / largest;
    let integers = x.iter().map(|x| f64::from((x * factor).round_ties_even()));
    (f64::from(largest / limit), integers.collect())
}
