//! What GGUF metadata may not say, and what its keys mean.

#[allow(dead_code)]
mod common;

use common::metadata;
use stablemate_checkpoint::gguf::{Metadata, Value};
use stablemate_text::{Error, Tokenizer};

fn string(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn strings(texts: &[&str]) -> Value {
    Value::Array(texts.iter().map(|text| string(text)).collect())
}

fn with(kind: &str, key: &str, value: Option<Value>) -> Metadata {
    let mut metadata = metadata(kind);
    match value {
        Some(value) => metadata.0.insert(key.to_owned(), value),
        None => metadata.0.remove(key),
    };
    metadata
}

fn load(kind: &str, key: &str, value: Option<Value>) -> Result<Tokenizer, Error> {
    Tokenizer::from_gguf(&with(kind, key, value)).map(Option::unwrap)
}

#[test]
fn what_cannot_be_right_is_refused_by_name() {
    let shortened = |key: &str, kind: &str| {
        let mut list = metadata(kind).array(key).unwrap().to_vec();
        list.pop();
        Some(Value::Array(list))
    };
    let doubled = |kind: &str| {
        let mut list = metadata(kind).array("tokenizer.ggml.tokens").unwrap().to_vec();
        list[300] = list[301].clone();
        Some(Value::Array(list))
    };
    let (tokens, types) = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type");
    let (merges, scores, pre) =
        ("tokenizer.ggml.merges", "tokenizer.ggml.scores", "tokenizer.ggml.pre");
    let model = "tokenizer.ggml.model";
    let cases = [
        ("qwen2", model, Some(string("rwkv")), "\"rwkv\""),
        ("qwen2", model, Some(string("bert")), "\"gpt2\""),
        ("qwen2", model, Some(Value::Bool(true)), "must be a string"),
        ("qwen2", pre, Some(string("default")), "llama-bpe"),
        ("qwen2", pre, None, "convert the model again"),
        ("qwen2", tokens, None, "is missing"),
        ("qwen2", tokens, doubled("qwen2"), "has two ids, 300 and 301"),
        ("qwen2", tokens, Some(strings(&[&"a".repeat(5000)])), "5000 bytes"),
        ("qwen2", types, None, "is missing"),
        ("qwen2", types, shortened(types, "qwen2"), "487 entries for 488 tokens"),
        ("qwen2", types, Some(Value::Array(vec![Value::Signed(7); 488])), "types 1 to 6"),
        ("qwen2", merges, None, "is missing"),
        ("qwen2", merges, Some(strings(&["h e", "he"])), "entry 1 is \"he\", not two tokens"),
        ("qwen2", merges, Some(strings(&["h e l"])), "not two tokens"),
        ("qwen2", merges, Some(strings(&["h 東"])), "\"東\" is not in the vocabulary"),
        ("qwen2", merges, Some(strings(&["h h"])), "which the two become"),
        ("qwen2", merges, Some(Value::Array(vec![Value::Signed(1)])), "not a string"),
        (
            "qwen2",
            "tokenizer.ggml.add_bos_token",
            Some(Value::Bool(true)),
            "tokenizer.ggml.bos_token_id is missing",
        ),
        ("qwen2", "tokenizer.ggml.add_bos_token", Some(Value::Signed(1)), "true or false"),
        (
            "qwen2",
            "tokenizer.ggml.eos_token_id",
            Some(Value::Unsigned(488)),
            "there are 488 tokens",
        ),
        ("qwen2", "tokenizer.ggml.eos_token_id", Some(Value::Signed(-1)), "non-negative"),
        ("qwen2", "tokenizer.ggml.add_space_prefix", Some(Value::Bool(true)), "add_space_prefix"),
        ("qwen2", "tokenizer.chat_template", Some(Value::Bool(true)), "must be a string"),
        ("llama", scores, None, "is missing"),
        ("llama", scores, shortened(scores, "llama"), "597 entries for 598 tokens"),
        ("llama", scores, Some(Value::Array(vec![Value::Float(f64::NAN); 598])), "not a number"),
        ("llama", types, Some(Value::Array(vec![Value::Signed(6); 598])), "not written <0xNN>"),
        (
            "llama",
            "tokenizer.ggml.remove_extra_whitespaces",
            Some(Value::Bool(true)),
            "remove_extra_whitespaces",
        ),
        (
            "llama",
            "tokenizer.ggml.precompiled_charsmap",
            Some(Value::Array(vec![Value::Signed(1)])),
            "by a table",
        ),
    ];
    for (kind, key, value, expected) in cases {
        let error = load(kind, key, value).expect_err(expected).to_string();
        assert!(
            error.contains(expected) && error.contains("tokenizer."),
            "{key}: {error}\n  should say {expected}"
        );
    }
}

#[test]
fn a_file_without_a_tokenizer_has_none() {
    assert!(Tokenizer::from_gguf(&Metadata::default()).unwrap().is_none());
    assert!(
        Tokenizer::from_gguf(&with("qwen2", "tokenizer.ggml.model", Some(string("none"))))
            .unwrap()
            .is_none()
    );
}

#[test]
fn defaults_are_those_of_llama_cpp() {
    let first = |tokenizer: &Tokenizer| tokenizer.encode("a", true).unwrap()[0];
    let key = "tokenizer.ggml.add_bos_token";
    // Llama 3 and SentencePiece begin texts with a token unless a key says no, GPT-2 does not.
    assert_eq!(first(&load("llama-bpe", key, None).unwrap()), 491);
    assert_eq!(first(&load("llama", key, None).unwrap()), 1);
    assert_ne!(first(&load("gpt-2", key, None).unwrap()), 494);
    assert_ne!(first(&load("llama", key, Some(Value::Bool(false))).unwrap()), 1);
    let eos = load("gpt-2", "tokenizer.ggml.add_eos_token", Some(Value::Bool(true))).unwrap();
    assert_eq!(eos.encode("a", true).unwrap().last(), Some(&494));
    // SentencePiece's own ids where no key names others.
    let plain = load("llama", "tokenizer.ggml.bos_token_id", None).unwrap();
    assert_eq!((plain.bos_token(), plain.eos_token()), (Some("<s>"), Some("</s>")));
}

#[test]
fn the_vocabulary_can_be_asked() {
    let mut metadata = metadata("llama-bpe");
    metadata.0.insert("tokenizer.ggml.eot_token_id".to_owned(), Value::Unsigned(492));
    metadata.0.insert("tokenizer.chat_template".to_owned(), string("{{ bos_token }}usual"));
    metadata.0.insert("tokenizer.chat_template.tool_use".to_owned(), string("tools"));
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap().unwrap();
    assert_eq!(tokenizer.vocabulary_size(), 496);
    assert_eq!(tokenizer.token(491).as_deref(), Some("<|begin_of_text|>"));
    assert_eq!(tokenizer.token(496), None);
    assert_eq!(tokenizer.id("<|eot_id|>"), Some(495));
    assert_eq!(
        (tokenizer.bos_token(), tokenizer.eos_token()),
        (Some("<|begin_of_text|>"), Some("<|eot_id|>"))
    );
    assert_eq!(tokenizer.end_ids(), [495, 492]);
    assert_eq!(
        tokenizer.special_ids().iter().copied().collect::<Vec<_>>(),
        [491, 492, 493, 494, 495]
    );
    assert_eq!(tokenizer.chat_template_source(false).unwrap(), Some("{{ bos_token }}usual"));
    assert_eq!(tokenizer.chat_template_source(true).unwrap(), Some("tools"));
    assert_eq!(tokenizer.decode(&[4_000_000_000], false), "");
}

#[test]
fn phi3_takes_white_space_along_with_special_tokens() {
    let mut metadata = metadata("llama");
    let spaced = |metadata: &Metadata| {
        let tokenizer = Tokenizer::from_gguf(metadata).unwrap().unwrap();
        let [with, without] =
            ["<|im_end|>\n x", "<|im_end|>x"].map(|text| tokenizer.encode(text, false).unwrap());
        with == without
    };
    assert!(!spaced(&metadata));
    metadata.0.insert("general.architecture".to_owned(), string("phi3"));
    assert!(spaced(&metadata));
}
