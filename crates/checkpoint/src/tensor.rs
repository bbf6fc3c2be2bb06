//! One tensor of a checkpoint: its shape, where its bytes are, and how they become float32.

use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use crate::dequantize;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::file::MappedFile;

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
}

/// How the stored values differ from the Hugging Face ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transform {
    /// Not at all.
    None,
    /// The output rows of each of this many heads alternate between the first and the second half
    /// of the head: stored row `2j + t` of a head is row `t * half + j`. llama.cpp's converter does
    /// this to the query and key projections of llama, because ggml rotates neighbours.
    InterleavedHeads(usize),
    /// 1.0 was added. llama.cpp's converter does this to gemma's norms, so that ggml multiplies by
    /// the weight where gemma multiplies by one plus the weight.
    OneAdded,
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
    file: &'a MappedFile,
}

impl<'a> Tensor<'a> {
    pub(crate) fn new(
        name: &'a str,
        entry: &'a Entry,
        file: &'a MappedFile,
    ) -> Result<Self, Error> {
        let encoding = entry.encoding.clone().map_err(|kind| {
            let message = format!(
                "stored as {kind}, which is not read; F32, F16, BF16 and, in GGUF, Q4_0, Q4_1, Q5_0, Q5_1, \
                 Q8_0 and Q2_K to Q6_K are"
            );
            Error::tensor(file.path(), &entry.stored_name, message)
        })?;
        Ok(Self { name, encoding, entry, file })
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

    /// Size of the stored form in bytes.
    pub fn bytes_len(&self) -> usize {
        self.entry.bytes.len()
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
            (Encoding::Dense(_), Transform::None) => Some(self.stored()),
            _ => None,
        }
    }

    /// Decodes some rows to float32. `out` has `rows.len() * row_len()` values.
    ///
    /// # Errors
    /// [`Error::Request`] if the rows do not exist or `out` has another length.
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
            self.decode_row(row, out);
        }
        Ok(())
    }

    /// Decodes the whole tensor to float32, in parallel. `out` has as many values as the tensor.
    ///
    /// # Errors
    /// [`Error::Request`] if `out` has another length.
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
        self.file.release(self.entry.bytes.clone());
    }

    fn stored(&self) -> &'a [u8] {
        // Never empty-handed: the range was checked when the file was opened.
        self.file.bytes().get(self.entry.bytes.clone()).unwrap_or_default()
    }

    /// `row < self.rows()` and `out.len() == self.row_len() > 0`.
    fn decode_row(&self, row: usize, out: &mut [f32]) {
        match self.entry.transform {
            Transform::None => self.decode_stored_row(row, out),
            Transform::OneAdded => {
                self.decode_stored_row(row, out);
                out.iter_mut().for_each(|value| *value -= 1.0);
            }
            Transform::InterleavedHeads(heads) if self.shape().len() > 1 => {
                self.decode_stored_row(interleaved(row, self.rows(), heads), out);
            }
            Transform::InterleavedHeads(heads) => {
                let mut stored = vec![0.0; out.len()];
                self.decode_stored_row(row, &mut stored);
                let count = out.len();
                for (place, value) in out.iter_mut().enumerate() {
                    *value =
                        stored.get(interleaved(place, count, heads)).copied().unwrap_or_default();
                }
            }
        }
    }

    fn decode_stored_row(&self, row: usize, out: &mut [f32]) {
        let bytes = self.bytes_len() / self.rows().max(1);
        let start = row * bytes;
        let stored = self.stored().get(start..start + bytes).unwrap_or_default();
        dequantize::decode(self.encoding, stored, out);
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {:?} {}", self.name, self.shape(), self.encoding)
    }
}

/// Where row `row` of `rows`, which belong to `heads` heads, is stored. The heads divide the rows
/// into even groups: checked when the file was opened.
fn interleaved(row: usize, rows: usize, heads: usize) -> usize {
    let head_rows = rows / heads.max(1);
    let half = (head_rows / 2).max(1);
    let within = row % head_rows.max(1);
    row - within + 2 * (within % half) + within / half
}

#[cfg(test)]
mod tests {
    use super::interleaved;

    #[test]
    fn heads_are_interleaved() {
        // Two heads of six rows: the stored order of (first half, second half) pairs.
        let stored: Vec<usize> = (0..12).map(|row| interleaved(row, 12, 2)).collect();
        assert_eq!(stored, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }
}
