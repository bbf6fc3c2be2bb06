use super::*;

fn choice(id: &str, names: &[&str]) -> Result<Choice, Unfit> {
    choose(&ModelId::parse(id).unwrap(), names)
}

fn directory(small: &[&str], weights: Option<&[&str]>) -> Result<Choice, Unfit> {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Ok(Choice::Directory { small: owned(small), weights: weights.map(owned) })
}

fn gguf(first: &str, others: &[&str]) -> Result<Choice, Unfit> {
    let others = others.iter().map(|name| (*name).to_owned()).collect();
    Ok(Choice::Gguf { first: first.to_owned(), others })
}

#[test]
fn a_directory_takes_only_what_is_read() {
    let names = [
        ".gitattributes",
        "README.md",
        "additional_chat_templates/tool_use.jinja",
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "onnx/model.onnx",
        "original/config.json",
        "pytorch_model.bin",
        "tokenizer.json",
        "tokenizer.model",
        "x.gguf",
    ];
    let small = [
        "tokenizer.json",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
        "config.json",
    ];
    assert_eq!(choice("a/b", &names), directory(&small, Some(&["model.safetensors"])));
}

#[test]
fn weights_by_index_or_under_other_names() {
    let sharded = ["config.json", "model.safetensors.index.json", "s1.safetensors"];
    let small = ["config.json", "model.safetensors.index.json"];
    assert_eq!(choice("a/b", &sharded), directory(&small, None));
    let other = [
        "adapter_model.safetensors",
        "config.json",
        "consolidated.safetensors",
        "tokenizer.model",
        "unet/x.safetensors",
        "weights.safetensors",
    ];
    let small = ["tokenizer.model", "config.json"];
    assert_eq!(choice("a/b", &other), directory(&small, Some(&["weights.safetensors"])));
}

#[test]
fn the_only_gguf_file() {
    assert_eq!(choice("a/b", &["config.json", "x.gguf"]), gguf("x.gguf", &[]));
    assert_eq!(choice("a/b", &["mmproj-x.gguf", "x.GGUF"]), gguf("x.GGUF", &[]));
    let split = ["q/x-00002-of-00002.gguf", "q/x-00001-of-00002.gguf"];
    assert_eq!(
        choice("a/b", &split),
        gguf("q/x-00001-of-00002.gguf", &["q/x-00002-of-00002.gguf"])
    );
    assert_eq!(choice("a/b:q/x-00002-of-00002.gguf", &split), choice("a/b", &split));
    assert_eq!(
        choice("a/b:x.gguf", &["x.gguf", "y.gguf", "model.safetensors"]),
        gguf("x.gguf", &[])
    );
}

#[test]
fn what_cannot_be_chosen_says_why() {
    let cases: [(&str, &[&str], &[&str]); 7] = [
        ("a/b@c", &["y.gguf", "x.gguf"], &["several", "`a/b@c:x.gguf`", ": x.gguf, y.gguf"]),
        ("a/b:z.gguf", &["y.gguf", "x.gguf"], &["no z.gguf", "x.gguf, y.gguf"]),
        ("a/b", &["x-00001-of-00002.gguf"], &["no x-00002-of-00002.gguf"]),
        (
            "a/b",
            &["config.json", "pytorch_model.bin"],
            &["pytorch_model.bin cannot be read", "safetensors"],
        ),
        ("a/b", &["adapter_model.safetensors"], &["adapter_model.safetensors cannot be read"]),
        ("a/b", &["README.md"], &["neither safetensors nor .gguf"]),
        ("a/b", &["model.safetensors"], &["no config.json"]),
    ];
    for (id, names, words) in cases {
        let message = choice(id, names).unwrap_err().to_string();
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn shards_are_those_of_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let with = |index: &str| {
        std::fs::write(folder.path().join(INDEX), index).unwrap();
        shards(folder.path(), &["a.safetensors", "b.safetensors", "c.safetensors"])
    };
    let index =
        r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}"#;
    assert_eq!(with(index).unwrap(), ["a.safetensors", "b.safetensors"]);
    let wrong = [
        ("", "not JSON"),
        ("[]", "weight_map"),
        (r#"{"weight_map": {}}"#, "no files"),
        (r#"{"weight_map": {"x": 1}}"#, "tensor `x`"),
        (r#"{"weight_map": {"x": "../a.safetensors"}}"#, "../a.safetensors"),
        (r#"{"weight_map": {"x": "config.json"}}"#, "config.json"),
        (r#"{"weight_map": {"x": "d.safetensors"}}"#, "no d.safetensors"),
    ];
    for (index, word) in wrong {
        let message = with(index).unwrap_err().to_string();
        assert!(message.contains(word), "{index}: {message}");
    }
}
