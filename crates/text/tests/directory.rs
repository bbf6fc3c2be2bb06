//! A tokenizer in a Hugging Face directory.

#[allow(dead_code)]
mod common;

use common::path;
use proptest::prelude::*;
use serde_json::{Value, json};
use stablemate_text::{Error, Tokenizer};
use std::path::Path;
use tempfile::TempDir;

fn directory(kind: &str, files: &[(&str, Value)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(path(kind, "tokenizer.json"), directory.path().join("tokenizer.json")).unwrap();
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn load(kind: &str, files: &[(&str, Value)]) -> Result<Tokenizer, Error> {
    Tokenizer::from_directory(directory(kind, files).path()).map(Option::unwrap)
}

fn config(content: Value) -> [(&'static str, Value); 1] {
    [("tokenizer_config.json", content)]
}

#[test]
fn without_tokenizer_json_there_is_none_or_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Tokenizer::from_directory(directory.path()).unwrap().is_none());
    std::fs::write(directory.path().join("tokenizer.model"), b"").unwrap();
    let error = Tokenizer::from_directory(directory.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.model") && error.contains("save_pretrained"), "{error}");
}

#[test]
fn special_tokens_come_from_either_file() {
    let bos = json!({"content": "<|im_start|>", "special": true});
    let tokenizer = load(
        "qwen2",
        &[
            (
                "tokenizer_config.json",
                json!({"bos_token": null, "eos_token": "<|im_end|>", "pad_token": "[PAD]"}),
            ),
            ("special_tokens_map.json", json!({"bos_token": bos, "eos_token": "<|endoftext|>"})),
        ],
    )
    .unwrap();
    assert_eq!(
        (tokenizer.bos_token(), tokenizer.eos_token()),
        (Some("<|im_start|>"), Some("<|im_end|>"))
    );
    assert_eq!(tokenizer.special_token("pad_token"), Some("[PAD]"));
    assert_eq!(tokenizer.end_ids(), [483]);
    // A token that the vocabulary does not have gets no id: the model would have no row for it.
    assert_eq!((tokenizer.id("[PAD]"), tokenizer.vocabulary_size()), (None, 488));
}

#[test]
fn a_role_makes_a_token_special() {
    let plain = load("qwen2", &[]).unwrap();
    let think = plain.id("<think>").unwrap();
    assert!(!plain.special_ids().contains(&think));
    let special =
        load("qwen2", &config(json!({"additional_special_tokens": ["<think>"]}))).unwrap();
    assert!(special.special_ids().contains(&think));
    let listed =
        json!({"added_tokens_decoder": {"484": {"content": "<tool_call>", "special": true}}});
    assert!(load("qwen2", &config(listed)).unwrap().special_ids().contains(&484));
}

/// As in transformers 5, whatever the class: `tokenizer.json` alone says it.
#[test]
fn flags_do_not_change_what_surrounds_a_text() {
    let around = |kind: &str, content: Value| {
        let tokenizer = load(kind, &config(content)).unwrap();
        let inside = tokenizer.encode("a", false).unwrap().len();
        let ids = tokenizer.encode("a", true).unwrap();
        let special = |id: &u32| tokenizer.special_ids().contains(id);
        (special(&ids[0]), special(ids.last().unwrap()), ids.len() - inside)
    };
    for class in ["PreTrainedTokenizerFast", "LlamaTokenizer", "GemmaTokenizer", "Qwen2Tokenizer"] {
        for flags in [
            json!({}),
            json!({"add_bos_token": false}),
            json!({"add_bos_token": true, "add_eos_token": true}),
            json!({"add_bos_token": "yes"}),
        ] {
            let mut content = json!({"tokenizer_class": class, "bos_token": "<|begin_of_text|>",
                                     "eos_token": "<|eot_id|>"});
            content.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
            assert_eq!(around("llama-bpe", content), (true, false, 1), "{class} {flags}");
            let mut content = json!({"tokenizer_class": class, "bos_token": "<|endoftext|>"});
            content.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
            assert_eq!(around("qwen2", content), (false, false, 0), "{class} {flags}");
        }
    }
}

/// Gemma 3 lists 6415 tokens twice. Each addition costs the library as much as all before it.
#[test]
fn many_added_tokens_load_at_once() {
    const COUNT: usize = 6000;
    let mut definition = common::read("qwen2", "tokenizer.json");
    let first = 488;
    let token = |index: usize| {
        json!({"content": format!("<unused{index}>"), "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": false, "special": index.is_multiple_of(2)})
    };
    let mut decoder = serde_json::Map::new();
    let added = definition["added_tokens"].as_array_mut().unwrap();
    for index in 0..COUNT {
        let mut entry = token(index);
        entry["id"] = json!(first + index);
        added.push(entry);
        let mut listed = token(index);
        // Flags of this file count.
        listed["special"] = json!(true);
        decoder.insert((first + index).to_string(), listed);
    }
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        std::fs::write(directory.path().join(name), value.to_string()).unwrap();
    };
    write("tokenizer.json", &definition);
    write("tokenizer_config.json", &json!({"added_tokens_decoder": decoder}));
    let start = std::time::Instant::now();
    let tokenizer = Tokenizer::from_directory(directory.path()).unwrap().unwrap();
    // One by one it takes minutes.
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
    let ids = tokenizer.encode("<unused7>a<unused5999>", false).unwrap();
    assert_eq!((ids[0], ids[2]), (495, 6487));
    assert!((first..first + COUNT).all(|id| tokenizer.special_ids().contains(&(id as u32))));
}

#[test]
fn templates_are_found_in_their_order() {
    let source = |files: &[(&str, Value)], tools: bool| {
        let tokenizer = load("qwen2", files)?;
        tokenizer.chat_template_source(tools).map(|source| source.map(str::to_owned))
    };
    let found = |files: &[(&str, Value)], tools| source(files, tools).unwrap();
    assert_eq!(found(&[], false), None);
    let named = json!({"chat_template": [
        {"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}, {"name": "rag", "template": "r"},
    ]});
    assert_eq!(found(&config(named.clone()), false).as_deref(), Some("d"));
    assert_eq!(found(&config(named), true).as_deref(), Some("t"));
    let mut files = vec![("chat_template.json", json!({"chat_template": "from json"}))];
    assert_eq!(found(&files, true).as_deref(), Some("from json"));
    files.push(("tokenizer_config.json", json!({"chat_template": "from config"})));
    assert_eq!(found(&files, true).as_deref(), Some("from config"));
    files.push(("chat_template.jinja", json!("from jinja")));
    assert_eq!(found(&files, true).as_deref(), Some("from jinja"));
    let only = config(json!({"chat_template": [{"name": "rag", "template": "r"}]}));
    assert!(source(&only, false).unwrap_err().to_string().contains("rag"));
}

#[test]
fn the_template_has_the_model_s_tokens() {
    let content = json!({"eos_token": "<|im_end|>", "chat_template": "{{ eos_token }}{{ bos_token is defined }}"});
    let template = load("qwen2", &config(content)).unwrap().chat_template(false).unwrap().unwrap();
    let now = stablemate_text::LocalTime {
        time: std::time::SystemTime::UNIX_EPOCH,
        utc_offset_seconds: 0,
    };
    let prompt = template.render(&stablemate_text::ChatInput::new(json!([]), now)).unwrap();
    assert_eq!(prompt, "<|im_end|>False");
}

#[test]
fn contradictions_are_refused_by_name() {
    let cases = [
        (json!({"added_tokens_decoder": {"3": {"content": "<think>"}}}), "<think>"),
        (json!({"added_tokens_decoder": {"x": {"content": "<think>"}}}), "\"x\" is not an id"),
        (json!({"added_tokens_decoder": []}), "added_tokens_decoder"),
        (json!({"bos_token": 5}), "bos_token"),
        (json!({"chat_template": 5}), "chat_template"),
        (json!([]), "not a JSON object"),
        (json!("{"), "not JSON"),
    ];
    for (content, expected) in cases {
        let error = load("qwen2", &config(content)).unwrap_err().to_string();
        assert!(
            error.contains(expected) && error.contains("tokenizer_config.json"),
            "{error}\n  should say {expected}"
        );
    }
}

/// `tokenizer.json` of a kind with one thing changed.
fn altered(kind: &str, pointer: &str, value: Value) -> Result<Tokenizer, Error> {
    let mut definition = common::read(kind, "tokenizer.json");
    *definition.pointer_mut(pointer).unwrap() = value;
    read(&definition)
}

fn read(definition: &Value) -> Result<Tokenizer, Error> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), definition.to_string()).unwrap();
    Tokenizer::from_file(file.path())
}

