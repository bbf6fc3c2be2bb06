//! A GGUF file as a checkpoint: Hugging Face names, shapes and configuration.

use std::collections::BTreeMap;
use std::path::Path;

use super::architectures;
use super::header::StoredTensor;
use super::metadata::Metadata;
use super::names::{Conversion, Found};
use super::source::{Description, Source, Tensors};
use super::split;
use crate::config::RawConfig;
use crate::error::Error;
use crate::file::MappedFile;
use crate::row_order::RowOrder;
use crate::tensor::{Entry, Transform};

/// An opened model.
pub(crate) struct Model {
    pub(crate) files: Vec<MappedFile>,
    pub(crate) metadata: Metadata,
    pub(crate) config: RawConfig,
    /// By Hugging Face name; buffers that no computation reads, by the name in the file.
    pub(crate) entries: BTreeMap<String, Entry>,
}

/// Ends of the names of buffers that no computation reads: frequencies and masks that other
/// programs derive, too.
const BUFFERS: &[&str] = &[
    ".rotary_emb.inv_freq",
    ".attn_rot_embd.weight",
    ".attn.masked_bias",
    ".attn.bias",
    "position_ids",
];

/// The metadata of a file, or of the first part of a split model, without looking at tensors.
///
/// # Errors
/// The file cannot be read or is no GGUF file.
pub fn read_metadata(path: &Path) -> Result<Metadata, Error> {
    let mut parts = split::open_all(path)?;
    let first = parts.first_mut();
    Ok(first.map(|(_, header)| std::mem::take(&mut header.metadata)).unwrap_or_default())
}

/// Opens a file, or all files of a split model of which it is a part.
pub(crate) fn open(path: &Path) -> Result<Model, Error> {
    let mut parts = split::open_all(path)?;
    let first = parts.first_mut();
    let metadata =
        first.map(|(_, header)| std::mem::take(&mut header.metadata)).unwrap_or_default();
    let architecture = architectures::find(&metadata, path)?;
    let tensors = Tensors::of(parts.iter().map(|(file, header)| (file, &*header.tensors)))?;
    let source = Source::new(architecture.name, &metadata, tensors, path)?;
    let description = architecture.describe(&source)?;
    check_companies(&source, &description)?;
    let mut entries = BTreeMap::new();
    for (index, (file, header)) in parts.iter().enumerate() {
        for tensor in &header.tensors {
            let Some((name, entry)) = entry(tensor, index, &source, &description, file.path())?
            else {
                continue;
            };
            if entries.insert(name.clone(), entry).is_some() {
                let message = format!("two tensors of the file mean `{name}`");
                return Err(Error::tensor(file.path(), &tensor.name, message));
            }
        }
    }
    let config = RawConfig::from_object(description.config.0, path);
    drop(source);
    let files = parts.into_iter().map(|(file, _)| file).collect();
    Ok(Model { files, metadata, config, entries })
}

/// Biases of a company exist for all its weights or for none: families switch them together, so one
/// that is alone would not be added.
fn check_companies(source: &Source, description: &Description) -> Result<(), Error> {
    for company in description.names.companies {
        if !source.has_biases(company) {
            continue;
        }
        for stem in *company {
            for layer in source.tensors.layers_with(&format!("{stem}.weight")) {
                let bias = format!("blk.{layer}.{stem}.bias");
                if !source.tensors.contains(&bias) {
                    let message = format!(
                        "missing, though the file has other biases of its company: all of {} have one \
                         in each layer, or none",
                        company.join(", ")
                    );
                    return Err(source.tensor_fault(&bias, message));
                }
            }
        }
    }
    Ok(())
}

