//! What a checkpoint holds and what it will take to run it.

use crate::{Error, Opened};
use serde_json::{Value, json};
use stablemate_checkpoint::Checkpoint;
use stablemate_models::{Decoder, HEAD};
use std::collections::BTreeMap;

/// A description for people and programs.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspection {
    /// Sizes and one line per layer.
    pub summary: String,
    /// Encoding → (tensors, bytes) as stored.
    pub encodings: BTreeMap<String, (usize, u64)>,
    /// Name and type of each parameter, in argument order.
    pub parameters: Vec<(String, String)>,
    /// Tensors of the checkpoint that the model does not use.
    pub unused: Vec<String>,
    /// Bytes that the weights take in memory.
    pub weight_bytes: u64,
    /// Bytes of keys and values per token.
    pub cache_bytes_per_token: u64,
    /// Tokens of the longest sequence.
    pub context: Option<usize>,
}

/// Describes an opened checkpoint.
///
/// # Errors
/// A tensor of a type that cannot be read.
pub fn inspect(opened: &Opened) -> Result<Inspection, Error> {
    let Opened { checkpoint, decoder } = opened;
    let mut encodings = BTreeMap::new();
    for name in checkpoint.tensor_names() {
        if let Some(tensor) = checkpoint.tensor(name)? {
            let entry: &mut (usize, u64) =
                encodings.entry(tensor.encoding().to_string()).or_default();
            *entry = (entry.0 + 1, entry.1 + tensor.bytes_len() as u64);
        }
    }
    let parameter =
        |entry: &stablemate_models::ParamEntry| (entry.name.clone(), entry.ty.to_string());
    Ok(Inspection {
        summary: decoder.summary(),
        encodings,
        parameters: decoder.params.entries().iter().map(parameter).collect(),
        unused: unused(checkpoint, decoder),
        weight_bytes: decoder.params.bytes() as u64,
        cache_bytes_per_token: decoder.state_bytes_per_token() as u64,
        context: decoder.context,
    })
}

/// Tensors of the checkpoint that the model does not use, but for those that say nothing: the head of
/// a tied model, frequencies that old files store and everyone computes, and tensors that the family
/// leaves out on purpose.
pub(crate) fn unused(checkpoint: &Checkpoint, decoder: &Decoder) -> Vec<String> {
    let used: std::collections::HashSet<&str> = decoder.params.tensors().collect();
    let head = decoder.params.outer(HEAD);
    let silent = |name: &str| {
        name.ends_with("rotary_emb.inv_freq")
            || (decoder.tied() && name == head)
            || decoder.params.ignores(name)
    };
    let names = checkpoint.tensor_names().filter(|name| !used.contains(name) && !silent(name));
    names.map(str::to_string).collect()
}

impl Inspection {
    /// Bytes of keys and values for a sequence of `tokens`.
    pub fn cache_bytes(&self, tokens: usize) -> u64 {
        self.cache_bytes_per_token * tokens as u64
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let encodings: BTreeMap<&String, Value> = self
            .encodings
            .iter()
            .map(|(name, (tensors, bytes))| (name, json!({"tensors": tensors, "bytes": bytes})))
            .collect();
        let parameters: Vec<Value> =
            self.parameters.iter().map(|(name, ty)| json!({"name": name, "type": ty})).collect();
        json!({
            "summary": self.summary.lines().collect::<Vec<_>>(),
            "encodings": encodings,
            "parameters": parameters,
            "unused_tensors": self.unused,
            "context": self.context,
            "memory": {
                "weights_bytes": self.weight_bytes,
                "cache_bytes_per_token": self.cache_bytes_per_token,
                "cache_bytes_at_context": self.context.map(|tokens| self.cache_bytes(tokens)),
            },
        })
    }
}
