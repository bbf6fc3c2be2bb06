//! In which form activations are multiplied.

use stablemate_encodings::{Codebook, Packing, UNIT};

use super::decode::{E2m1, byte_stride, quad_pairs};
use super::micro::{BYTES, PAIRS, SPLIT};
use super::tiles::planes;
use crate::amx::Planes;
use crate::isa::Isa;
use crate::kernels::{Activations, Kernels};

/// What the words depend on besides x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub group: usize,
    /// What is subtracted from what codes stand for.
    pub centre: i32,
    /// The largest integer.
    pub limit: i32,
    layout: Layout,
    /// The stride of [`quad_pairs`], where bytes are in the order of the weights' bytes; else 0.
    stride: usize,
    /// How tiles have them, if there are tiles.
    pub planes: Planes,
    /// Whether few tokens' pairs are split into bytes: fewer instructions where there are products of bytes.
    split: bool,
}

/// What a word holds, but for tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// A pair of i16.
    Pairs,
    /// Four bytes, in the order of the weights' bytes.
    Bytes,
    /// A value as it is: there are no integers.
    Floats,
}

impl Form {
    /// That of products with weights of a packing.
    pub(super) fn new(kernels: &Kernels, packing: Packing) -> Self {
        let int8 = kernels.activations() == Activations::Int8;
        let count = packing.bits().count();
        let bytes = int8 && kernels.isa().byte_products(count);
        let group = packing.group();
        let centre = match packing.codebook() {
            Some(Codebook::Nf4(_)) => {
                let (layout, planes) = (Layout::Floats, Planes::Bytes);
                let split = false;
                return Self { group, centre: 0, limit: 0, layout, stride: 0, planes, split };
            }
            Some(Codebook::Mxfp4) => E2m1::CENTRE,
            None if packing.has_biases() => 0,
            None => packing.bits().centre(),
        };
        let layout = if bytes { Layout::Bytes } else { Layout::Pairs };
        let largest = centre.max((1 << count) - 1 - centre);
        let planes = if bytes { Planes::Bytes } else { planes(group, largest) };
        // Codes of eight bits are no signed bytes.
        let split = kernels.isa().wide_byte_products() && !int8 && count < 8;
        let ordered = bytes || split || kernels.isa() == Isa::Amx && planes == Planes::Split;
        let stride = if ordered { byte_stride(count) } else { 0 };
        Self { group, centre, limit: if int8 { 127 } else { 32767 }, layout, stride, planes, split }
    }

    /// Which values of a unit are the bytes of a quad.
    pub(super) fn quad(self, quad: usize) -> [usize; 4] {
        let (a, b) = quad_pairs(self.stride, quad);
        [2 * a, 2 * b, 2 * a + 1, 2 * b + 1]
    }

    /// How the words of a block of `width` tokens are to be multiplied.
    pub(super) fn words(self, width: usize) -> u8 {
        match self.layout {
            Layout::Bytes => BYTES,
            Layout::Pairs if self.split && width <= 2 => SPLIT,
            Layout::Pairs | Layout::Floats => PAIRS,
        }
    }

    /// Whether values stay as they are.
    pub(super) fn floats(self) -> bool {
        self.layout == Layout::Floats
    }

    /// Bytes of a value, two at least.
    pub(super) fn value_bytes(self, tiles: bool) -> usize {
        (self.unit_words(tiles) * 4 / UNIT).max(2)
    }

    /// Words of a unit of values, at most.
    pub(super) fn unit_words(self, tiles: bool) -> usize {
        match self.layout {
            Layout::Pairs if tiles => UNIT / 2 * self.planes.bytes(),
            Layout::Pairs => UNIT / 2,
            Layout::Bytes => UNIT / 4,
            Layout::Floats => UNIT,
        }
    }
}
