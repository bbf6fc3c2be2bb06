//! From tensors on disk to buffers on the device, one at a time.

use crate::executor::ExecutorError;
use crate::{Error, Progress, ProgressSink};
use stablemate_checkpoint::Checkpoint;
use stablemate_graph::ElementType;
use stablemate_models::{ModelError, ParamEntry, ParamTable};
use stablemate_runtime::{Buffer, Device};

/// Loads all parameters in argument order. A tensor's pages of the file are released once it has
/// been copied or dequantised, so the weights are never in memory twice.
pub(crate) fn load(
    device: &Device,
    checkpoint: &Checkpoint,
    params: &ParamTable,
    progress: &ProgressSink,
) -> Result<Vec<Buffer>, Error> {
    let total = params.bytes() as u64;
    let mut done = 0;
    let mut buffers = Vec::with_capacity(params.entries().len());
    for entry in params.entries() {
        progress(Progress::Load { done, total });
        let buffer = load_one(device, checkpoint, entry)?;
        done += buffer.bytes() as u64;
        buffers.push(buffer);
    }
    progress(Progress::Load { done: total, total });
    Ok(buffers)
}

fn load_one(device: &Device, checkpoint: &Checkpoint, entry: &ParamEntry) -> Result<Buffer, Error> {
    let Some(tensor) = checkpoint.tensor(&entry.name)? else {
        return Err(Error::Model(ModelError::MissingTensor {
            file: checkpoint.path().to_path_buf(),
            tensor: entry.name.clone(),
            expected: entry.ty.to_string(),
        }));
    };
    let element = entry.ty.element;
    let argument = entry.argument();
    let buffer =
        device.buffer(argument.element, &argument.sizes(), |bytes| match tensor.dense_bytes() {
            Some(dense)
                if crate::source::held_as(&tensor) == element && dense.len() == bytes.len() =>
            {
                bytes.copy_from_slice(dense);
                Ok(())
            }
            _ if element == ElementType::F32 => {
                tensor.decode(bytemuck::cast_slice_mut(bytes)).map_err(Error::from)
            }
            _ => Err(Error::Executor(ExecutorError::Inconsistent { tensor: entry.name.clone() })),
        })?;
    tensor.release();
    Ok(buffer)
}
