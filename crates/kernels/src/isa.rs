//! Instruction sets: what kernels are compiled for, and what this machine has.

use std::fmt;

#[cfg(target_arch = "x86_64")]
use crate::amx;

/// A set of instructions that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// What every target has; the compiler vectorises as it can.
    Portable,
    /// x86-64 with AVX2, FMA and F16C.
    Avx2,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// The same with AVX-512 VBMI and the tiles of AMX, of int8: Intel's servers since Sapphire Rapids, on Linux.
    Amx,
}

impl Isa {
    /// All of them, from the most general to the fastest.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// The fastest that this machine runs.
    pub fn best() -> Self {
        Self::ALL.into_iter().rfind(|isa| isa.available()).unwrap_or(Self::Portable)
    }

    /// Whether this machine runs it.
    pub fn available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Amx => {
                Self::Avx512.available()
                    && is_x86_feature_detected!("avx512vbmi")
                    && amx::available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Amx => false,
        }
    }

    /// Whether it multiplies codes of so many bits, without a sign, by signed bytes; where it does not,
    /// [`Activations::Int8`](crate::Activations::Int8) only rounds to 8 bits.
    pub(crate) fn byte_products(self, bits: usize) -> bool {
        match self {
            Self::Avx512 | Self::Amx => true,
            // Sums of two products are kept in 16 bits.
            Self::Avx2 => bits < 8,
            Self::Portable => false,
        }
    }

    /// Whether these are added up in 32 bits at once.
    pub(crate) fn wide_byte_products(self) -> bool {
        matches!(self, Self::Avx512 | Self::Amx)
    }

    /// The name, as `--isa` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}
