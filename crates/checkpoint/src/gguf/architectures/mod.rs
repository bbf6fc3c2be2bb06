//! What each `general.architecture` means: one function for each, from GGUF metadata and the names
//! of tensors to the keys of a Hugging Face config.json and Hugging Face's tensor names.
//!
//! Sources: llama.cpp's converter (which keys it writes, what it does to tensors) and llama.cpp's
//! loader (what an absent key means). A key that GGUF does not have, because llama.cpp derives the
//! value itself, is derived here in the same way.
//!
//! Every metadata key under the architecture's name is read, or says nothing (zero, false, empty),
//! or the file is refused: the rule of [`RawConfig::finish`]. So is every tensor without a rule.
//!
//! [`RawConfig::finish`]: crate::RawConfig::finish

mod cohere2;
mod command_r;
mod deepseek2;
mod falcon;
mod falcon_h1;
mod gemma2;
mod gemma3;
mod gemma4;
mod gpt2;
mod gpt_oss;
mod llama;
mod mamba2;
mod phi3;
mod qwen2;
mod qwen3;
mod qwen35;
mod qwen35moe;
mod qwen3moe;

use std::path::Path;

use super::metadata::{Metadata, Value};
use super::names::Names;
use super::source::{Description, Source};
use crate::error::Error;

/// One architecture.
pub(super) struct Architecture {
    /// The value of `general.architecture`, and the first part of its metadata keys.
    pub(super) name: &'static str,
    /// Describes a file.
    describe: fn(&Source) -> Result<Description, Error>,
    /// The tables of names that a file may follow.
    pub(super) names: &'static [&'static Names],
}

/// One row of the table.
macro_rules! architecture {
    ($name:literal, $module:ident, $($names:ident),+) => {
        Architecture {
            name: $name,
            describe: $module::describe,
            names: &[$(&$module::$names),+],
        }
    };
}

const ARCHITECTURES: &[Architecture] = &[
    architecture!("llama", llama, NAMES),
    architecture!("qwen2", qwen2, NAMES),
    architecture!("qwen3", qwen3, NAMES),
    architecture!("qwen3moe", qwen3moe, NAMES),
    architecture!("qwen35", qwen35, NAMES),
    architecture!("qwen35moe", qwen35moe, NAMES, FUSED_NAMES),
    architecture!("gemma2", gemma2, NAMES),
    architecture!("gemma3", gemma3, NAMES),
    architecture!("gemma4", gemma4, NAMES, SPLIT_NAMES),
    architecture!("gpt-oss", gpt_oss, NAMES),
    architecture!("phi3", phi3, NAMES),
    architecture!("deepseek2", deepseek2, NAMES),
    architecture!("command-r", command_r, NAMES),
    architecture!("cohere2", cohere2, NAMES),
    architecture!("gpt2", gpt2, NAMES),
    architecture!("falcon", falcon, NAMES, TWO_NORM_NAMES),
    architecture!("mamba2", mamba2, NAMES),
    architecture!("falcon-h1", falcon_h1, NAMES),
];

/// The architecture of a file.
pub(super) fn find(metadata: &Metadata, path: &Path) -> Result<&'static Architecture, Error> {
    const KEY: &str = "general.architecture";
    let name = metadata.string(KEY).ok_or_else(|| {
        Error::key(path, KEY, "missing; a string is needed: the file has no model")
    })?;
    if let Some(kind) = metadata.get("general.type")
        && *kind != Value::String("model".to_owned())
    {
        let message = format!("is {kind}; only `model` is read, not adapters, projectors or parts");
        return Err(Error::key(path, "general.type", message));
    }
    named(name).ok_or_else(|| {
        let known: Vec<&str> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        let message =
            format!("general.architecture is `{name}`; this version reads {}", known.join(", "));
        Error::unsupported(path, message)
    })
}

/// The architecture of this name.
pub(super) fn named(name: &str) -> Option<&'static Architecture> {
    ARCHITECTURES.iter().find(|architecture| architecture.name == name)
}

impl Architecture {
    /// Describes a file, and refuses metadata that nothing reads.
    pub(super) fn describe(&self, source: &Source) -> Result<Description, Error> {
        let mut description = (self.describe)(source)?;
        description.further_layers = source.further_layers()?;
        let keys = &source.keys;
        if keys.get("attention.causal")? == Some(false) {
            let message = "is false; only causal models are read";
            return Err(keys.wrong("attention.causal", message.to_owned()));
        }
        // How the converter's input looked; whether a long context came by fine-tuning; which
        // vector stands for a text in embeddings.
        keys.ignore(&["tensor_data_layout", "rope.scaling.finetuned", "pooling_type"]);
        keys.finish()?;
        Ok(description)
    }
}
