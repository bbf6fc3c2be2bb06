//! Packed rows of a tensor, from its own encoding or quantised on the way.

use std::cell::Cell;
use std::ops::Range;

use stablemate_encodings::quantize::quantize_row;
use stablemate_encodings::{Bits, LANES, Packing, Scales};

use super::{codes_and_scales, units};
use crate::encoding::Encoding;
use crate::error::Error;
use crate::tensor::{Tensor, Transform};

/// What a thread needs to pack rows, kept from one to the next.
#[derive(Default)]
struct Scratch {
    values: Vec<f32>,
    codes: Vec<u8>,
    scales: Vec<u32>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Tensor<'_> {
    /// How the tensor's rows are kept in memory: `None` for floats, for anything but matrices (and stacks of
    /// them), and where values are changed on the way out, so that no packed row could have them.
    pub fn packing(&self) -> Option<Packing> {
        let kept = matches!(self.transform(), Transform::None | Transform::Rows(_));
        self.encoding().packing().filter(|_| kept && self.shape().len() > 1)
    }

    /// How rows of this matrix of floats are kept in memory when they are quantised at load: with scales and
    /// biases of the tensor's own type, as `mlx.core.quantize` does it.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is not a matrix of floats, or the group does not divide its rows or is not known.
    pub fn quantized_packing(&self, bits: Bits, group: usize) -> Result<Packing, Error> {
        let refuse = |message: String| Err(Error::tensor(self.path(), self.name(), message));
        let Encoding::Dense(float) = self.encoding() else {
            return refuse(format!("is quantised already ({})", self.encoding()));
        };
        if self.shape().len() < 2 {
            return refuse(format!("has shape {:?}: only matrices are quantised", self.shape()));
        }
        let packing = Packing::new(bits, group, Scales::Affine(float));
        let packing = packing.or_else(|error| refuse(error.to_string()))?;
        if !self.row_len().is_multiple_of(group) {
            let columns = self.row_len();
            return refuse(format!(
                "rows of {columns} values cannot be split into groups of {group}"
            ));
        }
        Ok(packing)
    }

    /// Packs one row as [`Self::packing`] says. `out` has [`Packing::row_words`] words.
    ///
    /// # Errors
    /// [`Error::Request`] if the tensor has no packing, the row does not exist, or `out` has another length;
    /// [`Error::Tensor`] if a scale is no number.
    pub fn pack_row(&self, row: usize, out: &mut [u32]) -> Result<(), Error> {
        let packing = self.packed()?;
        self.check(row..row.saturating_add(1), packing.row_words(self.row_len()), out)?;
        with_scratch(|scratch| self.stored_words(packing, row, scratch, 1, out))
    }

    /// Packs sixteen rows as a tile: rows `16 · tile` and on, missing ones as zero words. `out` has
    /// [`Packing::row_words`] · [`LANES`] words.
    ///
    /// # Errors
    /// As [`Self::pack_row`].
    pub fn pack_tile(&self, tile: usize, out: &mut [u32]) -> Result<(), Error> {
        let packing = self.packed()?;
        self.tile(packing, tile, out, |row, scratch, words| {
            self.stored_words(packing, row, scratch, LANES, words)
        })
    }

    /// Packs one row into place `lane` of a tile: word `n` goes to word `n · LANES + lane` of `tile`, which has
    /// [`Packing::row_words`] · [`LANES`] words.
    ///
    /// # Errors
    /// As [`Self::pack_row`].
    pub fn pack_lane(&self, row: usize, lane: usize, tile: &mut [u32]) -> Result<(), Error> {
        let packing = self.packed()?;
        let words = packing.row_words(self.row_len()) * LANES;
        self.check(row..row.saturating_add(1), words, tile)?;
        let lane = tile.get_mut(lane..).unwrap_or_default();
        with_scratch(|scratch| self.stored_words(packing, row, scratch, LANES, lane))
    }

    /// Quantises one row of floats into place `lane` of a tile: see [`Self::quantize_row`] and
    /// [`Self::pack_lane`].
    ///
    /// # Errors
    /// As [`Self::quantize_row`].
    pub fn quantize_lane(
        &self,
        bits: Bits,
        group: usize,
        row: usize,
        lane: usize,
        tile: &mut [u32],
    ) -> Result<(), Error> {
        let packing = self.quantized_packing(bits, group)?;
        let words = packing.row_words(self.row_len()) * LANES;
        self.check(row..row.saturating_add(1), words, tile)?;
        let lane = tile.get_mut(lane..).unwrap_or_default();
        with_scratch(|scratch| self.quantized_words(packing, row, scratch, LANES, lane))
    }

