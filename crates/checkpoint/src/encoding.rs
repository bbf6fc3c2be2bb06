//! How the values of a tensor are stored.

use std::fmt;

pub use stablemate_encodings::Float;
use stablemate_encodings::{Bits, Codebook, Nested, Packing, Scales};

/// How the values of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// One float after the other.
    Dense(Float),
    /// Blocks of GGUF: quantised values that share scales.
    Block(BlockType),
    /// MLX's mode "affine": `scale · code + bias`, where scale and bias are shared by a group of
    /// neighbours in a row and stand in tensors of their own.
    Affine {
        /// Width of a code.
        bits: Bits,
        /// Values that share scale and bias.
        group: usize,
        /// Type of scales and biases.
        scales: Float,
    },
    /// MLX's mode "mxfp4": see [`Codebook::Mxfp4`]; the scales stand in a tensor of their own.
    Mxfp4,
}

/// A block type of GGUF, as ggml defines it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockType {
    /// 32 values: one scale, 4-bit values around 8.
    Q4_0,
    /// 32 values: one scale, one minimum, 4-bit values.
    Q4_1,
    /// 32 values: one scale, 5-bit values around 16.
    Q5_0,
    /// 32 values: one scale, one minimum, 5-bit values.
    Q5_1,
    /// 32 values: one scale, signed 8-bit values.
    Q8_0,
    /// 256 values: 16 groups with 4-bit scales and minimums, 2-bit values.
    Q2K,
    /// 256 values: 16 groups with 6-bit scales, 3-bit values.
    Q3K,
    /// 256 values: 8 groups with 6-bit scales and minimums, 4-bit values.
    Q4K,
    /// 256 values: 8 groups with 6-bit scales and minimums, 5-bit values.
    Q5K,
    /// 256 values: 16 groups with 8-bit scales, 6-bit values around 32.
    Q6K,
    /// 32 values: one scale, a power of two, and 4-bit floats: see [`Codebook::Mxfp4`].
    Mxfp4,
}

impl Encoding {
    /// Number of values in the smallest unit that can be stored alone: 1 for floats.
    pub fn block_values(self) -> usize {
        match self {
            Self::Dense(_) => 1,
            Self::Block(block) => block.values(),
            Self::Affine { group, .. } => group,
            Self::Mxfp4 => BlockType::Mxfp4.values(),
        }
    }

    /// Bytes of that unit: codes and scales together.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::Dense(float) => float.bytes(),
            Self::Block(block) => block.bytes(),
            Self::Affine { bits, group, scales } => group * bits.count() / 8 + 2 * scales.bytes(),
            Self::Mxfp4 => BlockType::Mxfp4.bytes(),
        }
    }

    /// Bytes of a row of `values` values. `None` if the row does not consist of whole blocks, or
    /// is too long to count.
    pub fn row_bytes(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_values()) {
            return None;
        }
        (values / self.block_values()).checked_mul(self.block_bytes())
    }

    /// How rows of this encoding are kept in memory; `None` for floats.
    pub fn packing(self) -> Option<Packing> {
        match self {
            Self::Dense(_) => None,
            Self::Block(block) => block.packing(),
            Self::Affine { bits, group, scales } => {
                Packing::new(bits, group, Scales::Affine(scales)).ok()
            }
            Self::Mxfp4 => BlockType::Mxfp4.packing(),
        }
    }
}

impl BlockType {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q2K,
        Self::Q3K,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
        Self::Mxfp4,
    ];

    /// Values in a block.
    pub fn values(self) -> usize {
        match self {
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 | Self::Mxfp4 => 32,
            Self::Q2K | Self::Q3K | Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
            Self::Mxfp4 => 17,
        }
    }

    /// How rows are kept in memory.
    fn packing(self) -> Option<Packing> {
        let (bits, group, scales) = match self {
            Self::Q4_0 => (Bits::Four, 32, Scales::Centred(Float::F16)),
            Self::Q4_1 => (Bits::Four, 32, Scales::Affine(Float::F16)),
            Self::Q5_0 => (Bits::Five, 32, Scales::Centred(Float::F16)),
            Self::Q5_1 => (Bits::Five, 32, Scales::Affine(Float::F16)),
            Self::Q8_0 => (Bits::Eight, 32, Scales::Centred(Float::F16)),
            Self::Q2K => (Bits::Two, 16, Scales::Nested(Nested::MinimumsFour)),
            Self::Q3K => (Bits::Three, 16, Scales::Nested(Nested::CentredSix)),
            Self::Q4K => (Bits::Four, 32, Scales::Nested(Nested::MinimumsSix)),
            Self::Q5K => (Bits::Five, 32, Scales::Nested(Nested::MinimumsSix)),
            Self::Q6K => (Bits::Six, 16, Scales::Nested(Nested::CentredEight)),
            Self::Mxfp4 => (Bits::Four, 32, Scales::Codebook(Codebook::Mxfp4)),
        };
        Packing::new(bits, group, scales).ok()
    }

    /// The name in GGUF: `Q4_0`, `Q4_K`, ….
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q2K => "Q2_K",
            Self::Q3K => "Q3_K",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Mxfp4 => "MXFP4",
        }
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Dense(float) => float.fmt(formatter),
            Self::Block(block) => block.fmt(formatter),
            Self::Affine { bits, group, scales } => {
                write!(formatter, "MLX {}-bit group {group} {scales}", bits.count())
            }
            Self::Mxfp4 => formatter.pad("MLX MXFP4"),
        }
    }
}
