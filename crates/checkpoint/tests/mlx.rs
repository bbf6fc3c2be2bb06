//! Directories with MLX's quantised weights: what MLX itself wrote, and what is wrong in one way each.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use stablemate_checkpoint::{Checkpoint, Encoding, Float};
use stablemate_encodings::{Bits, LANES, Packing, gather};
use tempfile::TempDir;

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/mlx/tiny")
}

fn float(name: &str) -> Float {
    [Float::F32, Float::F16, Float::Bf16].into_iter().find(|float| float.name() == name).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn what_mlx_wrote() {
    let checkpoint = Checkpoint::open(&fixture()).unwrap();
    let expected: Value =
        serde_json::from_str(&fs::read_to_string(fixture().join("expected.json")).unwrap())
            .unwrap();
    let tensors = expected["tensors"].as_array().unwrap();
    let mut total = 0;
    for expected in tensors {
        let name = expected["name"].as_str().unwrap();
        let number = |key: &str| expected[key].as_u64().unwrap() as usize;
        let tensor = checkpoint.tensor(name).unwrap().unwrap();
        let encoding = Encoding::Affine {
            bits: Bits::new(number("bits")).unwrap(),
            group: number("group"),
            scales: float(expected["scales"].as_str().unwrap()),
        };
        assert_eq!(tensor.encoding(), encoding, "{name}");
        assert_eq!(json!(tensor.shape()), expected["shape"], "{name}");
        let (rows, columns) = (tensor.rows(), tensor.row_len());
        assert_eq!(tensor.bytes_len(), rows * encoding.row_bytes(columns).unwrap(), "{name}");
        assert!(tensor.dense_bytes().is_none());
        total += tensor.bytes_len() as u64;
        let mut values = vec![f32::NAN; rows * columns];
        tensor.decode(&mut values).unwrap();
        let hash: String =
            Sha256::digest(bytes(&values)).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, expected["sha256"].as_str().unwrap(), "{name}");
        let first: Vec<f32> = expected["first"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap() as f32)
            .collect();
        assert_eq!(values[..4], first, "{name}");

        // Packed rows have the same values.
        let packing = tensor.packing().unwrap();
        let mut words = vec![0; packing.row_words(columns)];
        let mut tile = vec![u32::MAX; packing.row_words(columns) * LANES];
        let mut row_values = vec![f32::NAN; columns];
        tensor.release_rows(0..rows);
        for (row, expected) in values.chunks_exact(columns).enumerate() {
            tensor.pack_row(row, &mut words).unwrap();
            packing.unpack_row(&words, &mut row_values);
            assert_eq!(bytes(&row_values), bytes(expected), "{name} row {row}");
            tensor.pack_tile(row / LANES, &mut tile).unwrap();
            let packed = words.clone();
            gather(&tile, row % LANES, &mut words);
            assert_eq!(words, packed, "{name} row {row}");
        }
        assert_eq!(packing.words(rows, columns), Packing::tiles(rows) * tile.len());
    }
    assert_eq!(tensors.len(), 7);
    // The rest is dense; scales and biases are no tensors of their own.
    let dense = |name: &str| match checkpoint.tensor(name).unwrap().unwrap().encoding() {
        Encoding::Dense(float) => float,
        other => panic!("{name}: {other}"),
    };
    assert_eq!(dense("model.layers.0.mlp.router.weight"), Float::Bf16);
    assert_eq!(dense("model.norm.weight"), Float::Bf16);
    assert_eq!(checkpoint.tensor_names().count(), tensors.len() + 2);
    assert_eq!(checkpoint.total_bytes(), total + 4 * 64 * 2 + 64 * 2);
    assert_eq!(
        checkpoint
            .tensor("model.layers.0.self_attn.v_proj.weight")
            .unwrap()
            .unwrap()
            .encoding()
            .to_string(),
        "MLX 6-bit group 32 BF16"
    );
    // What was read is not reported as unread.
    assert_eq!(checkpoint.config().model_type().unwrap(), "llama");
    checkpoint.config().finish().unwrap();
}

