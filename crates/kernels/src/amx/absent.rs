//! Where there are no tiles: nothing here is ever called.

use super::{Planes, Step};

/// Nothing.
pub(crate) struct Configured;

impl Configured {
    /// # Safety
    /// None.
    pub(crate) unsafe fn new(_tokens: usize, _depth: usize) -> Self {
        Self
    }
}

/// They are not.
pub(crate) fn available() -> bool {
    false
}

/// Does nothing.
///
/// # Safety
/// None, as for all that follow.
pub(crate) unsafe fn begin(_planes: Planes) {}

pub(crate) unsafe fn quarter(_step: &Step, _planes: Planes, _signed: bool, _quarter: usize) {}

pub(crate) unsafe fn store(_sums: *mut i32, _planes: Planes) {}

pub(crate) unsafe fn permute(_values: &[i16; 32], _order: &[u8; 64]) -> [[i32; 4]; 4] {
    [[0; 4]; 4]
}

pub(crate) unsafe fn split(_values: &[i16; 16]) -> [[[i32; 4]; 2]; 2] {
    [[[0; 4]; 2]; 2]
}
