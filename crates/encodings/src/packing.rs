//! What a packing is: bits per code, codes per group, and the form of the scales.

use std::fmt;

use crate::codebook::Codebook;

/// Rows of a tile.
pub const LANES: usize = 16;

/// Codes of a unit.
pub const UNIT: usize = 32;

/// Values of a super-block of [`Scales::Nested`].
const SUPER_BLOCK: usize = Nested::SUPER_BLOCK;

/// A floating-point type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Float {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

/// Width of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Bits {
    /// 2 bits.
    Two,
    /// 3 bits: planes of 2 and 1.
    Three,
    /// 4 bits.
    Four,
    /// 5 bits: planes of 4 and 1.
    Five,
    /// 6 bits: planes of 4 and 2.
    Six,
    /// 8 bits.
    Eight,
}

/// Scales that are quantised themselves: ggml's K-quants. A super-block of 256 values has one or two f16
/// factors; each of its groups has a small integer scale.
///
/// Six-bit integers `v[0] … v[15]` of a super-block are held in three words: `v[n]`, `n < 15`, at bit
/// `6 · (n % 5)` of word `n / 5`; `v[15]` two bits at a time in bits 30–31 of the three words, the lowest
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nested {
    /// `w = d · s · q − m · t` with 4-bit `s` and `t`, groups of 16 (Q2_K). Per super-block one word with `d`
    /// (f16, low) and `m` (f16, high), then four words: byte `g` holds `s` of group `g` in its low half
    /// and `t` in its high half.
    MinimumsFour,
    /// The same with 6-bit `s` and `t`, groups of 32 (Q4_K, Q5_K): the word of `d` and `m`, then three words of
    /// six-bit integers: `s` of the eight groups, then `t` of the eight groups.
    MinimumsSix,
    /// `w = d · (s − 32) · (q − 2^(bits−1))` with 6-bit `s`, groups of 16 (Q3_K): per super-block three words
    /// of six-bit integers; after those of all super-blocks, `d` (f16) of two super-blocks per word.
    CentredSix,
    /// `w = d · s · (q − 2^(bits−1))` with signed 8-bit `s`, groups of 16 (Q6_K): per super-block four words,
    /// byte `g` of which is `s` of group `g`; then `d` as for [`Self::CentredSix`].
    CentredEight,
}

/// The form of a row's scales. `q` is the code, an unsigned integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scales {
    /// `w = scale · (q − 2^(bits−1))` (GGUF Q4_0, Q5_0, Q8_0). F32: a word per group. Half precision: two
    /// groups per word, the even one in the low half.
    Centred(Float),
    /// `w = scale · q + bias` (MLX; GGUF Q4_1, Q5_1). Half precision: a word per group, scale in the low and
    /// bias in the high half. F32: two words per group, scale first.
    Affine(Float),
    /// See [`Nested`].
    Nested(Nested),
    /// `w = scale · table[q]`: see [`Codebook`].
    Codebook(Codebook),
}

/// How a weight is quantised and packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    bits: Bits,
    group: usize,
    scales: Scales,
}

/// A combination that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackingError(String);

impl fmt::Display for PackingError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for PackingError {}