#[test]
fn what_cannot_be_right_in_tokenizer_json_is_refused_by_name() {
    let cases = [
        ("/model", json!(null), "model: "),
        ("/version", json!("2.0"), "version is \"2.0\""),
        ("/pre_tokenizer", json!({"type": "Other"}), "pre_tokenizer: "),
        ("/model/dropout", json!(0.1), "model.dropout"),
        ("/model/vocab/a", json!(-1), "model.vocab"),
        ("/model/vocab/a", json!(5), "id 5 has two tokens"),
        ("/model/merges/3", json!("ab"), "model.merges[3]"),
        ("/model/merges/3", json!(["a", "東東"]), "model.merges[3]"),
        ("/model/merges/3", json!(["the", "the"]), "model.merges[3]"),
        ("/model/continuing_subword_prefix", json!("##"), "model.merges[0]"),
        ("/added_tokens/0/id", json!(7), "added_tokens"),
        ("/decoder", json!({"type": "CTC"}), "decoder \"CTC\""),
        ("/post_processor", json!({"type": "Other"}), "post_processor \"Other\""),
        ("/post_processor/special_tokens", json!({}), "post_processor.single"),
        ("/normalizer", json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "gave up"),
    ];
    for (pointer, value, expected) in cases {
        let error = altered("llama", pointer, value).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}\n  should say {expected}");
    }
    assert!(matches!(Tokenizer::from_file(Path::new("nowhere")), Err(Error::Read { .. })));
}

