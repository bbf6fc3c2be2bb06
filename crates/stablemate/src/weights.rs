//! From tensors on disk to buffers on the device, one at a time.

use crate::executor::ExecutorError;
use crate::{Error, Progress, ProgressSink, Quantize};
use rayon::prelude::*;
use stablemate_checkpoint::{Checkpoint, Encoding, Float, Tensor};
use stablemate_encodings::{LANES, Packing};
use stablemate_graph::ElementType;
use stablemate_models::{ModelError, ParamEntry, ParamTable, Storage};
use stablemate_runtime::{ALIGNMENT, Arena, Buffer, Device};

/// Tiles packed by one task: enough to outweigh handing the task over, few enough that released pages
/// keep up.
const TILES_PER_TASK: usize = 8;

/// Bytes of rows copied by one task.
const ROWS_PER_TASK_BYTES: usize = 1 << 20;

/// How weights are read.
pub(crate) struct Loading<'l> {
    pub device: &'l Device,
    pub checkpoint: &'l Checkpoint,
    pub quantize: Option<Quantize>,
    pub progress: &'l ProgressSink,
}

/// Loads all parameters in argument order. A tensor's pages of the file are released once it has
/// been copied, dequantised or packed, so the weights are never in memory twice.
pub(crate) fn load(loading: &Loading<'_>, params: &ParamTable) -> Result<Vec<Buffer>, Error> {
    let total = params.bytes() as u64;
    let mut done = 0;
    let mut buffers = Vec::with_capacity(params.entries().len());
    let room = params.bytes() + ALIGNMENT * params.entries().len();
    let mut arena = loading.device.arena(room)?;
    for entry in params.entries() {
        (loading.progress)(Progress::Load { done, total });
        let buffer = loading.one(entry, &mut arena)?;
        done += buffer.bytes() as u64;
        buffers.push(buffer);
    }
    (loading.progress)(Progress::Load { done: total, total });
    Ok(buffers)
}

impl Loading<'_> {
    fn one(&self, entry: &ParamEntry, arena: &mut Arena) -> Result<Buffer, Error> {
        let mut tensors = Vec::new();
        for piece in &entry.layout().0 {
            let tensor = self.checkpoint.tensor(&piece.tensor)?;
            let missing = || ModelError::MissingTensor {
                file: self.checkpoint.path().to_path_buf(),
                tensor: piece.tensor.clone(),
                expected: entry.ty.to_string(),
            };
            tensors.push(tensor.ok_or_else(missing)?);
        }
        let assembly = Assembly { entry, tensors };
        let buffer = match entry.storage {
            Storage::Packed(packing) => self.packed(&assembly, packing, arena)?,
            Storage::Dense(element) => self.dense(&assembly, element, arena)?,
        };
        assembly.tensors.iter().for_each(Tensor::release);
        Ok(buffer)
    }

    fn dense(
        &self,
        assembly: &Assembly<'_>,
        element: ElementType,
        arena: &mut Arena,
    ) -> Result<Buffer, Error> {
        let argument = assembly.entry.argument();
        arena.buffer(argument.element, &argument.sizes(), |bytes| {
            let row_bytes = assembly.columns() * element.bytes();
            if row_bytes > 0 && assembly.is_stored_as(element) {
                assembly.copy(row_bytes, bytes);
                return Ok(());
            }
            // Everything but f32 is held as it is stored.
            let floats = bytemuck::try_cast_slice_mut(bytes);
            assembly.decode(floats.map_err(|_| assembly.inconsistent())?)
        })
    }

    fn packed(
        &self,
        assembly: &Assembly<'_>,
        packing: Packing,
        arena: &mut Arena,
    ) -> Result<Buffer, Error> {
        for tensor in &assembly.tensors {
            if crate::source::storage(tensor, self.quantize)? != Storage::Packed(packing) {
                return Err(assembly.inconsistent());
            }
        }
        let argument = assembly.entry.argument();
        let tile_words = packing.row_words(assembly.columns()) * LANES;
        let sizes = assembly.entry.ty.sizes();
        // The rows of each matrix of a stack fill tiles of their own.
        let rows = sizes.iter().rev().nth(1).copied().unwrap_or_default();
        let tiles = Packing::tiles(rows).max(1);
        arena.buffer(argument.element, &argument.sizes(), |bytes| {
            let words: &mut [u32] = bytemuck::cast_slice_mut(bytes);
            let tasks = words.par_chunks_mut(tile_words * TILES_PER_TASK).enumerate();
            tasks.try_for_each(|(task, words)| {
                for (n, words) in words.chunks_mut(tile_words).enumerate() {
                    let tile = task * TILES_PER_TASK + n;
                    let (matrix, start) = (tile / tiles, tile % tiles * LANES);
                    let count = LANES.min(rows - start);
                    assembly.tile(packing, matrix * rows + start, count, words)?;
                }
                Ok::<(), Error>(())
            })
        })
    }
}

/// A parameter and the tensors of its layout's pieces.
struct Assembly<'a> {
    entry: &'a ParamEntry,
    tensors: Vec<Tensor<'a>>,
}

