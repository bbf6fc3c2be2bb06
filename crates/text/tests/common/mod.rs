//! The vocabularies of `fixtures/tokenizers`.

use serde_json::Value;
use stablemate_checkpoint::gguf::{self, Metadata};
use stablemate_text::Tokenizer;
use std::path::PathBuf;

/// Byte-level kinds first, then those whose bytes are tokens of their own.
pub const KINDS: [&str; 6] = ["gpt-2", "smollm", "qwen2", "llama-bpe", "llama", "gemma"];

/// Kinds whose bytes are tokens of their own.
pub const BYTE_FALLBACK: [&str; 2] = ["llama", "gemma"];

/// A file of the fixture.
pub fn path(kind: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/tokenizers")
        .join(kind)
        .join(file)
}

/// A file of the fixture, read.
pub fn read(kind: &str, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path(kind, file)).unwrap()).unwrap()
}

/// A JSON value as GGUF metadata.
pub fn metadata_value(value: &Value) -> gguf::Value {
    match value {
        Value::Bool(flag) => gguf::Value::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => gguf::Value::Signed(n),
            (None, x) => gguf::Value::Float(x.unwrap()),
        },
        Value::String(text) => gguf::Value::String(text.clone()),
        Value::Array(items) => gguf::Value::Array(items.iter().map(metadata_value).collect()),
        other => panic!("GGUF has no value like {other}"),
    }
}

/// The GGUF metadata of a kind.
pub fn metadata(kind: &str) -> Metadata {
    let fields = read(kind, "gguf.json");
    Metadata(
        fields
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), metadata_value(value)))
            .collect(),
    )
}

/// The same vocabulary, as it is read from both kinds of file.
pub fn both(kind: &str) -> [(&'static str, Tokenizer); 2] {
    let file = Tokenizer::from_file(&path(kind, "tokenizer.json")).unwrap();
    let gguf = Tokenizer::from_gguf(&metadata(kind)).unwrap().unwrap();
    [("tokenizer.json", file), ("gguf.json", gguf)]
}

/// A list of ids.
pub fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|id| u32::try_from(id.as_u64().unwrap()).unwrap())
        .collect()
}