    /// Quantises one row of floats, with the values that [`crate::quantize_directory`] would write. `out` has
    /// the words of a row of [`Self::quantized_packing`].
    ///
    /// # Errors
    /// As [`Self::quantized_packing`] and [`Self::pack_row`]; values that are not finite.
    pub fn quantize_row(
        &self,
        bits: Bits,
        group: usize,
        row: usize,
        out: &mut [u32],
    ) -> Result<(), Error> {
        let packing = self.quantized_packing(bits, group)?;
        self.check(row..row.saturating_add(1), packing.row_words(self.row_len()), out)?;
        with_scratch(|scratch| self.quantized_words(packing, row, scratch, 1, out))
    }

    /// Quantises sixteen rows of floats as a tile: see [`Self::quantize_row`] and [`Self::pack_tile`].
    ///
    /// # Errors
    /// As [`Self::quantize_row`].
    pub fn quantize_tile(
        &self,
        bits: Bits,
        group: usize,
        tile: usize,
        out: &mut [u32],
    ) -> Result<(), Error> {
        let packing = self.quantized_packing(bits, group)?;
        self.tile(packing, tile, out, |row, scratch, words| {
            self.quantized_words(packing, row, scratch, LANES, words)
        })
    }

    fn packed(&self) -> Result<Packing, Error> {
        self.packing().ok_or_else(|| {
            let message =
                format!("{} of shape {:?} has no packed form", self.encoding(), self.shape());
            Error::request(self.name(), message)
        })
    }

    /// That the rows exist and `out` has this many words.
    fn check(&self, rows: Range<usize>, words: usize, out: &[u32]) -> Result<(), Error> {
        if rows.is_empty() || rows.end > self.rows() {
            let message = format!("rows {rows:?} of {} were asked for", self.rows());
            return Err(Error::request(self.name(), message));
        }
        if out.len() != words {
            let message = format!("{rows:?}: {words} words into {}", out.len());
            return Err(Error::request(self.name(), message));
        }
        Ok(())
    }

    fn tile(
        &self,
        packing: Packing,
        tile: usize,
        out: &mut [u32],
        pack: impl Fn(usize, &mut Scratch, &mut [u32]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let words = packing.row_words(self.row_len());
        let start = tile.saturating_mul(LANES);
        let end = start.saturating_add(LANES).min(self.rows());
        self.check(start..end, words * LANES, out)?;
        if end - start < LANES {
            out.fill(0);
        }
        with_scratch(|scratch| {
            (start..end).enumerate().try_for_each(|(lane, row)| {
                pack(row, scratch, out.get_mut(lane..).unwrap_or_default())
            })
        })
    }

    /// The packed words of a stored row, word `n` to place `n · stride`. The row exists and `out` fits.
    fn stored_words(
        &self,
        packing: Packing,
        row: usize,
        scratch: &mut Scratch,
        stride: usize,
        out: &mut [u32],
    ) -> Result<(), Error> {
        let columns = self.row_len();
        let Scratch { codes, scales, .. } = scratch;
        codes.resize(columns, 0);
        scales.clear();
        scales.resize(packing.scale_words(columns), 0);
        self.check_scales(row)?;
        codes_and_scales(self.encoding(), self.stored_row(row), codes, scales);
        put(packing, codes, scales, stride, out);
        Ok(())
    }

    /// The packed words of a quantised row of floats, word `n` to place `n · stride`. The row exists and `out`
    /// fits.
    fn quantized_words(
        &self,
        packing: Packing,
        row: usize,
        scratch: &mut Scratch,
        stride: usize,
        out: &mut [u32],
    ) -> Result<(), Error> {
        let columns = self.row_len();
        let Scratch { values, codes, scales, .. } = scratch;
        values.resize(columns, 0.0);
        codes.resize(columns, 0);
        scales.resize(packing.scale_words(columns), 0);
        self.decode_rows(row..row + 1, values)?;
        quantize_row(packing, values, codes, scales).map_err(|error| {
            Error::tensor(self.path(), self.name(), format!("row {row}: {error}"))
        })?;
        put(packing, codes, scales, stride, out);
        Ok(())
    }
}

/// Puts a packed row together as [`Packing::pack_row`] does, word `n` at place `n · stride`.
fn put(packing: Packing, codes: &[u8], scales: &[u32], stride: usize, out: &mut [u32]) {
    let at = (packing.code_words(codes.len()) * stride).min(out.len());
    let (code_words, scale_words) = out.split_at_mut(at);
    units::pack(packing.bits(), codes, stride, code_words);
    for (place, word) in scale_words.iter_mut().step_by(stride).zip(scales) {
        *place = *word;
    }
}

/// Runs `work` with this thread's scratch.
fn with_scratch<T>(work: impl FnOnce(&mut Scratch) -> T) -> T {
    let mut scratch = SCRATCH.take();
    let result = work(&mut scratch);
    SCRATCH.set(scratch);
    result
}