#[test]
fn tensors_stored_alike() {
    let checkpoint = Checkpoint::open(&fixture()).unwrap();
    let tensor = |name: &str| checkpoint.tensor(name).unwrap().unwrap();
    let (first, second) = (tensor("model.embed_tokens.weight"), tensor("model.norm.weight"));
    assert!(first.stored_like(&first) && second.stored_like(&second));
    assert!(!first.stored_like(&second));
    let other = Directory::new();
    let changed = Directory { scales: vec![1; 32], ..Directory::new() };
    let (other, changed) = (other.write(), changed.write());
    let (other, changed) =
        (Checkpoint::open(other.path()).unwrap(), Checkpoint::open(changed.path()).unwrap());
    let tensor = |checkpoint| Checkpoint::tensor(checkpoint, "a.weight").unwrap().unwrap();
    assert!(!tensor(&other).stored_like(&tensor(&changed)), "scales differ");
}

/// A directory with one layer `a` of four rows of 64 columns, 4 bits in groups of 32, to be spoilt.
#[derive(Clone)]
struct Directory {
    config: Value,
    tensors: Vec<(&'static str, &'static str, Vec<usize>)>,
    scales: Vec<u8>,
    codes: Vec<u8>,
}

impl Directory {
    fn new() -> Self {
        Self {
            config: json!({"model_type": "llama", "quantization": {"group_size": 32, "bits": 4}}),
            tensors: vec![
                ("a.weight", "U32", vec![4, 8]),
                ("a.scales", "F32", vec![4, 2]),
                ("a.biases", "F32", vec![4, 2]),
                ("b.weight", "F16", vec![4, 64]),
            ],
            scales: vec![0; 32],
            codes: Vec::new(),
        }
    }

    fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("config.json"), self.config.to_string()).unwrap();
        let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
        for (name, dtype, shape) in &self.tensors {
            let size = match *dtype {
                "U8" => 1,
                "F16" | "BF16" => 2,
                _ => 4,
            };
            let start = data.len();
            data.resize(start + shape.iter().product::<usize>() * size, 0);
            for (of, bytes) in [("a.scales", &self.scales), ("a.weight", &self.codes)] {
                if *name == of && data.len() == start + bytes.len() {
                    data[start..].copy_from_slice(bytes);
                }
            }
            let entry =
                json!({"dtype": dtype, "shape": shape, "data_offsets": [start, data.len()]});
            header.insert((*name).to_owned(), entry);
        }
        let header = Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(data);
        fs::write(directory.path().join("model.safetensors"), file).unwrap();
        directory
    }

    fn set(&mut self, name: &str, dtype: &'static str, shape: &[usize]) {
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.0 == name) {
            (tensor.1, tensor.2) = (dtype, shape.to_vec());
        }
    }
}