impl Assembly<'_> {
    /// Values in a row; a vector's elements are its rows.
    fn columns(&self) -> usize {
        let sizes = self.entry.ty.sizes();
        if sizes.len() < 2 { 1 } else { sizes.last().copied().unwrap_or(1) }
    }

    fn inconsistent(&self) -> Error {
        Error::Executor(ExecutorError::Inconsistent { tensor: self.entry.name.clone() })
    }

    /// The piece that holds a row, and the row's number in the piece's tensor.
    fn place(&self, mut row: usize) -> Option<(usize, usize)> {
        for (n, piece) in self.entry.layout().0.iter().enumerate() {
            let rows = piece.rows.len();
            if row < rows {
                return Some((n, piece.rows.at(row)));
            }
            row -= rows;
        }
        None
    }

    /// Whether the rows lie in the files as they are to be in memory.
    fn is_stored_as(&self, element: ElementType) -> bool {
        let wanted = match element {
            ElementType::F32 => Float::F32,
            ElementType::F16 => Float::F16,
            _ => Float::Bf16,
        };
        let pieces = self.entry.layout().0.iter().zip(&self.tensors);
        self.entry.ty.rank() > 1
            && pieces.into_iter().all(|(piece, tensor)| {
                let same = tensor.encoding() == Encoding::Dense(wanted);
                let row = tensor.row_len() == self.columns();
                same && row && !piece.transposed && tensor.dense_row(0).is_some()
            })
    }

    /// Copies rows. Copied although the files are mapped: pages of files are small, which costs a tenth
    /// of the speed at which they are read, for every token.
    fn copy(&self, row_bytes: usize, bytes: &mut [u8]) {
        let rows = ROWS_PER_TASK_BYTES.div_ceil(row_bytes);
        bytes.par_chunks_mut(rows * row_bytes).enumerate().for_each(|(task, bytes)| {
            let first = task * rows;
            let last = first + bytes.len() / row_bytes;
            for (row, out) in (first..).zip(bytes.chunks_mut(row_bytes)) {
                let place = self.place(row);
                let row = place.and_then(|(piece, row)| self.tensors.get(piece)?.dense_row(row));
                if let Some(row) = row.filter(|row| row.len() == out.len()) {
                    out.copy_from_slice(row);
                }
            }
            self.release(first, last);
        });
    }

    /// Decodes all rows to f32.
    fn decode(&self, floats: &mut [f32]) -> Result<(), Error> {
        let whole = self.entry.layout().tensor().is_some();
        if let (true, [tensor]) = (whole, &self.tensors[..]) {
            return Ok(tensor.decode(floats)?);
        }
        let columns = self.columns();
        let mut rest = floats;
        for (piece, tensor) in self.entry.layout().0.iter().zip(&self.tensors) {
            let count = piece.rows.len();
            let (out, others) = rest.split_at_mut((count * columns).min(rest.len()));
            rest = others;
            let mut all = vec![0.0; tensor.rows() * tensor.row_len()];
            tensor.decode(&mut all)?;
            let (inner, outer) = match piece.shape[..] {
                [.., inner, outer] if piece.transposed => (inner, outer),
                _ => (0, 0),
            };
            for (n, out) in out.chunks_mut(columns.max(1)).enumerate() {
                let row = piece.rows.at(n);
                let value = |column: usize| match piece.transposed {
                    false => row * columns + column,
                    true => (row / outer * inner + column) * outer + row % outer,
                };
                for (column, out) in out.iter_mut().enumerate() {
                    *out = all.get(value(column)).copied().unwrap_or_default();
                }
            }
        }
        Ok(())
    }

    /// Packs `count` rows from `first` on as a tile; missing rows are zero words.
    fn tile(
        &self,
        packing: Packing,
        first: usize,
        count: usize,
        words: &mut [u32],
    ) -> Result<(), Error> {
        if count < LANES {
            words.fill(0);
        }
        for lane in 0..count {
            let place = self.place(first + lane);
            let tensor = place.and_then(|(piece, row)| Some((self.tensors.get(piece)?, row)));
            let (tensor, row) = tensor.ok_or_else(|| self.inconsistent())?;
            if tensor.packing() == Some(packing) {
                tensor.pack_lane(row, lane, words)?;
            } else {
                tensor.quantize_lane(packing.bits(), packing.group(), row, lane, words)?;
            }
        }
        self.release(first, first + count);
        Ok(())
    }

    /// Lets the pages of rows go that were read, so that weights are never in memory twice. Rows of a
    /// tensor that is read in runs stay until the end.
    fn release(&self, first: usize, last: usize) {
        let (Some((piece, start)), Some((end_piece, end))) =
            (self.place(first), self.place(last.saturating_sub(1)))
        else {
            return;
        };
        if piece == end_piece
            && end + 1 - start == last - first
            && let Some(tensor) = self.tensors.get(piece)
        {
            tensor.release_rows(start..end + 1);
        }
    }
}