impl Float {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The name in safetensors and GGUF: `F32`, `F16`, `BF16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }
}

impl fmt::Display for Float {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl Bits {
    /// All widths.
    pub const ALL: [Self; 6] =
        [Self::Two, Self::Three, Self::Four, Self::Five, Self::Six, Self::Eight];

    /// The width `bits`, if it is one.
    pub fn new(bits: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|width| width.count() == bits)
    }

    /// Bits of a code; also the words that a unit of codes takes.
    pub fn count(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Three => 3,
            Self::Four => 4,
            Self::Five => 5,
            Self::Six => 6,
            Self::Eight => 8,
        }
    }

    /// Widths of the planes, of the lowest bits first.
    pub fn planes(self) -> &'static [usize] {
        match self {
            Self::Two => &[2],
            Self::Three => &[2, 1],
            Self::Four => &[4],
            Self::Five => &[4, 1],
            Self::Six => &[4, 2],
            Self::Eight => &[8],
        }
    }

    /// The code of zero where codes are centred: `2^(bits−1)`.
    pub fn centre(self) -> i32 {
        1 << (self.count() - 1)
    }
}

impl Nested {
    /// All forms.
    pub const ALL: [Self; 4] =
        [Self::MinimumsFour, Self::MinimumsSix, Self::CentredSix, Self::CentredEight];

    /// Values of a super-block.
    pub const SUPER_BLOCK: usize = 256;

    /// Words of a super-block, less the factor that stands behind those of all of them.
    pub fn block_words(self) -> usize {
        match self {
            Self::MinimumsFour => 5,
            Self::MinimumsSix | Self::CentredEight => 4,
            Self::CentredSix => 3,
        }
    }

    /// Codes of a group.
    pub fn group(self) -> usize {
        match self {
            Self::MinimumsSix => 32,
            Self::MinimumsFour | Self::CentredSix | Self::CentredEight => 16,
        }
    }

    /// Whether codes are centred, that is, whether there are no minimums.
    pub fn centred(self) -> bool {
        matches!(self, Self::CentredSix | Self::CentredEight)
    }
}

impl Packing {
    /// A packing of codes of `bits` in groups of `group`.
    ///
    /// # Errors
    /// Groups other than 16, 32, 64 and 128, and other than its own for nested scales and MXFP4; codebooks of codes of
    /// other than 4 bits.
    pub fn new(bits: Bits, group: usize, scales: Scales) -> Result<Self, PackingError> {
        if let Scales::Nested(nested) = scales
            && nested.group() != group
        {
            let message =
                format!("{nested:?} scales have groups of {}, not {group}", nested.group());
            return Err(PackingError(message));
        }
        if let Scales::Codebook(codebook) = scales {
            if bits != Bits::Four {
                let message = format!("{codebook:?} has codes of 4 bits, not {}", bits.count());
                return Err(PackingError(message));
            }
            if codebook == Codebook::Mxfp4 && group != Codebook::MXFP4_GROUP {
                let own = Codebook::MXFP4_GROUP;
                return Err(PackingError(format!("MXFP4 has groups of {own}, not {group}")));
            }
        }
        if ![16, 32, 64, 128].contains(&group) {
            return Err(PackingError(format!("groups of {group}; 16, 32, 64 and 128 are known")));
        }
        Ok(Self { bits, group, scales })
    }

    /// Width of a code.
    pub fn bits(self) -> Bits {
        self.bits
    }

    /// Codes that share a scale.
    pub fn group(self) -> usize {
        self.group
    }

    /// Form of the scales.
    pub fn scales(self) -> Scales {
        self.scales
    }

    /// Whether groups have a bias beside the scale.
    pub fn has_biases(self) -> bool {
        match self.scales {
            Scales::Centred(_) | Scales::Codebook(_) => false,
            Scales::Affine(_) => true,
            Scales::Nested(nested) => !nested.centred(),
        }
    }

    /// The table that codes are numbers of; `None` where they are the integers themselves.
    pub fn codebook(self) -> Option<Codebook> {
        match self.scales {
            Scales::Codebook(codebook) => Some(codebook),
            Scales::Centred(_) | Scales::Affine(_) | Scales::Nested(_) => None,
        }
    }

    /// What a code of this packing is worth before its group's scale and bias come to it: an entry of the codebook,
    /// or the integer, less [`Bits::centre`] where there are no biases.
    pub fn level(self, code: u8) -> f32 {
        match self.codebook() {
            Some(codebook) => codebook.values()[usize::from(code & 15)],
            None if self.has_biases() => f32::from(code),
            None => (i32::from(code) - self.bits.centre()) as f32,
        }
    }

    /// What a row's length must be a multiple of.
    pub fn granularity(self) -> usize {
        match self.scales {
            Scales::Nested(_) => SUPER_BLOCK,
            _ => self.group,
        }
    }

    /// Words of the codes of a row of `columns` values.
    pub fn code_words(self, columns: usize) -> usize {
        columns.div_ceil(UNIT) * self.bits.count()
    }

    /// Words of the scales of a row of `columns` values.
    pub fn scale_words(self, columns: usize) -> usize {
        let groups = columns / self.group;
        let blocks = columns / SUPER_BLOCK;
        match self.scales {
            Scales::Centred(Float::F32)
            | Scales::Affine(Float::F16 | Float::Bf16)
            | Scales::Codebook(Codebook::Nf4(Float::F32)) => groups,
            Scales::Centred(Float::F16 | Float::Bf16)
            | Scales::Codebook(Codebook::Nf4(Float::F16 | Float::Bf16)) => groups.div_ceil(2),
            Scales::Codebook(Codebook::Mxfp4) => groups.div_ceil(4),
            Scales::Affine(Float::F32) => 2 * groups,
            Scales::Nested(Nested::MinimumsFour) => 5 * blocks,
            Scales::Nested(Nested::MinimumsSix) => 4 * blocks,
            Scales::Nested(Nested::CentredSix) => 3 * blocks + blocks.div_ceil(2),
            Scales::Nested(Nested::CentredEight) => 4 * blocks + blocks.div_ceil(2),
        }
    }

    /// Words of a row of `columns` values.
    pub fn row_words(self, columns: usize) -> usize {
        self.code_words(columns) + self.scale_words(columns)
    }

    /// Tiles of `rows` rows.
    pub fn tiles(rows: usize) -> usize {
        rows.div_ceil(LANES)
    }

    /// Words of a weight `[rows, columns]`.
    pub fn words(self, rows: usize, columns: usize) -> usize {
        Self::tiles(rows) * self.row_words(columns) * LANES
    }
}

/// `q4 group 64 affine F16`.
impl fmt::Display for Packing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "q{} group {} ", self.bits.count(), self.group)?;
        match self.scales {
            Scales::Centred(float) => write!(formatter, "centred {float}"),
            Scales::Affine(float) => write!(formatter, "affine {float}"),
            Scales::Nested(Nested::MinimumsFour) => write!(formatter, "nested minimums 4"),
            Scales::Nested(Nested::MinimumsSix) => write!(formatter, "nested minimums 6"),
            Scales::Nested(Nested::CentredSix) => write!(formatter, "nested centred 6"),
            Scales::Nested(Nested::CentredEight) => write!(formatter, "nested centred 8"),
            Scales::Codebook(Codebook::Mxfp4) => write!(formatter, "MXFP4"),
            Scales::Codebook(Codebook::Nf4(float)) => write!(formatter, "NF4 {float}"),
        }
    }
}
