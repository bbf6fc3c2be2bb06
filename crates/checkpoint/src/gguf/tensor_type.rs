//! The tensor types of ggml: numbers, names and sizes (`ggml.h`, gguf-py's `constants.py`).

use crate::encoding::{BlockType, Encoding, Float};

/// A tensor type that has a number in GGUF.
#[derive(Clone, Copy)]
pub(super) struct TensorType {
    number: u32,
    pub(super) name: &'static str,
    /// Values in a block.
    pub(super) values: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
}

/// Number, name, values in a block, bytes of a block. Numbers that ggml has withdrawn are absent.
const TYPES: &[(u32, &str, usize, usize)] = &[
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
];

impl TensorType {
    pub(super) fn from_number(number: u32) -> Option<Self> {
        TYPES.iter().find(|entry| entry.0 == number).map(|&(number, name, values, bytes)| Self {
            number,
            name,
            values,
            bytes,
        })
    }

    /// The encoding, if values of this type can be decoded.
    pub(super) fn encoding(self) -> Option<Encoding> {
        match self.number {
            0 => Some(Encoding::Dense(Float::F32)),
            1 => Some(Encoding::Dense(Float::F16)),
            30 => Some(Encoding::Dense(Float::Bf16)),
            _ => BlockType::ALL
                .into_iter()
                .find(|block| block.name() == self.name)
                .map(Encoding::Block),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_agree_with_the_encodings() {
        let mut read = 0;
        for kind in (0..100).filter_map(TensorType::from_number) {
            if let Some(encoding) = kind.encoding() {
                assert_eq!(encoding.to_string(), kind.name);
                assert_eq!(
                    (encoding.block_values(), encoding.block_bytes()),
                    (kind.values, kind.bytes)
                );
                read += 1;
            }
        }
        assert_eq!(read, 14);
        assert_eq!(TYPES.len(), (0..100).filter_map(TensorType::from_number).count());
    }
}
