//! One tensor of a checkpoint: its shape, where its bytes are, and how they become float32.

use std::fmt;
use std::iter;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use crate::dequantize::{self, Row};
use crate::encoding::Encoding;
use crate::error::Error;
use crate::file::MappedFile;
use crate::row_order::RowOrder;

/// How many values one task of a parallel decode should have at least: enough to outweigh handing
/// the task over.
const VALUES_PER_TASK: usize = 1 << 16;

/// What a file says about one tensor, checked when the checkpoint was opened: the bytes lie inside
/// the file and are exactly those of the shape, if the encoding is known.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Which of the checkpoint's files.
    pub(crate) file: usize,
    /// The name in the file.
    pub(crate) stored_name: String,
    pub(crate) shape: Vec<usize>,
    /// The encoding, or the name of a type that is not read.
    pub(crate) encoding: Result<Encoding, String>,
    pub(crate) bytes: Range<usize>,
    pub(crate) transform: Transform,
    /// Where scales and biases are, if they stand apart from the codes. Checked as `bytes` is.
    pub(crate) groups: Option<Groups>,
}

/// Scales of [`Encoding::Affine`] and [`Encoding::Mxfp4`], and biases of the former.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) scales: Place,
    pub(crate) biases: Option<Place>,
}

impl Groups {
    fn places(&self) -> impl Iterator<Item = &Place> {
        iter::once(&self.scales).chain(&self.biases)
    }
}

/// Bytes of one of the checkpoint's files.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) file: usize,
    pub(crate) bytes: Range<usize>,
}

impl Entry {
    /// Size of the stored form, scales and biases included.
    pub(crate) fn bytes_len(&self) -> usize {
        let groups = self.groups.iter().flat_map(Groups::places);
        let all = self.bytes.len() + groups.map(|place| place.bytes.len()).sum::<usize>();
        all / self.transform.spread()
    }
}

/// How the stored values differ from the Hugging Face ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// Not at all.
    None,
    /// Rows, or the elements of a vector, stand in another order.
    Rows(RowOrder),
    /// 1.0 was added. llama.cpp's converter does this to the norms of gemma and of qwen35, so that
    /// ggml multiplies by the weight where the family multiplies by one plus the weight.
    OneAdded,
}

impl Transform {
    /// Rows in the file for each row of the tensor.
    fn spread(self) -> usize {
        match self {
            Self::None | Self::OneAdded => 1,
            Self::Rows(order) => order.spread(),
        }
    }
}

/// A tensor of a [`crate::Checkpoint`]: a view into a memory-mapped file.
///
/// A *row* is a slice along the last dimension: `[out, in]` has `out` rows of `in` values, a
/// vector is one row, and `[a, b, c]` has `a * b` rows.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    name: &'a str,
    encoding: Encoding,
    entry: &'a Entry,
    files: &'a [MappedFile],
}

impl<'a> Tensor<'a> {
    pub(crate) fn new(
        name: &'a str,
        entry: &'a Entry,
        files: &'a [MappedFile],
    ) -> Result<Self, Error> {
        let encoding = entry.encoding.clone().map_err(|kind| {
            let message = format!(
                "stored as {kind}, which is not read; F32, F16, BF16 and, in GGUF, Q4_0, Q4_1, Q5_0, Q5_1, \
                 Q8_0, Q2_K to Q6_K and MXFP4 are, and weights of MLX's modes affine and mxfp4"
            );
            Error::tensor(path_of(files, entry), &entry.stored_name, message)
        })?;
        Ok(Self { name, encoding, entry, files })
    }

