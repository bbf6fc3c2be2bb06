//! Which files of a repository make up a model.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use thiserror::Error;

use super::id::{self, ModelId};

const CONFIG: &str = "config.json";
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const TOKENIZER: &str = "tokenizer.json";

/// Small files that are taken where they exist.
const SMALL: [&str; 6] = [
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
];

/// The tokenizer in other forms: taken without a `tokenizer.json` only, so that its reader can say
/// what is there instead.
const OTHER_TOKENIZER: &str = "tokenizer.model";

/// Templates beside the default one.
const TEMPLATES: &str = "additional_chat_templates/";

/// An index is a few megabytes at most.
const LARGEST_INDEX: u64 = 64 << 20;

/// What to take from a repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// A GGUF model: its file, or the first part of a split one and the others in order.
    Gguf { first: String, others: Vec<String> },
    /// A directory: small files first. Without `weights`, the index (one of the small files) names
    /// them, see [`shards`].
    Directory { small: Vec<String>, weights: Option<Vec<String>> },
}

/// Why a repository has no model that can be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unfit {
    /// Several models.
    #[error(
        "has several .gguf files; name one of them after the model, as in `{example}`: {}",
        files.join(", ")
    )]
    Ambiguous {
        /// How to name one.
        example: String,
        /// All of them.
        files: Vec<String>,
    },
    /// No weights in a format that is read.
    #[error("has neither safetensors nor .gguf weights{}", describe(found))]
    NoWeights {
        /// Weights in other formats.
        found: Vec<String>,
    },
    /// Weights, but no description of the model.
    #[error("has safetensors weights, but no config.json")]
    NoConfig,
    /// The file asked for, or one that belongs to it, does not exist.
    #[error("has no {}{}", missing.join(", "), alternatives(ggufs))]
    NoFile {
        /// What is missing.
        missing: Vec<String>,
        /// The .gguf files there are.
        ggufs: Vec<String>,
    },
    /// The index of the weights cannot be used.
    #[error("has a model.safetensors.index.json that {message}")]
    BadIndex {
        /// What is wrong with it.
        message: String,
    },
}

impl Unfit {
    /// What a cache lacks.
    pub(super) fn missing(&self) -> String {
        match self {
            Self::NoConfig => CONFIG.to_owned(),
            Self::NoFile { missing, .. } => missing.join(", "),
            Self::NoWeights { .. } => "the weights file".to_owned(),
            Self::BadIndex { .. } | Self::Ambiguous { .. } => format!("a usable {INDEX}"),
        }
    }
}

fn describe(found: &[String]) -> String {
    match found {
        [] => String::new(),
        found => format!(
            "; {} cannot be read: convert the model to safetensors (save_pretrained of transformers does) or to GGUF",
            found.join(", ")
        ),
    }
}

fn alternatives(ggufs: &[String]) -> String {
    match ggufs {
        [] => String::new(),
        ggufs => format!("; its .gguf files are: {}", ggufs.join(", ")),
    }
}

/// Chooses from the `names` of a repository's files: the GGUF file asked for; else safetensors
/// weights with what belongs to them; else the only GGUF file.
pub(super) fn choose(id: &ModelId, names: &[&str]) -> Result<Choice, Unfit> {
    if let Some(file) = id.file() {
        return gguf(file, names);
    }
    let has = |name: &str| names.contains(&name);
    let weights = if has(SINGLE) {
        Some(vec![SINGLE.to_owned()])
    } else if has(INDEX) {
        None
    } else {
        match other_safetensors(names) {
            found if found.is_empty() => return only_gguf(id, names),
            found => Some(found),
        }
    };
    if !has(CONFIG) {
        return Err(Unfit::NoConfig);
    }
    let mut small: Vec<&str> = SMALL.into_iter().filter(|name| has(name)).collect();
    if !has(TOKENIZER) && has(OTHER_TOKENIZER) {
        small.push(OTHER_TOKENIZER);
    }
    small.extend(
        names.iter().filter(|name| name.starts_with(TEMPLATES) && name.ends_with(".jinja")),
    );
    small.push(CONFIG);
    if weights.is_none() {
        small.push(INDEX);
    }
    Ok(Choice::Directory { small: small.into_iter().map(str::to_owned).collect(), weights })
}

