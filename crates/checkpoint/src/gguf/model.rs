//! A GGUF file as a checkpoint: Hugging Face names, shapes and configuration.

use std::collections::BTreeMap;
use std::path::Path;

use super::architectures::{self, Architecture, Converted};
use super::header::StoredTensor;
use super::metadata::Metadata;
use super::names;
use super::split;
use crate::config::RawConfig;
use crate::dequantize::{self, Row};
use crate::encoding::{Encoding, Float};
use crate::error::Error;
use crate::file::MappedFile;
use crate::tensor::{Entry, Transform};

/// The tensor of factors that divide the rotary frequencies. Part of the configuration here, as
/// in config.json, and not of the model's tensors.
pub(super) const ROPE_FACTORS: &str = "rope_freqs.weight";

/// An opened model.
pub(crate) struct Model {
    pub(crate) files: Vec<MappedFile>,
    pub(crate) metadata: Metadata,
    pub(crate) config: RawConfig,
    /// By Hugging Face name; tensors with names that are not known, by the name in the file.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// The shapes of tensors by their name in the file.
pub(super) struct Tensors<'a>(BTreeMap<&'a str, &'a StoredTensor>);

impl<'a> Tensors<'a> {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The shape, row-major, if the tensor exists.
    pub(super) fn shape(&self, name: &str) -> Option<&'a [usize]> {
        self.0.get(name).map(|tensor| tensor.shape.as_slice())
    }
}

/// Opens a file, or all files of a split model of which it is a part.
pub(crate) fn open(path: &Path) -> Result<Model, Error> {
    let mut parts = split::open_all(path)?;
    let first = parts.first_mut();
    let metadata =
        first.map(|(_, header)| std::mem::take(&mut header.metadata)).unwrap_or_default();
    let architecture = architectures::find(&metadata, path)?;
    let mut by_name: BTreeMap<&str, &StoredTensor> = BTreeMap::new();
    for (file, header) in &parts {
        for tensor in &header.tensors {
            if by_name.insert(&tensor.name, tensor).is_some() {
                let message = "also in another part of the model";
                return Err(Error::tensor(file.path(), &tensor.name, message));
            }
        }
    }
    let factors = match architecture.rope_factors {
        true => rope_factors(&parts)?,
        false => None,
    };
    let tensors = Tensors(by_name);
    let converted = architectures::convert(architecture, &metadata, &tensors, factors, path)?;
    let mut entries = BTreeMap::new();
    for (index, (file, header)) in parts.iter().enumerate() {
        for tensor in &header.tensors {
            if tensor.name == ROPE_FACTORS && architecture.rope_factors {
                continue;
            }
            let (name, entry) = entry(tensor, index, architecture, &converted, file.path())?;
            if entries.insert(name.clone(), entry).is_some() {
                let message = format!("two tensors of the file mean `{name}`");
                return Err(Error::tensor(file.path(), &tensor.name, message));
            }
        }
    }
    let files = parts.into_iter().map(|(file, _)| file).collect();
    Ok(Model { files, metadata, config: converted.config, entries })
}

fn rope_factors(parts: &[(MappedFile, super::header::Header)]) -> Result<Option<Vec<f32>>, Error> {
    let found = parts.iter().find_map(|(file, header)| {
        Some((file, header.tensors.iter().find(|tensor| tensor.name == ROPE_FACTORS)?))
    });
    let Some((file, tensor)) = found else {
        return Ok(None);
    };
    if tensor.encoding != Ok(Encoding::Dense(Float::F32)) || tensor.shape.len() != 1 {
        let message = format!(
            "is {:?} of shape {:?}; an F32 vector is needed",
            tensor.encoding, tensor.shape
        );
        return Err(Error::tensor(file.path(), ROPE_FACTORS, message));
    }
    let bytes = file.bytes().get(tensor.bytes.clone()).unwrap_or_default();
    // As many floats as there are bytes for in the file.
    let mut factors = vec![0.0; bytes.len() / 4];
    dequantize::decode(Encoding::Dense(Float::F32), Row::alone(bytes), &mut factors);
    Ok(Some(factors))
}

fn entry(
    tensor: &StoredTensor,
    file: usize,
    architecture: &Architecture,
    converted: &Converted,
    path: &Path,
) -> Result<(String, Entry), Error> {
    let name = names::hugging_face(&tensor.name, architecture.norms)
        .unwrap_or_else(|| tensor.name.clone());
    let transform = transform(tensor, architecture, converted, path)?;
    let entry = Entry {
        file,
        stored_name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        encoding: tensor.encoding.clone(),
        bytes: tensor.bytes.clone(),
        transform,
        groups: None,
    };
    Ok((name, entry))
}

/// What the converter did to this tensor.
fn transform(
    tensor: &StoredTensor,
    architecture: &Architecture,
    converted: &Converted,
    path: &Path,
) -> Result<Transform, Error> {
    if architecture.one_added_to_norms && tensor.name.ends_with("norm.weight") {
        return Ok(Transform::OneAdded);
    }
    let part = tensor.name.rsplit_once('.').and_then(|(stem, _)| names::layer_of(stem));
    let heads = match part {
        Some((_, "attn_q")) => converted.heads,
        Some((_, "attn_k")) => converted.key_value_heads,
        _ => return Ok(Transform::None),
    };
    if !architecture.interleaved_heads {
        return Ok(Transform::None);
    }
    let rows = tensor.shape.first().copied().unwrap_or(0);
    // An even number of rows for each head: a first and a second half.
    if heads.checked_mul(2).is_none_or(|halves| halves == 0 || !rows.is_multiple_of(halves)) {
        let message = format!("{rows} rows cannot be split into the halves of {heads} heads");
        return Err(Error::tensor(path, &tensor.name, message));
    }
    if tensor.shape.len() > 2 {
        let message = format!("shape {:?}; a matrix or a vector is needed", tensor.shape);
        return Err(Error::tensor(path, &tensor.name, message));
    }
    Ok(Transform::InterleavedHeads(heads))
}
