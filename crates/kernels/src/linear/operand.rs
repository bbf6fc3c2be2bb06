//! A target's matrix as tasks see it: what is the same for all its blocks of rows is worked out once.

use stablemate_encodings::{Float, LANES, Packing, UNIT};

use super::form::Form;
use super::micro::{BLOCK, TILES};
use super::quantize::Quantized;
use super::{Matrix, Weight};

/// A matrix with what it is multiplied by.
#[derive(Clone, Copy)]
pub(super) enum Operand<'a> {
    Packed(Packed<'a>),
    /// Floats, by x as it is.
    Dense {
        float: Float,
        bytes: &'a [u8],
        rows: usize,
    },
}

/// A packed matrix.
#[derive(Clone, Copy)]
pub(super) struct Packed<'a> {
    pub packing: Packing,
    words: &'a [u32],
    pub form: Form,
    /// The activations in this form.
    pub x: &'a Quantized,
    pub groups: usize,
    /// Units of a row, at least one.
    pub units: usize,
    tiles: usize,
    /// Words of a tile: first codes, then scales.
    pub tile_words: usize,
    code_words: usize,
}

impl<'a> Operand<'a> {
    /// Bytes of the weights.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Packed(packed) => size_of_val(packed.words),
            Self::Dense { bytes, .. } => bytes.len(),
        }
    }

    /// A matrix by activations, which are there in `form` if it is packed.
    pub(super) fn new(matrix: Matrix<'a>, form: Option<(Form, &'a Quantized)>) -> Option<Self> {
        let Matrix { weight, rows, columns } = matrix;
        match (weight, form) {
            (Weight::Dense { float, bytes }, _) => Some(Self::Dense { float, bytes, rows }),
            (Weight::Packed { packing, words }, Some((form, x))) => Some(Self::Packed(Packed {
                packing,
                words,
                form,
                x,
                groups: columns / packing.group(),
                units: columns.div_ceil(UNIT).max(1),
                tiles: Packing::tiles(rows),
                tile_words: packing.row_words(columns) * LANES,
                code_words: packing.code_words(columns) * LANES,
            })),
            (Weight::Packed { .. }, None) => None,
        }
    }
}

impl<'a> Packed<'a> {
    /// The words of tile `n` of a block of rows; those of the last tile where there is none.
    pub(super) fn tile(&self, rows: usize, n: usize) -> &'a [u32] {
        let tile = (rows * TILES + n).min(self.tiles - 1);
        &self.words[tile * self.tile_words..][..self.tile_words]
    }

    /// The same, of its scales.
    pub(super) fn scales(&self, rows: usize, n: usize) -> &'a [u32] {
        &self.tile(rows, n)[self.code_words..]
    }

    /// The words from a block of rows on.
    pub(super) fn from(&self, rows: usize) -> &'a [u32] {
        &self.words[(rows * TILES * self.tile_words).min(self.words.len())..]
    }

    /// Scales of a block of rows, when decoded.
    pub(super) fn block_scales(&self) -> usize {
        self.groups * BLOCK
    }
}