/// Spoils the directory; the refusal must contain each of `parts`.
fn refused(spoil: impl FnOnce(&mut Directory), parts: &[&str]) {
    let mut directory = Directory::new();
    spoil(&mut directory);
    let message = Checkpoint::open(directory.write().path()).err().expect("opened").to_string();
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

fn opened(change: impl FnOnce(&mut Directory)) -> (TempDir, Checkpoint) {
    let mut directory = Directory::new();
    change(&mut directory);
    let written = directory.write();
    let checkpoint = Checkpoint::open(written.path()).unwrap();
    (written, checkpoint)
}

#[test]
fn configurations() {
    let (_files, checkpoint) = opened(|_| {});
    assert_eq!(checkpoint.tensor("a.weight").unwrap().unwrap().shape(), [4, 64]);
    for (quantization, parts) in [
        (
            json!({"group_size": 32, "bits": 7}),
            ["`quantization.bits`", "is 7; 2, 3, 4, 5, 6 and 8"],
        ),
        (json!({"group_size": 32, "bits": "4"}), ["`quantization.bits`", "is \"4\"; a number"]),
        (json!({"group_size": 32}), ["`quantization.bits`", "is null; a number"]),
        (
            json!({"group_size": 48, "bits": 4}),
            ["`quantization.group_size`", "groups of 48; 16, 32"],
        ),
        (json!({"group_size": -1, "bits": 4}), ["`quantization.group_size`", "is -1"]),
        (
            json!({"group_size": 32, "bits": 8, "mode": "mxfp8"}),
            ["`quantization.mode` is \"mxfp8\"", "\"affine\" and \"mxfp4\" are read"],
        ),
        (
            json!({"group_size": 32, "bits": 8, "mode": "mxfp4"}),
            ["`quantization.bits`", "is 8; mode \"mxfp4\" has 4"],
        ),
        (
            json!({"group_size": 64, "bits": 4, "mode": "mxfp4"}),
            ["`quantization.group_size`", "MXFP4 has groups of 32, not 64"],
        ),
        (
            json!({"group_size": 32, "bits": 4, "a": {"group_size": 32, "bits": 8, "mode": "nvfp4"}}),
            ["`quantization.a.mode` is \"nvfp4\"", "\"affine\" and"],
        ),
        (
            json!({"group_size": 32, "bits": 4, "a": {"bits": 8}}),
            ["`quantization.a.group_size`", "null"],
        ),
        (
            json!({"group_size": 32, "bits": 4, "a": 8}),
            ["`quantization.a`", "is 8; beside group_size"],
        ),
        (
            json!({"group_size": 32, "bits": 4, "a": {"bits": 4, "group_size": 32, "sym": true}}),
            ["`quantization.a.sym`", "is not known"],
        ),
        (json!({"group_size": 32, "bits": 4, "a": false}), ["`a.scales`", "`a` is not quantised"]),
        (
            json!({"group_size": 32, "bits": 4, "b": {"group_size": 32, "bits": 8}}),
            ["`quantization.b`", "there is no tensor `b.scales`"],
        ),
        (
            json!({"group_size": 32, "bits": 4, "b": true}),
            ["`quantization.b`", "no tensor `b.scales`"],
        ),
    ] {
        refused(|directory| directory.config["quantization"] = quantization, &parts);
    }
    refused(
        |directory| {
            directory.config["quantization_config"] = json!({"group_size": 64, "bits": 4});
        },
        &["`quantization_config`", "else than `quantization`"],
    );
    refused(
        |directory| directory.config = json!({"model_type": "llama"}),
        &["`a.scales`", "config.json has no key `quantization`"],
    );
}

#[test]
fn configurations_that_are_fine() {
    // The copy alone, an override, layers that are not there, and one that stays as it is.
    let (_files, checkpoint) = opened(|directory| {
        directory.config = json!({"model_type": "llama", "quantization_config": {
            "group_size": 64, "bits": 2, "mode": "affine", "b": false, "absent": {"group_size": 64, "bits": 8},
            "a": {"group_size": 32, "bits": 4, "mode": "affine"}}});
    });
    let encoding = checkpoint.tensor("a.weight").unwrap().unwrap().encoding();
    assert_eq!(encoding.to_string(), "MLX 4-bit group 32 F32");
    checkpoint.config().model_type().unwrap();
    checkpoint.config().finish().unwrap();
    // Weights that were not quantised after all.
    let (_files, checkpoint) = opened(|directory| {
        directory.tensors.retain(|tensor| !tensor.0.starts_with("a."));
    });
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), ["b.weight"]);
}

#[test]
fn tensors() {
    let shapes: &[&str] = &["`a.weight`", "do not fit 4 bits in groups of 32", "[O, I / 32]"];
    refused(|directory| directory.set("a.weight", "U32", &[4, 16]), shapes);
    refused(|directory| directory.set("a.weight", "U32", &[5, 8]), shapes);
    refused(|directory| directory.set("a.weight", "U32", &[8]), shapes);
    refused(|directory| directory.set("a.weight", "U32", &[]), shapes);
    refused(
        |directory| {
            for name in ["a.scales", "a.biases"] {
                directory.set(name, "F32", &[2, 4]);
            }
        },
        shapes,
    );
    refused(
        |directory| {
            directory.set("a.weight", "U32", &[0, usize::MAX / 8]);
            directory.set("a.scales", "F32", &[0, usize::MAX / 8]);
            directory.set("a.biases", "F32", &[0, usize::MAX / 8]);
        },
        &["`a.weight`", "do not fit"],
    );
    let agree: &[&str] = &["`a.biases`", "both have to agree"];
    refused(|directory| directory.set("a.biases", "F32", &[4, 1]), agree);
    refused(|directory| directory.set("a.biases", "F16", &[4, 2]), agree);
    refused(
        |directory| directory.tensors.retain(|tensor| tensor.0 != "a.biases"),
        &["`a.scales`", "there is no tensor `a.biases`", "mode \"affine\""],
    );
    refused(
        |directory| directory.tensors.retain(|tensor| tensor.0 != "a.weight"),
        &["`a.scales`", "there is no tensor `a.weight`"],
    );
    refused(
        |directory| directory.set("a.scales", "U8", &[4, 2]),
        &["`a.scales`", "mode is \"affine\""],
    );
    refused(
        |directory| directory.set("a.scales", "I32", &[4, 2]),
        &["`a.scales`", "is I32; F32, F16"],
    );
    refused(
        |directory| directory.set("a.weight", "F32", &[4, 8]),
        &["`a.weight`", "is F32, but has `a.scales`"],
    );
    // Eight bits say that there are fewer columns than there are scales for.
    refused(
        |directory| directory.config["quantization"]["bits"] = json!(8),
        &["do not fit 8 bits"],
    );
    refused(
        |directory| directory.config["quantization"]["group_size"] = json!(128),
        &["groups of 128"],
    );
}

