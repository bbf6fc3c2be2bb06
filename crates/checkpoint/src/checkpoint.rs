//! Opening a checkpoint, whatever its format.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::RawConfig;
use crate::error::Error;
use crate::file::{self, MappedFile};
use crate::gguf::{self, Metadata};
use crate::hugging_face;
use crate::tensor::{Entry, Tensor};

/// A model on disk: its configuration and its tensors, which stay in the file until they are read.
///
/// Both formats look alike from here: tensors have their Hugging Face names and row-major shapes,
/// and the configuration has the keys of a config.json.
pub struct Checkpoint {
    path: PathBuf,
    format: Format,
    config: RawConfig,
    generation_config: Option<Value>,
    metadata: Option<Metadata>,
    end_of_sequence_ids: Vec<u32>,
    bos_token_id: Option<u32>,
    files: Vec<MappedFile>,
    entries: BTreeMap<String, Entry>,
}

/// The format of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A directory with config.json and safetensors.
    HuggingFace,
    /// A .gguf file, or the parts of one.
    Gguf,
}

/// Which vector stands for a text among those of its tokens (`pooling_type` of a GGUF file).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// All of them, each for its token.
    None,
    /// Their mean.
    Mean,
    /// The first.
    First,
    /// The last.
    Last,
    /// None: the model ranks pairs of texts.
    Rank,
}

impl Checkpoint {
    /// Opens a directory or a .gguf file. Only headers are read; the rest is mapped into memory, so
    /// the files must not be changed while the checkpoint is in use.
    ///
    /// A directory has a config.json and `model.safetensors`, or an index with its shards, or other
    /// `*.safetensors`, or no weights at all (see [`Self::has_weights`]). A directory without
    /// config.json may hold one .gguf file, or the parts of one.
    ///
    /// # Errors
    /// Whatever is wrong with the files: see [`Error`]. Everything that later calls rely on is
    /// checked here: that each tensor's bytes are there and match its shape, that none overlap.
    /// Quantised Hugging Face checkpoints, PyTorch's own format and unknown GGUF architectures are
    /// refused.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.is_dir() {
            return Self::open_gguf(path);
        }
        if path.join(hugging_face::CONFIG).is_file() {
            return Self::open_directory(path);
        }
        Self::open_gguf(&only_gguf(path)?)
    }

    fn open_directory(path: &Path) -> Result<Self, Error> {
        let model = hugging_face::open(path)?;
        let generation = path.join("generation_config.json");
        let mut ids = Ids::default();
        let config = &model.config;
        if let Some(value) = &model.generation_config {
            ids.add_json(value.get("eos_token_id"), value.get("bos_token_id"), &generation)?;
        }
        // As transformers takes them: config.json's count where generation_config.json has none.
        let other = ids.ends.is_empty();
        let end = |value: Option<&Value>| value.filter(|_| other).cloned();
        ids.add_json(
            end(config.peek("eos_token_id")).as_ref(),
            config.peek("bos_token_id"),
            config.source(),
        )?;
        if let Some(text) = config.peek("text_config") {
            ids.add_json(
                end(text.get("eos_token_id")).as_ref(),
                text.get("bos_token_id"),
                config.source(),
            )?;
        }
        Ok(Self {
            path: path.to_owned(),
            format: Format::HuggingFace,
            config: model.config,
            generation_config: model.generation_config,
            metadata: None,
            end_of_sequence_ids: ids.ends.into_iter().collect(),
            bos_token_id: ids.start,
            files: model.files,
            entries: model.entries,
        })
    }

    fn open_gguf(path: &Path) -> Result<Self, Error> {
        let model = gguf::open(path)?;
        let mut ids = Ids::default();
        for key in ["eos_token_id", "eot_token_id", "eom_token_id"] {
            ids.ends.extend(metadata_id(&model.metadata, key, path)?);
        }
        ids.start = metadata_id(&model.metadata, "bos_token_id", path)?;
        Ok(Self {
            path: path.to_owned(),
            format: Format::Gguf,
            config: model.config,
            generation_config: None,
            metadata: Some(model.metadata),
            end_of_sequence_ids: ids.ends.into_iter().collect(),
            bos_token_id: ids.start,
            files: model.files,
            entries: model.entries,
        })
    }

    /// The directory or file that was opened; the .gguf file where a directory led to one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// config.json, or what it would say for this GGUF file.
    pub fn config(&self) -> &RawConfig {
        &self.config
    }

    /// generation_config.json, an object, if the directory has one.
    pub fn generation_config(&self) -> Option<&Value> {
        self.generation_config.as_ref()
    }

    /// All metadata of a GGUF file; of a split one, that of its first part.
    pub fn gguf_metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    /// The path of an existing file of a Hugging Face directory, such as `tokenizer.json`. `None`
    /// for GGUF, and for anything but a plain file name.
    pub fn directory_file(&self, name: &str) -> Option<PathBuf> {
        if self.format != Format::HuggingFace || Path::new(name).file_name()?.to_str() != Some(name)
        {
            return None;
        }
        Some(self.path.join(name)).filter(|path| path.is_file())
    }

    /// The ids that end a text, sorted: those of generation_config.json, where it has any, and
    /// otherwise config.json's; GGUF's end of sequence, of turn and of message. Empty if the files say
    /// nothing. The tokenizer's `eos_token`, with which chat templates end a turn, is not among them.
    pub fn end_of_sequence_ids(&self) -> Vec<u32> {
        self.end_of_sequence_ids.clone()
    }

    /// The id that starts a text, if the files name one; generation_config.json comes first.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// How an embedding model pools, if a GGUF file says it.
    ///
    /// # Errors
    /// A number that llama.cpp does not know.
    pub fn pooling(&self) -> Result<Option<Pooling>, Error> {
        let Some(metadata) = &self.metadata else { return Ok(None) };
        let architecture = metadata.string("general.architecture").unwrap_or_default();
        let key = format!("{architecture}.pooling_type");
        let Some(value) = metadata.get(&key) else { return Ok(None) };
        match metadata.unsigned(&key) {
            Some(0) => Ok(Some(Pooling::None)),
            Some(1) => Ok(Some(Pooling::Mean)),
            Some(2) => Ok(Some(Pooling::First)),
            Some(3) => Ok(Some(Pooling::Last)),
            Some(4) => Ok(Some(Pooling::Rank)),
            _ => {
                let message =
                    format!("is {value}; 0 (none), 1 (mean), 2 (first), 3 (last) or 4 (rank)");
                Err(Error::key(&self.path, key, message))
            }
        }
    }

    /// Whether there are tensors. A directory may have only a config.json, which is enough to
    /// describe and compile a model.
    pub fn has_weights(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The names of all tensors, sorted: Hugging Face names; GGUF tensors that have none keep
    /// theirs.
    pub fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// A tensor by its Hugging Face name; `None` if there is none.
    ///
    /// # Errors
    /// Its type is not read: the message names it.
    pub fn tensor(&self, name: &str) -> Result<Option<Tensor<'_>>, Error> {
        let Some((name, entry)) = self.entries.get_key_value(name) else {
            return Ok(None);
        };
        Tensor::new(name, entry, &self.files).map(Some)
    }

    /// What a file says about a tensor, of whatever type.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The bytes of a tensor of whatever type, without scales that stand apart.
    pub(crate) fn stored_bytes(&self, entry: &Entry) -> &[u8] {
        let file = self.files.get(entry.file);
        file.and_then(|file| file.bytes().get(entry.bytes.clone())).unwrap_or_default()
    }

    /// Size of all tensors in their stored form, in bytes.
    pub fn total_bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes_len() as u64).sum()
    }
}

