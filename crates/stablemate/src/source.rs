//! From what a user names to an opened checkpoint and its description.

use crate::hub::{Hub, ModelId};
use crate::{Error, Progress, ProgressSink, Quantize};
use stablemate_checkpoint::{Checkpoint, Encoding, Float, Tensor};
use stablemate_graph::ElementType;
use stablemate_models::{Decoder, HEAD, Storage};
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
    open_as(path, None)
}

/// As [`open`], with the dense matrices of linear layers described as quantised.
///
/// # Errors
/// As [`open`], and widths or groups that do not exist.
pub fn open_as(path: &Path, quantize: Option<Quantize>) -> Result<Opened, Error> {
    quantize.map_or(Ok(()), Quantize::check)?;
    let checkpoint = Checkpoint::open(path)?;
    let mut decoder = Decoder::describe(checkpoint.config())?;
    if checkpoint.has_weights() {
        let names: std::collections::HashSet<&str> = checkpoint.tensor_names().collect();
        decoder.params.choose_root(|name| names.contains(name));
        if decoder.tied() && has_other_head(&checkpoint, &decoder)? {
            decoder.untie();
        }
        let mut quantized = false;
        decoder.params.bind(path, |name| {
            let Some(tensor) = checkpoint.tensor(name)? else { return Ok(None) };
            let storage = storage(&tensor, quantize)?;
            quantized |= matches!(storage, Storage::Packed(_)) && tensor.packing().is_none();
            Ok::<_, Error>(Some((tensor.shape().to_vec(), storage)))
        })?;
        if let Some(Quantize { group_size, .. }) = quantize.filter(|_| !quantized) {
            return Err(Error::NothingToQuantize { path: path.to_path_buf(), group_size });
        }
    } else {
        let element = configured(&checkpoint)?;
        decoder.params.set_storage(path, |entry| {
            Storage::Dense(if entry.element_wise { ElementType::F32 } else { element })
        })?;
    }
    Ok(Opened { checkpoint, decoder })
}

/// Whether the checkpoint of a tied model holds a head that is not the embedding.
fn has_other_head(checkpoint: &Checkpoint, decoder: &Decoder) -> Result<bool, Error> {
    let table = &decoder.params.entry(decoder.embedding.table).name;
    let head = checkpoint.tensor(&decoder.params.outer(HEAD))?;
    let (Some(head), Some(table)) = (head, checkpoint.tensor(table)?) else {
        return Ok(false);
    };
    Ok(!head.stored_like(&table))
}

/// How a tensor is kept in memory: matrices as they are stored, but for a dense one that is to be
/// quantised; everything else is f32, small, and used element by element.
pub(crate) fn storage(tensor: &Tensor<'_>, quantize: Option<Quantize>) -> Result<Storage, Error> {
    if tensor.shape().len() == 1 {
        return Ok(Storage::Dense(ElementType::F32));
    }
    if let Some(packing) = tensor.packing() {
        return Ok(Storage::Packed(packing));
    }
    if let Some(packing) = quantize.map(|quantize| quantize.packing(tensor)).transpose()?.flatten()
    {
        return Ok(Storage::Packed(packing));
    }
    Ok(Storage::Dense(match tensor.encoding() {
        Encoding::Dense(Float::F16) if tensor.dense_row(0).is_some() => ElementType::F16,
        Encoding::Dense(Float::Bf16) if tensor.dense_row(0).is_some() => ElementType::Bf16,
        _ => ElementType::F32,
    }))
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