/// Weights under names of their own, as the reader of checkpoints takes them. Adapters and the
/// second copies in their author's own format are no model.
fn other_safetensors(names: &[&str]) -> Vec<String> {
    let is_weights = |name: &&&str| {
        name.ends_with(".safetensors")
            && !name.contains('/')
            && !name.starts_with("adapter_")
            && !name.starts_with("consolidated")
    };
    names.iter().filter(is_weights).map(|name| (*name).to_owned()).collect()
}

fn only_gguf(id: &ModelId, names: &[&str]) -> Result<Choice, Unfit> {
    let all = ggufs(names);
    // The projector of a vision model is no language model.
    let is_model = |name: &&String| !base_name(name).starts_with("mmproj");
    let mut models = all.iter().filter(is_model);
    match (models.next(), models.next()) {
        (None, _) => Err(Unfit::NoWeights { found: other_weights(names) }),
        (Some(only), None) => gguf(only, names),
        (Some(first), Some(_)) => {
            let example = format!("{id}:{first}");
            Err(Unfit::Ambiguous { example, files: all })
        }
    }
}

fn other_weights(names: &[&str]) -> Vec<String> {
    let endings = [".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx"];
    let is_weights = |name: &&&str| endings.iter().any(|ending| name.ends_with(ending));
    names.iter().filter(is_weights).map(|name| (*name).to_owned()).collect()
}

fn base_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

/// The GGUF files, of a split model the first only.
fn ggufs(names: &[&str]) -> Vec<String> {
    let is_first = |name: &str| split(name).is_none_or(|(_, number, _)| number == 1);
    let mut found: Vec<String> = names
        .iter()
        .filter(|name| id::is_gguf(name) && is_first(name))
        .map(|name| (*name).to_owned())
        .collect();
    found.sort();
    found
}

/// `name-00001-of-00003.gguf` as name, number and count.
fn split(name: &str) -> Option<(&str, u32, u32)> {
    let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
    let (prefix, number) = rest.rsplit_once('-')?;
    let five = |text: &str| -> Option<u32> {
        let digits = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    Some((prefix, five(number)?, five(count)?))
}

/// The file, or all parts of the split model it belongs to.
fn gguf(file: &str, names: &[&str]) -> Result<Choice, Unfit> {
    let (first, others) = match split(file) {
        Some((prefix, _, count)) if count > 0 => {
            let part = |number: u32| format!("{prefix}-{number:05}-of-{count:05}.gguf");
            (part(1), (2..=count).map(part).collect())
        }
        _ => (file.to_owned(), Vec::new()),
    };
    all_there(std::slice::from_ref(&first), names)?;
    all_there(&others, names)?;
    Ok(Choice::Gguf { first, others })
}

fn all_there(wanted: &[String], names: &[&str]) -> Result<(), Unfit> {
    let there: BTreeSet<&str> = names.iter().copied().collect();
    let missing: Vec<String> =
        wanted.iter().filter(|name| !there.contains(name.as_str())).cloned().collect();
    match missing.as_slice() {
        [] => Ok(()),
        _ => Err(Unfit::NoFile { missing, ggufs: ggufs(names) }),
    }
}

/// The files that the index in `directory` names, all of which must be among `names`.
pub(super) fn shards(directory: &Path, names: &[&str]) -> Result<Vec<String>, Unfit> {
    let bad = |message: String| Unfit::BadIndex { message };
    let path = directory.join(INDEX);
    let size = path.metadata().map_err(|error| bad(format!("cannot be read: {error}")))?.len();
    if size > LARGEST_INDEX {
        return Err(bad(format!(
            "has {size} bytes, more than the {LARGEST_INDEX} an index may have"
        )));
    }
    let bytes = std::fs::read(&path).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let index: Value =
        serde_json::from_slice(&bytes).map_err(|error| bad(format!("is not JSON: {error}")))?;
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad("has no object `weight_map`".to_owned()))?;
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        match file.as_str() {
            Some(file) if file.ends_with(".safetensors") && id::is_safe_path(file) => {
                files.insert(file.to_owned());
            }
            _ => {
                return Err(bad(format!(
                    "gives {file} for tensor `{tensor}`, not the name of a safetensors file"
                )));
            }
        }
    }
    if files.is_empty() {
        return Err(bad("names no files".to_owned()));
    }
    let files: Vec<String> = files.into_iter().collect();
    all_there(&files, names)?;
    Ok(files)
}

#[cfg(test)]
mod tests;
