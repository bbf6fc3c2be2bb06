//! Kinds of GGUF tokenizers: how text is cut, and merges in the file of a SentencePiece vocabulary.

#[allow(dead_code)]
mod common;

use common::{ids, metadata, metadata_value, path, read};
use serde_json::{Value, json};
use stablemate_checkpoint::gguf::{self, Metadata};
use stablemate_text::Tokenizer;

/// The vocabulary of `fixtures/tokenizers/pre.json` as a file of this kind.
fn cut_like(all: &Value, pre: &str) -> Metadata {
    let count = all["tokens"].as_array().unwrap().len();
    let fields = json!({
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": all["tokens"],
        "tokenizer.ggml.token_type": vec![1; count],
        "tokenizer.ggml.merges": all["merges"],
        "tokenizer.ggml.add_bos_token": false,
    });
    let fields = fields.as_object().unwrap();
    Metadata(fields.iter().map(|(key, value)| (key.clone(), metadata_value(value))).collect())
}

fn pre_kinds() -> Value {
    let path = path("pre.json", "");
    let text = std::fs::read_to_string(path.to_str().unwrap().trim_end_matches('/')).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn every_kind_cuts_text_as_its_model_does() {
    let all = pre_kinds();
    let kinds = all["kinds"].as_object().unwrap();
    assert_eq!(kinds.len(), 15);
    for (pre, expected) in kinds {
        let tokenizer = Tokenizer::from_gguf(&cut_like(&all, pre)).unwrap().unwrap();
        let texts = all["texts"].as_array().unwrap();
        for (text, expected) in texts.iter().zip(expected.as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let encoded = tokenizer.encode(text, false).unwrap();
            assert_eq!(encoded, ids(expected), "{pre}: {text:?}");
        }
    }
}

#[test]
fn other_names_of_a_kind() {
    let all = pre_kinds();
    for (other, pre) in [
        ("llama3", "llama-bpe"),
        ("llama-v3", "llama-bpe"),
        ("refact", "starcoder"),
        ("smollm", "starcoder"),
        ("olmo", "mpt"),
        ("llama4", "gpt-4o"),
        ("chatglm-bpe", "glm4"),
        ("deepseek-r1-qwen", "qwen2"),
        ("phi-2", "gpt-2"),
    ] {
        let tokenizer = Tokenizer::from_gguf(&cut_like(&all, other)).unwrap().unwrap();
        let text = "It's 1234 ÅNGSTRÖM ÅNGSTRÖM 東京123abc";
        let same = Tokenizer::from_gguf(&cut_like(&all, pre)).unwrap().unwrap();
        assert_eq!(tokenizer.encode(text, false).unwrap(), same.encode(text, false).unwrap());
    }
}

/// llama.cpp treats these like others, but the models' own files are not known to agree.
#[test]
fn kinds_that_are_not_known_are_refused_by_name() {
    let all = pre_kinds();
    for pre in ["default", "falcon3", "falcon-h1", "lfm2", "superbpe", "exaone4", "bailingmoe2"] {
        let error = Tokenizer::from_gguf(&cut_like(&all, pre)).unwrap_err().to_string();
        assert!(error.contains(&format!("{pre:?}; supported are gpt-2")), "{error}");
    }
}

/// A vocabulary of SentencePiece whose merges the file has: gemma 4.
#[test]
fn merges_of_the_file() {
    let file: Value = read("gemma", "tokenizer.json");
    let merges: Vec<gguf::Value> = file["model"]["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            let [left, right] = [0, 1].map(|side| pair[side].as_str().unwrap());
            gguf::Value::String(format!("{left} {right}"))
        })
        .collect();
    let mut metadata = metadata("gemma");
    let mut set = |key: &str, value| metadata.0.insert(format!("tokenizer.ggml.{key}"), value);
    set("model", gguf::Value::String("gemma4".to_owned()));
    set("merges", gguf::Value::Array(merges));
    metadata.0.remove("tokenizer.ggml.add_space_prefix");
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap().unwrap();
    for row in read("gemma", "expected.json").as_array().unwrap() {
        let text = row["text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text, false).unwrap(), ids(&row["ids"]), "{text:?}");
        let special = tokenizer.encode(text, true).unwrap();
        assert_eq!(special, ids(&row["ids_with_special"]), "{text:?}");
        assert_eq!(tokenizer.decode(&special, true), row["decoded_skipping"], "{text:?}");
    }
    for key in ["bos", "eos", "unknown"] {
        metadata.0.remove(&format!("tokenizer.ggml.{key}_token_id"));
    }
    let defaults = Tokenizer::from_gguf(&metadata).unwrap().unwrap();
    assert_eq!((defaults.bos_token(), defaults.eos_token()), (Some("<bos>"), Some("<eos>")));
    metadata.0.remove("tokenizer.ggml.merges");
    let error = Tokenizer::from_gguf(&metadata).unwrap_err().to_string();
    assert!(error.contains("tokenizer.ggml.merges is missing"), "{error}");
}
