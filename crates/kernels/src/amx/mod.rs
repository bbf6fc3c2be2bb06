//! Intel's tiles (AMX): registers of up to sixteen rows of 64 bytes, and products of them. And what else machines that have them do.
//!
//! Sources: Intel's Instruction Set Extensions Programming Reference, chapter "Advanced Matrix Extensions"; Linux's
//! `Documentation/arch/x86/xstate.rst`, by which a process must ask before it uses them.

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod absent;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod convert;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub(crate) use absent::{Configured, available, begin, permute, quarter, split, store};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use convert::{permute, split};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use tiles::{Configured, available, begin, quarter, store};

/// The most rows of a tile.
pub(crate) const TILE_ROWS: usize = 16;

/// The most bytes of a tile's row.
pub(crate) const TILE_BYTES: usize = 64;

/// Operands of a step: tiles of activations and of weights of two times sixteen rows.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    /// `[planes, tokens, depth]`: see [`Planes`].
    pub a: *const u8,
    /// Bytes of a row of `a`.
    pub depth: usize,
    /// Bytes of a plane of `a`.
    pub plane: usize,
    /// `[2, depth / 4, 16, 4]`.
    pub b: *const u8,
}

/// What the planes of `a` hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planes {
    /// One plane of signed bytes; `b` has bytes. One sum, of i32.
    Bytes,
    /// Two: the upper bytes of 16-bit integers, which are signed, and the lower ones, which are not; `b` has bytes. Two sums, of i32.
    Split,
    /// Two, of bf16, as `b`. One sum of both, of f32.
    Floats,
}

impl Planes {
    /// How many there are.
    pub(crate) const fn count(self) -> usize {
        match self {
            Self::Bytes => 1,
            Self::Split | Self::Floats => 2,
        }
    }

    /// Bytes of an element.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Bytes | Self::Split => 1,
            Self::Floats => 2,
        }
    }
}
