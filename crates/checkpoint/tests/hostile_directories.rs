//! Hugging Face directories that are wrong in one way each: an error that names the place, never a
//! panic.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use stablemate_checkpoint::Checkpoint;
use stablemate_fixtures::Case;
use tempfile::TempDir;

const CONFIG: &str = r#"{"model_type": "llama"}"#;

/// A safetensors file with this header and this much data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.extend(vec![0; data]);
    bytes
}

/// Two tensors, 24 and 8 bytes.
const HEADER: &str = r#"{"__metadata__": {"format": "pt"},
    "a.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b.weight": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}"#;

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn refused(path: &Path, parts: &[&str]) {
    let message = Checkpoint::open(path).err().expect("opened").to_string();
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

fn refused_files(files: &[(&str, &[u8])], parts: &[&str]) {
    let mut all = vec![("config.json", CONFIG.as_bytes())];
    all.extend(files);
    refused(directory(&all).path(), parts);
}

#[test]
fn safetensors_files() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(
            r#"{{"first": {{"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}},
                 "bad": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}"#
        )
    };
    let huge = |length: u64| [length.to_le_bytes().as_slice(), b"{}"].concat();
    let good = file(HEADER, 32);
    for (bytes, part) in [
        (Vec::new(), "the file is empty"),
        (b"1234".to_vec(), "4 bytes are not a safetensors file"),
        (huge(3), "the header has 3 bytes, but only 2 follow: the file is cut short"),
        (huge(u64::MAX), "a header of 18446744073709551615 bytes"),
        (huge(99_999_999), "the header has 99999999 bytes, but only 2 follow"),
        (good[..40].to_vec(), "the file is cut short"),
        (
            good[..good.len() - 1].to_vec(),
            "tensor `b.weight`: ends at byte 32 of the data, of which the file has 31",
        ),
        (file("{", 0), "the header is not valid JSON"),
        (file("[]", 0), "the header is not a JSON object"),
        (file(r#"{"a": 1, "a": 2}"#, 0), "the key `a` appears twice"),
        (file(r#"{"bad": 1}"#, 0), "tensor `bad`: no `dtype`"),
        (file(r#"{"bad": {"dtype": "F32"}}"#, 0), "tensor `bad`: no `shape`"),
        (file(&entry("F32", "[-1]", "[8, 12]"), 16), "tensor `bad`: no `shape`"),
        (file(&entry("F32", "[1.0]", "[8, 12]"), 16), "tensor `bad`: no `shape`"),
        (
            file(&entry("F32", "[1]", "[8]"), 16),
            "tensor `bad`: `data_offsets` is [8]; two positions",
        ),
        (
            file(&entry("F32", "[1]", "[12, 8]"), 16),
            "tensor `bad`: `data_offsets` is [12, 8]: it ends before",
        ),
        (
            file(&entry("F32", "[1]", "[8, 13]"), 16),
            "tensor `bad`: 5 bytes are stored, but shape [1] of F32 takes 4",
        ),
        (
            file(&entry("I64", "[1]", "[8, 12]"), 16),
            "tensor `bad`: 4 bytes are stored, but shape [1] of I64 takes 8",
        ),
        (
            file(&entry("F32", "[1]", "[6, 10]"), 16),
            "tensor `bad`: shares bytes of the file with tensor `first`",
        ),
        (
            file(&entry("F32", "[4294967296, 4294967296]", "[8, 12]"), 16),
            "tensor `bad`: shape [4294967296, 429",
        ),
        (
            file(&entry("F32", "[0, 4294967296, 4294967296]", "[8, 8]"), 16),
            "more values than can be counted",
        ),
        (
            file(&entry("F32", "[4611686018427387904]", "[8, 12]"), 16),
            "more values than can be counted",
        ),
        (
            file(&entry("F32", "[1]", "[18446744073709551612, 18446744073709551615]"), 16),
            "tensor `bad`: ends at",
        ),
    ] {
        refused_files(&[("model.safetensors", &bytes)], &["model.safetensors: ", part]);
    }
}

#[test]
fn other_types_are_refused_when_asked_for() {
    let header = r#"{"position_ids": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]},
        "future": {"dtype": "F4_X", "shape": [3], "data_offsets": [16, 18]},
        "scalar": {"dtype": "F32", "shape": [], "data_offsets": [18, 22]},
        "none": {"dtype": "F32", "shape": [0, 5], "data_offsets": [22, 22]}}"#;
    let bytes = file(header, 22);
    let directory = directory(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &bytes)]);
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert!(checkpoint.tensor_names().eq(["future", "none", "position_ids", "scalar"]));
    for (name, kind) in [("position_ids", "I64"), ("future", "F4_X")] {
        let message = checkpoint.tensor(name).unwrap_err().to_string();
        assert!(
            message.contains(name) && message.contains(kind) && message.contains("BF16"),
            "{message}"
        );
    }
    let mut scalar = [1.0];
    checkpoint.tensor("scalar").unwrap().unwrap().decode(&mut scalar).unwrap();
    assert_eq!(scalar, [0.0]);
    let none = checkpoint.tensor("none").unwrap().unwrap();
    assert_eq!((none.rows(), none.row_len(), none.bytes_len()), (0, 5, 0));
    none.decode(&mut []).unwrap();
    none.release();
}

#[test]
fn shards() {
    let good = file(HEADER, 32);
    let check = |map: &str, parts: &[&str]| {
        let index = format!(r#"{{"weight_map": {map}}}"#);
        let files: &[(&str, &[u8])] =
            &[("model.safetensors.index.json", index.as_bytes()), ("one.safetensors", &good)];
        refused_files(files, &[&["index.json: "], parts].concat());
    };
    let both = r#""a.weight": "one.safetensors", "b.weight": "one.safetensors""#;
    check(
        r#"{"a.weight": "two.safetensors", "b": "three.safetensors"}"#,
        &["three.safetensors, two.safetensors"],
    );
    check(
        r#"{"a.weight": "../one.safetensors"}"#,
        &["`weight_map`", "`../one.safetensors` is not the name"],
    );
    check(r#"{"a.weight": "/etc/one.safetensors"}"#, &["`/etc/one.safetensors` is not the name"]);
    check(
        r#"{"a.weight": "x\\one.safetensors"}"#,
        &["is not the name of a file in the same directory"],
    );
    check(
        r#"{"a.weight": "./one.safetensors"}"#,
        &["is not the name of a file in the same directory"],
    );
    check(r#"{"a.weight": ".."}"#, &["`..` is not the name"]);
    check(r#"{"a.weight": ""}"#, &["`` is not the name"]);
    check(r#"{"a.weight": "config.json"}"#, &["not the name of a safetensors file"]);
    check(r#"{"a.weight": 1}"#, &["tensor `a.weight`: is 1, not a file name"]);
    check("[]", &["`weight_map`", "an object"]);
    check(
        r#"{"a.weight": "one.safetensors"}"#,
        &["`b.weight`: is in one of the files and not in the index"],
    );
    check(
        &format!(r#"{{{both}, "c": "one.safetensors"}}"#),
        &["`c`", "it is in one.safetensors, and it is not"],
    );
    check(&format!(r#"{{{both}, "b.weight": "one.safetensors"}}"#), &["`b.weight` appears twice"]);
    // The same tensors in two files, with an index and without.
    let two: &[(&str, &[u8])] = &[("one.safetensors", &good), ("two.safetensors", &good)];
    refused_files(two, &["two.safetensors: tensor `a.weight`: also in ", "one.safetensors"]);
}

#[test]
fn quantised_checkpoints() {
    for (config, part) in [
        (r#"{"quantization": {"bits": 4}}"#, "`quantization`"),
        (
            r#"{"quantization": {"group_size": 64, "bits": 4}, "quantization_config": {"quant_method": "gptq"}}"#,
            "(gptq)",
        ),
        (r#"{"compression_config": {"a": 1}}"#, "`compression_config`"),
        (r#"{"quantization_config": {"quant_method": "gptq"}}"#, "`quantization_config`"),
        (r#"{"quantization_config": {"quant_method": "awq"}}"#, "(awq)"),
        (r#"{"text_config": {"quantization_config": {"quant_method": "fp8"}}}"#, "(fp8)"),
    ] {
        let directory = directory(&[("config.json", config.as_bytes())]);
        refused(directory.path(), &["config.json: key ", part, "quantised", "GGUF"]);
    }
    let none = directory(&[("config.json", br#"{"quantization_config": null}"#)]);
    Checkpoint::open(none.path()).unwrap();
    for name in ["q.qweight", "q.weight_scale_inv", "q.absmax"] {
        let header = HEADER.replace("b.weight", name);
        refused_files(
            &[("model.safetensors", &file(&header, 32))],
            &[&format!("tensor `{name}` belongs to")],
        );
    }
}

#[test]
fn directories() {
    refused(Path::new("/nowhere/model"), &["/nowhere/model: "]);
    refused(directory(&[]).path(), &["neither a config.json nor a .gguf file"]);
    refused(
        directory(&[("pytorch_model.bin", b"x")]).path(),
        &["pytorch_model.bin", "convert them to safetensors"],
    );
    refused_files(
        &[("pytorch_model.bin", b"x")],
        &["pytorch_model.bin", "convert them to safetensors"],
    );
    refused_files(&[("model.gguf", b"x")], &["model.gguf: open that file itself"]);
    refused_files(&[("adapter_model.safetensors", b"x")], &["an adapter (LoRA)"]);
    refused(
        directory(&[("a.gguf", b"x"), ("b.gguf", b"y")]).path(),
        &["several GGUF", "a.gguf, b.gguf"],
    );
    refused(directory(&[("a.gguf", b"GGML....")]).path(), &["a.gguf: not a GGUF file"]);
    for (config, part) in [
        ("", "not valid JSON"),
        ("[]", "a JSON object is needed"),
        ("{\"a\": 1, \"a\": 1}", "`a` appears twice"),
        ("{\"eos_token_id\": \"x\"}", "key `eos_token_id`: is \"x\"; a token id"),
        ("{\"eos_token_id\": [1, -1]}", "key `eos_token_id`: is -1; a token id"),
        ("{\"text_config\": {\"eos_token_id\": 4294967296}}", "key `eos_token_id`: is 4294967296"),
        ("{\"bos_token_id\": [1]}", "key `bos_token_id`: is [1]; a token id"),
    ] {
        refused(directory(&[("config.json", config.as_bytes())]).path(), &["config.json: ", part]);
    }
    let nothing_else: &[(&str, &[u8])] = &[("generation_config.json", b"[]")];
    refused_files(nothing_else, &["generation_config.json: a JSON object is needed"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damaged files never panic, and what opens can be read.
    #[test]
    fn damage_never_panics(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = file(HEADER, 32);
        for (place, value) in flips {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let directory = directory(&[("config.json", CONFIG.as_bytes()), ("model.safetensors", &bytes)]);
        if let Ok(checkpoint) = Checkpoint::open(directory.path()) {
            for name in checkpoint.tensor_names() {
                if let Ok(Some(tensor)) = checkpoint.tensor(name) {
                    let mut out = vec![0.0; tensor.rows() * tensor.row_len()];
                    tensor.decode(&mut out).unwrap();
                }
            }
        }
    }
}

/// What stands in place of a file: a pointer of Git LFS, a link to nothing, another encoding.
#[cfg(unix)]
#[test]
fn files_that_are_not_themselves() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    let config = Case::open("llama_plain").config_text().unwrap();
    let mut utf_16 = vec![0xFF, 0xFE];
    utf_16.extend(config.encode_utf16().flat_map(u16::to_le_bytes));
    let marked = [&[0xEF, 0xBB, 0xBF], config.as_bytes()].concat();
    let message = |change: &dyn Fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        Case::open("llama_plain").write_checkpoint(directory.path()).unwrap();
        change(directory.path());
        Checkpoint::open(directory.path()).map(|_| ()).unwrap_err().to_string()
    };
    for name in ["config.json", "model.safetensors"] {
        let found = message(&|directory| fs::write(directory.join(name), pointer).unwrap());
        assert!(found.contains(name) && found.contains("git lfs pull"), "{found}");
        let found = message(&|directory| {
            fs::remove_file(directory.join(name)).unwrap();
            std::os::unix::fs::symlink("../blobs/nowhere", directory.join(name)).unwrap();
        });
        assert!(found.contains(&format!("{name}: a link to ../blobs/nowhere, which")), "{found}");
    }
    for (bytes, part) in [(&utf_16, "is UTF-16;"), (&marked, "begins with a byte order mark;")] {
        let found = message(&|directory| fs::write(directory.join("config.json"), bytes).unwrap());
        assert!(found.contains("config.json") && found.contains(part), "{found}");
    }
    let gguf = tempfile::tempdir().unwrap();
    let path = gguf.path().join("model.gguf");
    fs::write(&path, pointer).unwrap();
    let found = Checkpoint::open(&path).map(|_| ()).unwrap_err().to_string();
    assert!(found.contains("git lfs pull"), "{found}");
    let found = Checkpoint::open(Path::new("/dev/zero")).map(|_| ()).unwrap_err().to_string();
    assert!(found.contains("not a regular file"), "{found}");
}
