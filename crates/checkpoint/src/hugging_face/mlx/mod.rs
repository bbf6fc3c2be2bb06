//! MLX's quantised weights: `X.weight` of codes, `X.scales` and `X.biases` become one tensor `X.weight`.
//!
//! Follows mlx-lm (`utils.py`, `load_model` and `quantize_model`): a layer is quantised if it has scales, with
//! the parameters that config.json has for it, or else for all.

mod parameters;

use std::collections::BTreeMap;

use super::Named;
use crate::encoding::Encoding;
use crate::error::Error;
use crate::file::MappedFile;
use crate::tensor::{Entry, Groups, Place};
pub(super) use parameters::{KEYS, Quantization, is_mlx};

const SCALES: &str = ".scales";

/// Joins codes, scales and biases. Names are still those of the files and of config.json.
pub(super) fn join(
    quantization: &Quantization,
    mut entries: Named,
    files: &[MappedFile],
) -> Result<Named, Error> {
    let layers: Vec<String> =
        entries.keys().filter_map(|name| name.strip_suffix(SCALES)).map(str::to_owned).collect();
    if layers.is_empty() && !entries.is_empty() {
        let path = quantization.path().display();
        tracing::warn!("{path}: says that weights are quantised, but no tensor has scales");
    }
    for layer in &layers {
        join_layer(quantization, layer, &mut entries, files)?;
    }
    for layer in quantization.named_layers() {
        check_named(quantization, layer, &entries)?;
    }
    Ok(entries)
}

fn join_layer(
    quantization: &Quantization,
    layer: &str,
    entries: &mut Named,
    files: &[MappedFile],
) -> Result<(), Error> {
    let scales_name = format!("{layer}{SCALES}");
    let biases_name = format!("{layer}.biases");
    let weight_name = format!("{layer}.weight");
    let (Some(scales), biases) = (entries.remove(&scales_name), entries.remove(&biases_name))
    else {
        return Ok(());
    };
    let refuse = |entry: &Entry, message: String| {
        let file = files.get(entry.file).map(MappedFile::path).unwrap_or(quantization.path());
        Err(Error::tensor(file, &entry.stored_name, message))
    };
    let Some(weight) = entries.get_mut(&weight_name) else {
        return refuse(&scales, format!("there is no tensor `{weight_name}` that it belongs to"));
    };
    let Some(parameters) = quantization.of(layer) else {
        let path = quantization.path().display();
        return refuse(&scales, format!("{path} says that `{layer}` is not quantised"));
    };
    let float = match scales.encoding {
        Ok(Encoding::Dense(float)) => float,
        Ok(other) => return refuse(&scales, format!("is {other}; F32, F16 or BF16 is needed")),
        Err(kind) if kind == "U8" => {
            let message =
                "U8 scales belong to MLX's modes mxfp4, mxfp8 and nvfp4; only \"affine\" is read";
            return refuse(&Entry { encoding: Err(kind), ..scales }, message.to_owned());
        }
        Err(ref kind) => return refuse(&scales, format!("is {kind}; F32, F16 or BF16 is needed")),
    };
    let Some(biases) = biases else {
        let message = format!(
            "there is no tensor `{biases_name}`: every layer of MLX's mode \"affine\" has one, and the other \
             modes are not read"
        );
        return refuse(&scales, message);
    };
    if biases.encoding != scales.encoding || biases.shape != scales.shape {
        let message = format!(
            "is {} of shape {:?}, but `{scales_name}` is {float} of shape {:?}: both have to agree",
            kind(&biases),
            biases.shape,
            scales.shape
        );
        return refuse(&biases, message);
    }
    if weight.encoding != Err("U32".to_owned()) {
        let message =
            format!("is {}, but has `{scales_name}`: codes in U32 are needed", kind(weight));
        return refuse(weight, message);
    }
    match logical_shape(&weight.shape, &scales.shape, parameters.bits.count(), parameters.group) {
        Err(message) => return refuse(weight, message),
        Ok(shape) => weight.shape = shape,
    }
    weight.encoding = Ok(parameters.encoding(float));
    weight.groups = Some(Groups {
        scales: Place { file: scales.file, bytes: scales.bytes },
        biases: Place { file: biases.file, bytes: biases.bytes },
    });
    Ok(())
}

fn kind(entry: &Entry) -> String {
    match &entry.encoding {
        Ok(encoding) => encoding.to_string(),
        Err(kind) => kind.clone(),
    }
}

/// The shape of the weight itself: `[…, columns]` of codes `[…, columns · bits / 32]` in 32-bit words and scales
/// `[…, columns / group]`.
fn logical_shape(
    codes: &[usize],
    scales: &[usize],
    bits: usize,
    group: usize,
) -> Result<Vec<usize>, String> {
    let wrong = || {
        format!(
            "codes of shape {codes:?} and scales of shape {scales:?} do not fit {bits} bits in groups of {group}: \
             [O, I · {bits} / 32] and [O, I / {group}] are needed"
        )
    };
    let ((&words, code_rows), (&groups, scale_rows)) =
        codes.split_last().zip(scales.split_last()).ok_or_else(wrong)?;
    let columns = groups.checked_mul(group).ok_or_else(wrong)?;
    let fits = columns.checked_mul(bits).is_some_and(|all| words.checked_mul(32) == Some(all));
    if !fits || code_rows != scale_rows || code_rows.is_empty() {
        return Err(wrong());
    }
    let shape: Vec<usize> = code_rows.iter().copied().chain([columns]).collect();
    // The count of values must be safe, as for every tensor.
    shape
        .iter()
        .try_fold(1usize, |all, extent| all.checked_mul((*extent).max(1)))
        .ok_or_else(wrong)?;
    Ok(shape)
}

/// A layer that config.json says is quantised has to be, if it exists at all.
fn check_named(quantization: &Quantization, layer: &str, entries: &Named) -> Result<(), Error> {
    if entries.is_empty() || quantization.of(layer).is_none() {
        return Ok(());
    }
    match entries.get(&format!("{layer}.weight")) {
        Some(weight) if weight.groups.is_none() => Err(Error::key(
            quantization.path(),
            quantization.key_of(layer),
            format!("says that the layer is quantised, but there is no tensor `{layer}{SCALES}`"),
        )),
        Some(_) => Ok(()),
        None => {
            let (path, key) = (quantization.path().display(), quantization.key_of(layer));
            tracing::warn!("{path}: key `{key}` names a layer that has no weights here");
            Ok(())
        }
    }
}

/// Refuses scales where config.json says nothing of quantisation.
pub(super) fn refuse_scales(
    config: &std::path::Path,
    entries: &BTreeMap<String, Entry>,
    files: &[MappedFile],
) -> Result<(), Error> {
    let Some((name, entry)) = entries.iter().find(|(name, _)| name.ends_with(SCALES)) else {
        return Ok(());
    };
    let file = files.get(entry.file).map(MappedFile::path).unwrap_or(config);
    let message = format!(
        "belongs to quantised weights, but {} has no key `quantization` with their group_size and bits, as MLX \
         writes it",
        config.display()
    );
    Err(Error::tensor(file, name, message))
}
