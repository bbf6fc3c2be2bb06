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
        let Some(tensor) = self.checkpoint.tensor(&entry.name)? else {
            return Err(Error::Model(ModelError::MissingTensor {
                file: self.checkpoint.path().to_path_buf(),
                tensor: entry.name.clone(),
                expected: entry.ty.to_string(),
            }));
        };
        if crate::source::storage(&tensor, self.quantize)? != entry.storage {
            return Err(Error::Executor(ExecutorError::Inconsistent {
                tensor: entry.name.clone(),
            }));
        }
        match entry.storage {
            Storage::Packed(packing) => self.packed(entry, &tensor, packing, arena),
            Storage::Dense(element) => self.dense(entry, &tensor, element, arena),
        }
    }

    fn dense(
        &self,
        entry: &ParamEntry,
        tensor: &Tensor<'_>,
        element: ElementType,
        arena: &mut Arena,
    ) -> Result<Buffer, Error> {
        let argument = entry.argument();
        let row_bytes = tensor.row_len() * element.bytes();
        // Half precision is asked for only where it is stored (see `source::storage`).
        let same = element != ElementType::F32 || tensor.encoding() == Encoding::Dense(Float::F32);
        let as_stored = same && tensor.dense_row(0).is_some() && row_bytes > 0;
        let buffer = arena.buffer(argument.element, &argument.sizes(), |bytes| {
            if !as_stored {
                // Everything but f32 is held as it is stored.
                return tensor
                    .decode(bytemuck::try_cast_slice_mut(bytes).map_err(|_| {
                        Error::Executor(ExecutorError::Inconsistent { tensor: entry.name.clone() })
                    })?)
                    .map_err(Error::from);
            }
            // Copied although the file is mapped: pages of files are small, which costs a tenth of the
            // speed at which they are read, for every token.
            let rows = ROWS_PER_TASK_BYTES.div_ceil(row_bytes);
            bytes.par_chunks_mut(rows * row_bytes).enumerate().for_each(|(task, bytes)| {
                let first = task * rows;
                let count = bytes.len() / row_bytes;
                for (n, out) in bytes.chunks_mut(row_bytes).enumerate() {
                    if let Some(row) = tensor.dense_row(first + n).filter(|r| r.len() == out.len())
                    {
                        out.copy_from_slice(row);
                    }
                }
                tensor.release_rows(first..first + count);
            });
            Ok(())
        })?;
        tensor.release();
        Ok(buffer)
    }

    fn packed(
        &self,
        entry: &ParamEntry,
        tensor: &Tensor<'_>,
        packing: Packing,
        arena: &mut Arena,
    ) -> Result<Buffer, Error> {
        let argument = entry.argument();
        let tile_words = packing.row_words(tensor.row_len()) * LANES;
        let buffer = arena.buffer(argument.element, &argument.sizes(), |bytes| {
            let words: &mut [u32] = bytemuck::cast_slice_mut(bytes);
            let tasks = words.par_chunks_mut(tile_words * TILES_PER_TASK).enumerate();
            tasks.try_for_each(|(task, words)| {
                let first = task * TILES_PER_TASK;
                for (n, words) in words.chunks_mut(tile_words).enumerate() {
                    if tensor.packing() == Some(packing) {
                        tensor.pack_tile(first + n, words)?;
                    } else {
                        tensor.quantize_tile(packing.bits(), packing.group(), first + n, words)?;
                    }
                }
                let last = (first + TILES_PER_TASK) * LANES;
                tensor.release_rows(first * LANES..last.min(tensor.rows()));
                Ok::<(), Error>(())
            })
        })?;
        tensor.release();
        Ok(buffer)
    }
}