    /// The Hugging Face name.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// The extents in Hugging Face's order: row-major, so the last one is contiguous.
    pub fn shape(&self) -> &'a [usize] {
        &self.entry.shape
    }

    /// How the values are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Size of the stored form in bytes, scales and biases included.
    pub fn bytes_len(&self) -> usize {
        self.entry.bytes_len()
    }

    /// Values in a row: the last extent, or 1 for a scalar.
    pub fn row_len(&self) -> usize {
        self.shape().last().copied().unwrap_or(1)
    }

    /// Number of rows: the product of the extents before the last.
    pub fn rows(&self) -> usize {
        // The product was checked when the file was opened.
        self.shape().iter().rev().skip(1).product()
    }

    /// The little-endian floats exactly as they lie in the file, if that is what the tensor is:
    /// `None` for block types, and where values are changed or reordered on the way out. The slice
    /// need not be aligned.
    pub fn dense_bytes(&self) -> Option<&'a [u8]> {
        match (self.encoding, self.entry.transform) {
            (Encoding::Dense(_), Transform::None) => Some(self.stored().values),
            _ => None,
        }
    }

    /// The little-endian floats of one row of a matrix (or stack of matrices) as they lie in the file, if they are that
    /// row's: `None` for block types, and where values are changed on the way out. Unlike for
    /// [`Self::dense_bytes`], rows may be stored in another order.
    pub fn dense_row(&self, row: usize) -> Option<&'a [u8]> {
        let kept = matches!(self.entry.transform, Transform::None | Transform::Rows(_));
        let dense = matches!(self.encoding, Encoding::Dense(_));
        let is_row = self.shape().len() > 1 && row < self.rows();
        (dense && kept && is_row).then(|| self.stored_row(row).values)
    }

    /// Decodes some rows to float32. `out` has `rows.len() * row_len()` values.
    ///
    /// # Errors
    /// [`Error::Request`] if the rows do not exist or `out` has another length; [`Error::Tensor`] if a scale of MXFP4 is
    /// no number.
    pub fn decode_rows(&self, rows: Range<usize>, out: &mut [f32]) -> Result<(), Error> {
        if rows.start > rows.end || rows.end > self.rows() {
            let message = format!("rows {rows:?} of {} were asked for", self.rows());
            return Err(Error::request(self.name, message));
        }
        let row_len = self.row_len();
        // Cannot overflow: not more than the values of the whole tensor.
        if out.len() != rows.len() * row_len {
            let message =
                format!("{} rows of {row_len} values into {} floats", rows.len(), out.len());
            return Err(Error::request(self.name, message));
        }
        if row_len == 0 {
            return Ok(());
        }
        for (row, out) in rows.zip(out.chunks_exact_mut(row_len)) {
            self.check_scales(row)?;
            self.decode_row(row, out);
        }
        Ok(())
    }

    /// Decodes the whole tensor to float32, in parallel. `out` has as many values as the tensor.
    ///
    /// # Errors
    /// As [`Self::decode_rows`].
    pub fn decode(&self, out: &mut [f32]) -> Result<(), Error> {
        let row_len = self.row_len().max(1);
        if out.len() != self.rows() * self.row_len() {
            return self.decode_rows(0..self.rows(), out);
        }
        let rows_per_task = VALUES_PER_TASK.div_ceil(row_len);
        out.par_chunks_mut(rows_per_task * row_len).enumerate().try_for_each(|(task, out)| {
            let start = task * rows_per_task;
            self.decode_rows(start..start + out.len() / row_len, out)
        })
    }

    /// Tells the system that the stored bytes are not needed any more for now, so that their pages
    /// leave memory. Reading the tensor again is fine: it comes from the file again.
    pub fn release(&self) {
        for (file, bytes) in self.places() {
            file.release(bytes);
        }
    }

    /// The same as [`Self::release`] for some rows alone, so that what was made of them is not kept twice. Rows
    /// that do not exist are passed over.
    pub fn release_rows(&self, rows: Range<usize>) {
        let all = self.rows();
        let (mut start, mut end) = (rows.start.min(all), rows.end.min(all));
        if let Transform::Rows(order) = self.entry.transform {
            // Rows of a group are stored among each other: the pages of whole groups are released.
            let Some(group) = order.local(all) else { return };
            (start, end) = (start / group * group, end.next_multiple_of(group).min(all));
        }
        for (file, bytes) in self.places() {
            // Every kind of bytes has the same number for each row.
            let row = bytes.len() / all.max(1);
            let rows = bytes.start + start * row..bytes.start + end * row;
            file.release(rows);
        }
    }

    /// Whether two tensors are stored alike: shape, encoding, and each byte. Such tensors have the same values.
    pub fn stored_like(&self, other: &Tensor<'_>) -> bool {
        let (one, two) = (self.stored(), other.stored());
        self.shape() == other.shape()
            && self.encoding == other.encoding
            && self.entry.transform == other.entry.transform
            && (one.values, one.scales, one.biases) == (two.values, two.scales, two.biases)
    }

    /// The file that holds the values.
    pub(crate) fn path(&self) -> &'a Path {
        path_of(self.files, self.entry)
    }

    pub(crate) fn transform(&self) -> Transform {
        self.entry.transform
    }

    /// The files and ranges of all that is stored: values, scales, biases.
    fn places(&self) -> impl Iterator<Item = (&'a MappedFile, Range<usize>)> {
        let groups = self.entry.groups.iter().flat_map(Groups::places);
        let groups = groups.map(|place| (place.file, &place.bytes));
        let places = iter::once((self.entry.file, &self.entry.bytes)).chain(groups);
        places.filter_map(|(file, bytes)| Some((self.files.get(file)?, bytes.clone())))
    }

    /// All that is stored.
    fn stored(&self) -> Row<'a> {
        // Never empty-handed: the ranges were checked when the files were opened.
        let mut parts = self.places().filter_map(|(file, bytes)| file.bytes().get(bytes));
        let mut part = || parts.next().unwrap_or_default();
        Row { values: part(), scales: part(), biases: part() }
    }

    /// What is stored of the row that is `row` to the outside.
    pub(crate) fn stored_row(&self, row: usize) -> Row<'a> {
        let row = match self.entry.transform {
            Transform::Rows(order) if self.shape().len() > 1 => order.stored(row, self.rows()),
            _ => row,
        };
        let rows = self.rows().max(1) * self.entry.transform.spread();
        let part = |bytes: &'a [u8]| {
            let length = bytes.len() / rows;
            bytes.get(row * length..(row + 1) * length).unwrap_or_default()
        };
        let Row { values, scales, biases } = self.stored();
        Row { values: part(values), scales: part(scales), biases: part(biases) }
    }

    /// That the scales of a row are numbers. Of the encodings whose scales are floats, whoever computes sees it.
    pub(crate) fn check_scales(&self, row: usize) -> Result<(), Error> {
        let Some(group) = dequantize::nan_scale(self.encoding, self.stored_row(row)) else {
            return Ok(());
        };
        let message = format!(
            "row {row}: the scale of group {group} is 255, the NaN of E8M0; 0 to 254 are numbers: the file is damaged"
        );
        Err(Error::tensor(self.path(), &self.entry.stored_name, message))
    }

    /// `row < self.rows()` and `out.len() == self.row_len() > 0`.
    fn decode_row(&self, row: usize, out: &mut [f32]) {
        match self.entry.transform {
            Transform::OneAdded => {
                dequantize::decode(self.encoding, self.stored_row(row), out);
                out.iter_mut().for_each(|value| *value -= 1.0);
            }
            Transform::Rows(order) if self.shape().len() == 1 => {
                let mut stored = vec![0.0; out.len()];
                dequantize::decode(self.encoding, self.stored_row(row), &mut stored);
                let count = out.len();
                for (place, value) in out.iter_mut().enumerate() {
                    *value = stored.get(order.stored(place, count)).copied().unwrap_or_default();
                }
            }
            Transform::None | Transform::Rows(_) => {
                dequantize::decode(self.encoding, self.stored_row(row), out);
            }
        }
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.name, self.shape(), self.encoding)
    }
}

/// The file of an entry; entries are only made for files there are.
fn path_of<'a>(files: &'a [MappedFile], entry: &Entry) -> &'a Path {
    files.get(entry.file).map_or(Path::new(""), MappedFile::path)
}
