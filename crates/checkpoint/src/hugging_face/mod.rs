//! Hugging Face directories: config.json and safetensors.

mod mlx;
mod mxfp4;
mod quantized;
mod safetensors;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::config::RawConfig;
use crate::error::Error;
use crate::file::{self, MappedFile};
use crate::json;
use crate::tensor::Entry;

pub(crate) use weights::refuse_pickles;

/// The configuration's file name.
pub(crate) const CONFIG: &str = "config.json";

/// Tensors by name.
type Named = BTreeMap<String, Entry>;

/// An opened directory.
pub(crate) struct Model {
    pub(crate) files: Vec<MappedFile>,
    pub(crate) config: RawConfig,
    pub(crate) generation_config: Option<Value>,
    pub(crate) entries: Named,
}

/// Opens a directory that has a config.json.
pub(crate) fn open(directory: &Path) -> Result<Model, Error> {
    let config_path = directory.join(CONFIG);
    let config = RawConfig::from_json(&file::read_text(&config_path)?, &config_path)?;
    let quantization = mlx::Quantization::read(&config)?;
    let mxfp4 = mxfp4::is_mxfp4(&config);
    quantized::refuse_config(&config, quantization.is_some() || mxfp4)?;
    let generation_config = generation_config(&directory.join("generation_config.json"))?;
    let files = weights::find(directory)?
        .iter()
        .map(|path| MappedFile::open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Named::new();
    for (index, file) in files.iter().enumerate() {
        for (name, entry) in safetensors::parse(file.bytes(), index, file.path())? {
            if let Some(first) = entries.get(&name) {
                let other = files.get(first.file).map(|file| file.path().display().to_string());
                let message = format!("also in {}", other.unwrap_or_default());
                return Err(Error::tensor(file.path(), &name, message));
            }
            entries.insert(name, entry);
        }
    }
    weights::check_index(directory, &files, &entries)?;
    quantized::refuse_tensors(directory, &entries)?;
    if mxfp4 {
        entries = mxfp4::join(&config, entries, &files)?;
    }
    match &quantization {
        Some(quantization) => entries = mlx::join(quantization, entries, &files)?,
        None => mlx::refuse_scales(&config_path, &entries, &files)?,
    }
    Ok(Model { files, config, generation_config, entries: with_model_prefix(entries) })
}

fn generation_config(path: &Path) -> Result<Option<Value>, Error> {
    if !path.is_file() {
        return Ok(None);
    }
    let value =
        json::parse(&file::read_text(path)?).map_err(|message| Error::malformed(path, message))?;
    if !value.is_object() {
        return Err(Error::malformed(path, "a JSON object is needed"));
    }
    Ok(Some(value))
}

/// Checkpoints of the bare model (`LlamaModel`, not `LlamaForCausalLM`) have the same tensors
/// without the leading `model.`: `embed_tokens.weight`, `layers.0.…`, `norm.weight`. They get the
/// prefix, as transformers does when it loads them; `lm_head` stands beside the model and stays.
fn with_model_prefix(entries: Named) -> Named {
    const EMBEDDING: &str = "embed_tokens.weight";
    if !entries.contains_key(EMBEDDING) || entries.keys().any(|name| name.starts_with("model.")) {
        return entries;
    }
    let prefixed = |name: String| match name.starts_with("lm_head.") {
        true => name,
        false => format!("model.{name}"),
    };
    entries.into_iter().map(|(name, entry)| (prefixed(name), entry)).collect()
}
