//! MLX's quantised weights: `X.weight` of codes, `X.scales` and, in mode "affine", `X.biases` become one tensor `X.weight`.
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
use parameters::{Mode, Parameters};

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
    let weight_name = format!("{layer}.weight");
    let (Some(scales), biases) =
        (entries.remove(&scales_name), entries.remove(&format!("{layer}.biases")))
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
    let encoding = match parameters.mode {
        Mode::Affine => affine(parameters, layer, &scales, biases.as_ref()),
        Mode::Mxfp4 => mxfp4(layer, &scales, biases.as_ref()),
    };
    let encoding = match encoding {
        Ok(encoding) => encoding,
        Err((entry, message)) => return refuse(entry, message),
    };
    if weight.encoding != Err("U32".to_owned()) {
        let message =
            format!("is {}, but has `{scales_name}`: codes in U32 are needed", kind(weight));
        return refuse(weight, message);
    }
    match logical_shape(&weight.shape, &scales.shape, parameters.bits.count(), parameters.group) {
        Err(message) => return refuse(weight, message),
        Ok(shape) => weight.shape = shape,
    }
    weight.encoding = Ok(encoding);
    let place = |entry: Entry| Place { file: entry.file, bytes: entry.bytes };
    weight.groups = Some(Groups { scales: place(scales), biases: biases.map(place) });
    Ok(())
}

/// The encoding of a layer, or which tensor is wrong and how.
type Judged<'e> = Result<Encoding, (&'e Entry, String)>;

/// Scales and biases of mode "affine" are floats of one type and shape.
fn affine<'e>(
    parameters: Parameters,
    layer: &str,
    scales: &'e Entry,
    biases: Option<&'e Entry>,
) -> Judged<'e> {
    let float = match &scales.encoding {
        Ok(Encoding::Dense(float)) => *float,
        Err(kind) if kind == "U8" => {
            let message = "U8 scales belong to MLX's modes mxfp4, mxfp8 and nvfp4, but the mode is \"affine\"";
            return Err((scales, message.to_owned()));
        }
        _ => return Err((scales, format!("is {}; F32, F16 or BF16 is needed", kind(scales)))),
    };
    let Some(biases) = biases else {
        let message = format!(
            "there is no tensor `{layer}.biases`: every layer of MLX's mode \"affine\" has one"
        );
        return Err((scales, message));
    };
    if biases.encoding != scales.encoding || biases.shape != scales.shape {
        let message = format!(
            "is {} of shape {:?}, but `{layer}{SCALES}` is {float} of shape {:?}: both have to agree",
            kind(biases),
            biases.shape,
            scales.shape
        );
        return Err((biases, message));
    }
    Ok(parameters.affine(float))
}

/// Scales of mode "mxfp4" are bytes, and there are no biases.
fn mxfp4<'e>(layer: &str, scales: &'e Entry, biases: Option<&'e Entry>) -> Judged<'e> {
    if let Some(biases) = biases {
        let message = format!("MLX's mode \"mxfp4\", which `{layer}` is in, has no biases");
        return Err((biases, message));
    }
    if scales.encoding != Err("U8".to_owned()) {
        let message = format!("is {}; the scales of MLX's mode \"mxfp4\" are U8", kind(scales));
        return Err((scales, message));
    }
    Ok(Encoding::Mxfp4)
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
