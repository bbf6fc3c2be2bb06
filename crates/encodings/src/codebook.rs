//! Codes that number the values of a table.

use crate::packing::Float;

/// A table of sixteen values for 4-bit codes, and how its scales are kept: `w = scale · table[q]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codebook {
    /// MXFP4 of OCP's Microscaling Formats 1.0: elements E2M1 (±0, 0.5, 1, 1.5, 2, 3, 4, 6), and for each group of 32 a
    /// scale E8M0, `2^(byte − 127)`: four bytes per word, the first group in the lowest byte. The byte 255 is the
    /// standard's NaN and has no place here: see [`Codebook::NAN_SCALE`]. Zero has no sign, as in ggml.
    Mxfp4,
    /// NF4 of QLoRA (Dettmers and others, 2023), with the values of bitsandbytes: quantiles of the normal
    /// distribution. A group's scale is its largest magnitude, kept as those of [`crate::Scales::Centred`] are.
    Nf4(Float),
}

impl Codebook {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::Mxfp4, Self::Nf4(Float::F32), Self::Nf4(Float::F16), Self::Nf4(Float::Bf16)];

    /// The scale of MXFP4 that is no number. Whoever packs refuses it; what reads it makes infinity of it.
    pub const NAN_SCALE: u8 = 255;

    /// Codes that share a scale of MXFP4.
    pub const MXFP4_GROUP: usize = 32;

    /// The values of the codes 0 … 15.
    pub const fn values(self) -> &'static [f32; 16] {
        match self {
            Self::Mxfp4 => &E2M1,
            Self::Nf4(_) => &NORMAL_FLOAT,
        }
    }

    /// What a scale of MXFP4 is worth.
    pub fn exponent(byte: u8) -> f32 {
        // Of the smallest, 2^-127, f32 has no normal number.
        f32::from_bits((u32::from(byte) << 23).max(1 << 22))
    }
}

const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// bitsandbytes 0.50, `functional.get_4bit_type("nf4")`; the same in appendix E of the paper.
const NORMAL_FLOAT: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// E2M1 by its definition: a sign, two bits of an exponent with the bias 1, one bit of a fraction.
    #[test]
    fn elements_of_mxfp4() {
        for (code, value) in Codebook::Mxfp4.values().iter().enumerate() {
            let (sign, exponent, fraction) = (code >> 3, code >> 1 & 3, (code & 1) as f32);
            let magnitude = match exponent {
                0 => fraction / 2.0,
                _ => (1.0 + fraction / 2.0) * 2f32.powi(exponent as i32 - 1),
            };
            assert_eq!(*value, if sign == 1 { -magnitude } else { magnitude });
            assert!(*value != 0.0 || value.is_sign_positive());
        }
    }

    #[test]
    fn scales_of_mxfp4() {
        for byte in 0..Codebook::NAN_SCALE {
            let expected = 2f64.powi(i32::from(byte) - 127);
            assert_eq!(f64::from(Codebook::exponent(byte)), expected);
        }
        assert!(!Codebook::exponent(Codebook::NAN_SCALE).is_finite());
    }

    /// The values as bitsandbytes writes them.
    #[test]
    fn values_of_nf4() {
        let expected = [
            -1.0,
            -0.6961928009986877,
            -0.5250730514526367,
            -0.39491748809814453,
            -0.28444138169288635,
            -0.18477343022823334,
            -0.09105003625154495,
            0.0,
            0.07958029955625534,
            0.16093020141124725,
            0.24611230194568634,
            0.33791524171829224,
            0.44070982933044434,
            0.5626170039176941,
            0.7229568362236023,
            1.0,
        ];
        assert_eq!(Codebook::Nf4(Float::F16).values().map(f64::from), expected);
    }
}
