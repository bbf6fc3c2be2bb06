//! From what a user names to an opened checkpoint and its description.

use crate::hub::{Hub, ModelId};
use crate::{Error, Progress, ProgressSink};
use stablemate_checkpoint::{Checkpoint, Encoding, Float};
use stablemate_graph::ElementType;
use stablemate_models::{Decoder, HEAD};
use std::path::{Path, PathBuf};

/// The path of `model`: a directory, a .gguf file, or a hub id (`organisation/name`), which is
/// downloaded unless it is there already. A path that exists wins over an id.
///
/// # Errors
/// Neither a path nor an id; whatever the hub reports.
pub fn resolve(model: &str, hub: &Hub, progress: &ProgressSink) -> Result<PathBuf, Error> {
    let path = Path::new(model);
    if path.exists() {
        return Ok(path.to_path_buf());
    }
    let looks_like_path =
        model.starts_with(['.', '/', '~']) || model.ends_with(".gguf") && !model.contains(':');
    match ModelId::parse(model).filter(|_| !looks_like_path) {
        Some(id) => Ok(hub.fetch(&id, &|download| {
            progress(Progress::Download {
                file: download.file,
                done: download.bytes_done,
                total: download.bytes_total,
            });
        })?),
        None => Err(Error::NoSuchModel { model: model.to_string() }),
    }
}

/// A checkpoint and the model it describes.
pub struct Opened {
    /// The files.
    pub checkpoint: Checkpoint,
    /// The model, its parameters bound to the element types they are held in.
    pub decoder: Decoder,
}

/// Opens the checkpoint at `path` and describes its model. Of a directory without weights, only the
/// configuration is used.
///
/// # Errors
/// Damaged files, configurations that no family honours, tensors that do not match.
pub fn open(path: &Path) -> Result<Opened, Error> {
    let checkpoint = Checkpoint::open(path)?;
    let mut decoder = Decoder::describe(checkpoint.config())?;
    if checkpoint.has_weights() {
        if decoder.tied() && has_other_head(&checkpoint, &decoder)? {
            decoder.untie();
        }
        decoder.params.bind(path, |name| {
            let tensor = checkpoint.tensor(name)?;
            Ok(tensor.map(|tensor| (tensor.shape().to_vec(), held_as(&tensor))))
        })?;
    } else {
        let element = configured(&checkpoint)?;
        decoder.params.set_elements(|ty| if ty.rank() == 1 { ElementType::F32 } else { element });
    }
    Ok(Opened { checkpoint, decoder })
}

/// Whether the checkpoint of a tied model holds a head that is not the embedding.
fn has_other_head(checkpoint: &Checkpoint, decoder: &Decoder) -> Result<bool, Error> {
    let table = &decoder.params.entry(decoder.embedding.table).name;
    let (Some(head), Some(table)) = (checkpoint.tensor(HEAD)?, checkpoint.tensor(table)?) else {
        return Ok(false);
    };
    let same_shape = head.shape() == table.shape() && head.encoding() == table.encoding();
    Ok(!same_shape || head.dense_bytes() != table.dense_bytes())
}

/// The element type a tensor has in memory: matrices keep half precision, everything else is f32.
/// Quantised tensors are dequantised when they are loaded; vectors are small and used element-wise.
pub(crate) fn held_as(tensor: &stablemate_checkpoint::Tensor<'_>) -> ElementType {
    if tensor.shape().len() == 1 || tensor.dense_bytes().is_none() {
        return ElementType::F32;
    }
    match tensor.encoding() {
        Encoding::Dense(Float::F16) => ElementType::F16,
        Encoding::Dense(Float::Bf16) => ElementType::Bf16,
        _ => ElementType::F32,
    }
}

/// The element type that the configuration announces for weights that are not there.
fn configured(checkpoint: &Checkpoint) -> Result<ElementType, Error> {
    let config = checkpoint.config();
    let (new, old) = (config.get::<String>("dtype")?, config.get::<String>("torch_dtype")?);
    Ok(match new.or(old).as_deref() {
        Some("float16") => ElementType::F16,
        Some("bfloat16") => ElementType::Bf16,
        _ => ElementType::F32,
    })
}