#[test]
fn settings_for_batches_do_not_cut_prompts() {
    let strategy =
        json!({"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0});
    let cut = altered("llama", "/truncation", strategy).unwrap();
    let [(_, whole), _] = common::both("llama");
    let text = "The river was low that summer.";
    assert_eq!(cut.encode(text, true).unwrap(), whole.encode(text, true).unwrap());
}

/// Replaces one value somewhere inside.
fn damage(value: &mut Value, path: &[prop::sample::Index], replacement: Value) {
    let Some((first, rest)) = path.split_first() else {
        *value = replacement;
        return;
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let index = first.index(fields.len());
            damage(fields.values_mut().nth(index).unwrap(), rest, replacement);
        }
        Value::Array(items) if !items.is_empty() => {
            let index = first.index(items.len());
            damage(&mut items[index], rest, replacement);
        }
        other => *other = replacement,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_an_error_or_works(
        kind in proptest::sample::select(common::KINDS.to_vec()),
        path in proptest::collection::vec(any::<prop::sample::Index>(), 1..6),
        replacement in proptest::sample::select(vec![
            json!(null), json!(""), json!(-1), json!(u32::MAX), json!([]), json!({}), json!(true), json!("a b"),
            json!({"type": "Strip", "content": " ", "start": 3, "stop": 2}), json!({"type": "FixedLength", "length": 0}),
            json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        ]),
    ) {
        let mut definition = common::read(kind, "tokenizer.json");
        damage(&mut definition, &path, replacement);
        if let Ok(tokenizer) = read(&definition) {
            for text in ["", " a\n é東🙂 <s> 12"] {
                if let (Ok(ids), Ok(_)) = (tokenizer.encode(text, true), tokenizer.encode_plain(text)) {
                    tokenizer.decode(&ids, true);
                }
            }
        }
    }
}

#[cfg(unix)]
#[test]
fn a_tokenizer_that_is_no_text() {
    let message = |path: &Path| Tokenizer::from_file(path).map(|_| ()).unwrap_err().to_string();
    assert!(message(Path::new("/dev/zero")).contains("not a regular file"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
        .unwrap();
    assert!(message(file.path()).contains("git lfs pull"));
    std::fs::write(file.path(), b"\xff\xfe{\0}\0").unwrap();
    assert!(message(file.path()).contains("is UTF-16"));
}