/// The one .gguf file of a directory without config.json.
fn only_gguf(directory: &Path) -> Result<PathBuf, Error> {
    let names = file::file_names(directory)?;
    let found: Vec<&String> =
        names.iter().filter(|name| name.to_ascii_lowercase().ends_with(".gguf")).collect();
    // The parts of one model count as one file.
    let model =
        |name: &&String| gguf::part_of(name).map(|(prefix, count)| (prefix.to_owned(), count));
    let models: BTreeSet<_> = found.iter().map(|name| model(name).ok_or(*name)).collect();
    match (found.first(), models.len()) {
        (Some(first), 1) => Ok(directory.join(first)),
        (None, _) => {
            hugging_face::refuse_pickles(directory, &names)?;
            let message = "neither a config.json nor a .gguf file is in this directory";
            Err(Error::not_a_checkpoint(directory, message))
        }
        (Some(_), _) => {
            let list: Vec<&str> = found.iter().map(|name| name.as_str()).collect();
            let message =
                format!("several GGUF files are here; open one of them: {}", list.join(", "));
            Err(Error::not_a_checkpoint(directory, message))
        }
    }
}

/// Special ids, collected from several places.
#[derive(Default)]
struct Ids {
    ends: BTreeSet<u32>,
    start: Option<u32>,
}

impl Ids {
    fn add_json(
        &mut self,
        end: Option<&Value>,
        start: Option<&Value>,
        path: &Path,
    ) -> Result<(), Error> {
        let id = |key: &str, value: &Value| {
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
            id.ok_or_else(|| {
                let message = format!("is {value}; a token id, a list of them or null is needed");
                Error::key(path, key, message)
            })
        };
        // Some files write "none" as -1.
        let none = |value: &&Value| value.is_null() || value.as_i64() == Some(-1);
        let (start, end) = (start.filter(|v| !none(v)), end.filter(|v| !none(v)));
        match end {
            None => {}
            Some(Value::Array(list)) => {
                for value in list {
                    self.ends.insert(id("eos_token_id", value)?);
                }
            }
            Some(value) => _ = self.ends.insert(id("eos_token_id", value)?),
        }
        if let Some(value) = start
            && self.start.is_none()
        {
            self.start = Some(id("bos_token_id", value)?);
        }
        Ok(())
    }
}

/// A special id of GGUF's tokenizer metadata.
fn metadata_id(metadata: &Metadata, key: &str, path: &Path) -> Result<Option<u32>, Error> {
    let key = format!("tokenizer.ggml.{key}");
    let Some(value) = metadata.get(&key) else {
        return Ok(None);
    };
    match metadata.unsigned(&key).and_then(|id| u32::try_from(id).ok()) {
        Some(id) => Ok(Some(id)),
        None => Err(Error::key(path, key, format!("is {value}; a token id is needed"))),
    }
}