/// One layer `a` in mode "mxfp4", as MLX made it.
fn mxfp4() -> (Directory, Vec<u8>) {
    let path = fixture().join("../mxfp4.json");
    let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let bytes = |key: &str| {
        let text = case[key].as_str().unwrap().as_bytes();
        let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
        text.chunks(2).map(|two| digit(two[0]) << 4 | digit(two[1])).collect::<Vec<u8>>()
    };
    let (rows, columns) = (case["rows"].as_u64().unwrap(), case["columns"].as_u64().unwrap());
    let (rows, columns) = (rows as usize, columns as usize);
    let directory = Directory {
        config: json!({"model_type": "llama", "quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4"}}),
        tensors: vec![
            ("a.weight", "U32", vec![rows, columns / 8]),
            ("a.scales", "U8", vec![rows, columns / 32]),
        ],
        scales: bytes("scales"),
        codes: bytes("weight"),
    };
    (directory, bytes("values"))
}

#[test]
fn mode_mxfp4() {
    let (directory, expected) = mxfp4();
    let files = directory.write();
    let checkpoint = Checkpoint::open(files.path()).unwrap();
    let tensor = checkpoint.tensor("a.weight").unwrap().unwrap();
    assert_eq!(tensor.encoding(), Encoding::Mxfp4);
    assert_eq!(tensor.bytes_len(), directory.codes.len() + directory.scales.len());
    let (rows, columns) = (tensor.rows(), tensor.row_len());
    let mut values = vec![f32::NAN; rows * columns];
    tensor.decode(&mut values).unwrap();
    // Zeros have no sign.
    let positive = |value: f32| value + 0.0;
    let expected: Vec<f32> =
        expected.as_chunks().0.iter().map(|value| positive(f32::from_le_bytes(*value))).collect();
    assert_eq!(bytes(&values), bytes(&expected));
    let packing = tensor.packing().unwrap();
    let mut words = vec![0; packing.row_words(columns)];
    let mut row_values = vec![f32::NAN; columns];
    for (row, expected) in expected.chunks_exact(columns).enumerate() {
        tensor.pack_row(row, &mut words).unwrap();
        packing.unpack_row(&words, &mut row_values);
        assert_eq!(bytes(&row_values), bytes(expected), "row {row}");
    }
    checkpoint.config().model_type().unwrap();
    checkpoint.config().finish().unwrap();
}

#[test]
fn what_is_wrong_in_mode_mxfp4() {
    let refused = |spoil: &dyn Fn(&mut Directory), parts: &[&str]| {
        let mut directory = mxfp4().0;
        spoil(&mut directory);
        let files = directory.write();
        let opened = Checkpoint::open(files.path());
        let decode = |checkpoint: Checkpoint| {
            checkpoint.tensor("a.weight")?.unwrap().decode(&mut [0.0; 3 * 96])
        };
        let message = opened.and_then(decode).unwrap_err().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    };
    refused(
        &|directory| directory.tensors.push(("a.biases", "U8", vec![3, 3])),
        &["`a.biases`", "mode \"mxfp4\", which `a` is in, has no biases"],
    );
    refused(
        &|directory| directory.set("a.scales", "F16", &[3, 3]),
        &["`a.scales`", "is F16; the scales of MLX's mode \"mxfp4\" are U8"],
    );
    refused(&|directory| directory.set("a.scales", "U8", &[3, 4]), &["`a.weight`", "do not fit"]);
    refused(
        &|directory| directory.scales[7] = 255,
        &["`a.weight`", "row 2: the scale of group 1 is 255"],
    );
}
