//! Which safetensors files of a directory make up the model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::file::{self, MappedFile};
use crate::json;
use crate::tensor::Entry;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The files, in order. Like transformers: `model.safetensors`, else those of the index, else all
/// `*.safetensors`. None at all is fine: a configuration alone can be described and compiled.
pub(super) fn find(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let names = file::file_names(directory)?;
    if names.iter().any(|name| name == SINGLE) {
        return Ok(vec![directory.join(SINGLE)]);
    }
    if names.iter().any(|name| name == INDEX) {
        return indexed(directory);
    }
    let ending = |ending: &str| -> Vec<&String> {
        names.iter().filter(|name| name.to_ascii_lowercase().ends_with(ending)).collect()
    };
    let found = ending(".safetensors");
    if found.iter().any(|name| name.starts_with("adapter_")) {
        let message = "holds an adapter (LoRA): merge it into its base model first";
        return Err(Error::unsupported(directory, message));
    }
    if found.is_empty() {
        if let Some(name) = ending(".gguf").first() {
            let message = format!(
                "has a config.json, no safetensors weights, and the GGUF file {name}: open that file itself"
            );
            return Err(Error::not_a_checkpoint(directory, message));
        }
        refuse_pickles(directory, &names)?;
    }
    Ok(found.into_iter().map(|name| directory.join(name)).collect())
}

/// Weights in PyTorch's own format are programs; they are not run.
pub(crate) fn refuse_pickles(directory: &Path, names: &[String]) -> Result<(), Error> {
    let pickled = |name: &&String| {
        [".bin", ".pt", ".pth"].iter().any(|ending| name.ends_with(ending))
            && ["pytorch_model", "consolidated", "model"]
                .iter()
                .any(|start| name.starts_with(start))
    };
    match names.iter().find(pickled) {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "the weights are in PyTorch's format ({name}), which is not read: convert them to safetensors \
                 (save_pretrained of transformers does) or to GGUF"
            );
            Err(Error::unsupported(directory, message))
        }
    }
}

/// The index: which file has each tensor.
fn read_index(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    const MAP: &str = "weight_map";
    let value =
        json::parse(&file::read_text(path)?).map_err(|message| Error::malformed(path, message))?;
    let map = value.get(MAP).and_then(Value::as_object).ok_or_else(|| {
        Error::key(path, MAP, "an object from tensor names to file names is needed")
    })?;
    let mut files = BTreeMap::new();
    for (tensor, name) in map {
        let name = name.as_str().ok_or_else(|| {
            Error::key(path, MAP, format!("tensor `{tensor}`: is {name}, not a file name"))
        })?;
        check_file_name(name).map_err(|message| Error::key(path, MAP, message))?;
        files.insert(tensor.clone(), name.to_owned());
    }
    Ok(files)
}

/// An index may only name files that lie beside it.
fn check_file_name(name: &str) -> Result<(), String> {
    let mut components = Path::new(name).components();
    let plain =
        matches!((components.next(), components.next()), (Some(Component::Normal(_)), None));
    if !plain || name.contains(['/', '\\', '\0']) {
        return Err(format!("`{name}` is not the name of a file in the same directory"));
    }
    if !name.ends_with(".safetensors") {
        return Err(format!("`{name}` is not the name of a safetensors file"));
    }
    Ok(())
}

fn indexed(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let path = directory.join(INDEX);
    let names: BTreeSet<String> = read_index(&path)?.into_values().collect();
    let files: Vec<PathBuf> = names.iter().map(|name| directory.join(name)).collect();
    let missing: Vec<&str> =
        names.iter().filter(|name| !directory.join(name).is_file()).map(String::as_str).collect();
    if !missing.is_empty() {
        let message = format!("names files that are missing: {}", missing.join(", "));
        return Err(Error::malformed(&path, message));
    }
    Ok(files)
}

/// Checks that the tensors are where the index says, if the files were found through it.
pub(super) fn check_index(
    directory: &Path,
    files: &[MappedFile],
    entries: &BTreeMap<String, Entry>,
) -> Result<(), Error> {
    let path = directory.join(INDEX);
    if directory.join(SINGLE).is_file() || !path.is_file() {
        return Ok(());
    }
    let index = read_index(&path)?;
    for (tensor, expected) in &index {
        let found = entries.get(tensor).and_then(|entry| files.get(entry.file));
        if found.is_none_or(|file| file.path() != directory.join(expected)) {
            let message = format!("the index says that it is in {expected}, and it is not there");
            return Err(Error::tensor(&path, tensor, message));
        }
    }
    if let Some(name) = entries.keys().find(|name| !index.contains_key(*name)) {
        return Err(Error::tensor(&path, name, "is in one of the files and not in the index"));
    }
    Ok(())
}