/// The tensor to the outside; `None` if it is part of the configuration or of layers that are not
/// read.
fn entry(
    tensor: &StoredTensor,
    file: usize,
    source: &Source,
    description: &Description,
    path: &Path,
) -> Result<Option<(String, Entry)>, Error> {
    let layers = description.layers;
    let layer = super::names::layer_of(&tensor.name).map(|(layer, _)| layer);
    if layer.is_some_and(|layer| {
        layers <= layer && layer < layers.saturating_add(description.further_layers)
    }) {
        return Ok(None);
    }
    let Some(found) = description.names.find(&tensor.name) else {
        if description.configuration.contains(&&*tensor.name) {
            return Ok(None);
        }
        if BUFFERS.iter().any(|end| tensor.name.ends_with(end)) {
            let entry = plain(tensor, file, tensor.shape.clone(), Transform::None);
            return Ok(Some((tensor.name.clone(), entry)));
        }
        let message = format!(
            "nothing of architecture `{}` reads it: it may change what the model computes, and \
             Stablemate refuses rather than mis-compute",
            source.keys.architecture()
        );
        return Err(Error::tensor(path, &tensor.name, message));
    };
    if found.layer.is_some_and(|layer| layer >= layers) {
        let message = format!(
            "belongs to a layer after the {layers} that `{}.block_count` states",
            source.keys.architecture()
        );
        return Err(Error::tensor(path, &tensor.name, message));
    }
    let Found { name, conversion, .. } = found;
    let refuse = |message: String| Error::tensor(path, &tensor.name, message);
    let (shape, transform) = undo(conversion, &tensor.shape, description).map_err(refuse)?;
    Ok(Some((name, plain(tensor, file, shape, transform))))
}

fn plain(tensor: &StoredTensor, file: usize, shape: Vec<usize>, transform: Transform) -> Entry {
    Entry {
        file,
        stored_name: tensor.name.clone(),
        shape,
        encoding: tensor.encoding.clone(),
        bytes: tensor.bytes.clone(),
        transform,
        groups: None,
    }
}

/// The shape and the values before the conversion.
fn undo(
    conversion: Conversion,
    shape: &[usize],
    description: &Description,
) -> Result<(Vec<usize>, Transform), String> {
    let reshaped = |shape: Vec<usize>| Ok((shape, Transform::None));
    match (conversion, shape) {
        (Conversion::None, _) => reshaped(shape.to_vec()),
        (Conversion::OneAdded, _) => Ok((shape.to_vec(), Transform::OneAdded)),
        (Conversion::InterleavedQueries, _) => rows(interleaved(description.heads), shape),
        (Conversion::InterleavedKeys, _) => rows(interleaved(description.key_value_heads), shape),
        (Conversion::SeparatedGroups, _) => {
            let groups = description.key_value_heads;
            let queries = description.heads / groups.max(1);
            rows(RowOrder::QueriesKeysValues { groups, queries }, shape)
        }
        (Conversion::Column, &[count, 1]) => reshaped(vec![count]),
        (Conversion::Squeezed, &[width]) => reshaped(vec![1, width]),
        // Writers that leave the shape as it was have the same values.
        (Conversion::Squeezed, &[1, width]) => reshaped(vec![1, width]),
        (Conversion::Grouped, &[groups, width]) => groups.checked_mul(width).map_or_else(
            || Err(format!("shape {shape:?} has more values than can be counted")),
            |all| reshaped(vec![all]),
        ),
        (Conversion::Column | Conversion::Grouped, &[count]) => reshaped(vec![count]),
        (Conversion::Depthwise, &[channels, kernel]) => reshaped(vec![channels, 1, kernel]),
        (Conversion::Depthwise, &[channels, 1, kernel]) => reshaped(vec![channels, 1, kernel]),
        (Conversion::Column, _) => Err(expected(shape, "[count, 1]")),
        (Conversion::Squeezed, _) => Err(expected(shape, "[width]")),
        (Conversion::Grouped, _) => Err(expected(shape, "[groups, width]")),
        (Conversion::Depthwise, _) => Err(expected(shape, "[channels, kernel]")),
    }
}

fn expected(shape: &[usize], expected: &str) -> String {
    format!("shape {shape:?}; {expected} is needed")
}

fn interleaved(heads: usize) -> RowOrder {
    RowOrder::InterleavedHeads(heads)
}

/// Another order of rows, if it divides them.
fn rows(order: RowOrder, shape: &[usize]) -> Result<(Vec<usize>, Transform), String> {
    let rows = shape.first().copied().unwrap_or(0);
    if !order.divides(rows) {
        return Err(match order {
            RowOrder::InterleavedHeads(heads) => {
                format!("{rows} rows cannot be split into the halves of {heads} heads")
            }
            RowOrder::EverySecond { .. } => format!("{rows} rows cannot be split"),
            RowOrder::QueriesKeysValues { groups, queries } => format!(
                "{rows} rows cannot be split into {groups} groups of {queries} query heads, a key and a \
                 value head"
            ),
        });
    }
    if shape.len() > 2 {
        return Err(expected(shape, "a matrix or a vector"));
    }
    Ok((shape.to_vec(), Transform::Rows(order)))
}
