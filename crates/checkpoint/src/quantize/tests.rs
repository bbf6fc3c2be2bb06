use std::fs;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;
use stablemate_encodings::Bits;
use stablemate_fixtures::Case;
use tempfile::TempDir;

use super::*;
use crate::encoding::Float;

const OPTIONS: QuantizeOptions = QuantizeOptions { bits: 4, group_size: 32 };

const CONFIG_TEXT: &str = r#"{"model_type": "llama", "hidden_size": 64, "eos_token_id": [2, 3]}"#;

/// Name, shape.
const TENSORS: &[(&str, &[usize])] = &[
    ("model.embed_tokens.weight", &[20, 64]),
    ("model.layers.0.self_attn.q_proj.weight", &[32, 64]),
    ("model.layers.0.self_attn.q_proj.bias", &[32]),
    ("model.layers.0.mlp.down_proj.weight", &[64, 96]),
    ("model.layers.0.mlp.odd_proj.weight", &[5, 48]),
    ("model.layers.0.conv.weight", &[2, 2, 32]),
    ("model.layers.0.table", &[2, 32]),
    ("model.layers.0.empty.weight", &[0, 32]),
    ("model.norm.weight", &[64]),
    ("lm_head.weight", &[20, 64]),
];

/// A directory with these weights, and integers beside them.
fn source(float: Float) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), CONFIG_TEXT).unwrap();
    let mut state = 1u32;
    let mut value = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    let mut bytes = |shape: &[usize]| -> Vec<u8> {
        let values = (0..shape.iter().product()).map(|_: usize| value());
        match float {
            Float::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Float::F16 => {
                values.flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect()
            }
            Float::Bf16 => {
                values.flat_map(|value| half::bf16::from_f32(value).to_le_bytes()).collect()
            }
        }
    };
    let dtype = match float {
        Float::F32 => Dtype::F32,
        Float::F16 => Dtype::F16,
        Float::Bf16 => Dtype::BF16,
    };
    let data: Vec<_> = TENSORS.iter().map(|(name, shape)| (*name, *shape, bytes(shape))).collect();
    let views = data.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(dtype, shape.to_vec(), bytes).unwrap())
    });
    let ids = TensorView::new(Dtype::I64, vec![2], &[7; 16]).unwrap();
    let file = safetensors::serialize(views.chain([("model.position_ids", ids)]), None).unwrap();
    fs::write(directory.path().join("model.safetensors"), file).unwrap();
    directory
}

fn quantized(source: &Path, destination: &Path, options: QuantizeOptions) -> Result<Report, Error> {
    quantize_directory(&Checkpoint::open(source)?, destination, &options, &mut |_, _| {})
}

/// The packed rows of a tensor: its own, or quantised now.
fn packed(checkpoint: &Checkpoint, name: &str, quantize: Option<(Bits, usize)>) -> Vec<u32> {
    let tensor = checkpoint.tensor(name).unwrap().unwrap();
    let packing = match quantize {
        Some((bits, group)) => tensor.quantized_packing(bits, group).unwrap(),
        None => tensor.packing().unwrap(),
    };
    let words = packing.row_words(tensor.row_len());
    let mut all = vec![0; tensor.rows() * words];
    for (row, out) in all.chunks_exact_mut(words).enumerate() {
        match quantize {
            Some((bits, group)) => tensor.quantize_row(bits, group, row, out).unwrap(),
            None => tensor.pack_row(row, out).unwrap(),
        }
    }
    all
}

#[test]
fn the_directory_has_the_values_of_quantising_at_load() {
    for (float, bits) in [(Float::F32, 4), (Float::Bf16, 3), (Float::F16, 6), (Float::Bf16, 8)] {
        let (source, case) = (source(float), format!("{float} {bits}"));
        let out = source.path().join("out/quantized");
        let options = QuantizeOptions { bits, ..OPTIONS };
        let report = quantized(source.path(), &out, options).unwrap();
        let (before, after) =
            (Checkpoint::open(source.path()).unwrap(), Checkpoint::open(&out).unwrap());
        assert!(before.tensor_names().eq(after.tensor_names()), "{case}");
        let (mut quantized, mut copied) = (0, Vec::new());
        for name in before.tensor_names().filter(|name| *name != "model.position_ids") {
            let first = before.tensor(name).unwrap().unwrap();
            let second = after.tensor(name).unwrap().unwrap();
            assert_eq!(first.shape(), second.shape(), "{case} {name}");
            assert_eq!(first.encoding(), Encoding::Dense(float));
            let wanted = name.ends_with(".weight")
                && first.shape().len() == 2
                && first.rows() > 0
                && first.row_len().is_multiple_of(32);
            let encoding =
                Encoding::Affine { bits: Bits::new(bits).unwrap(), group: 32, scales: float };
            if wanted {
                assert_eq!(second.encoding(), encoding, "{case} {name}");
                let now = packed(&before, name, Some((Bits::new(bits).unwrap(), 32)));
                assert_eq!(packed(&after, name, None), now, "{case} {name}");
                quantized += 1;
            } else {
                assert!(first.stored_like(&second), "{case} {name}");
                copied.push(name.to_owned());
            }
        }
        copied.push("model.position_ids".to_owned());
        copied.sort();
        let integers = |checkpoint: &Checkpoint| {
            checkpoint.stored_bytes(checkpoint.entry("model.position_ids").unwrap()).to_owned()
        };
        assert_eq!((integers(&before), quantized), (integers(&after), 4), "{case}");
        assert_eq!((report.quantized, &report.copied), (quantized, &copied), "{case}");
        assert_eq!(
            (report.bytes, report.source_bytes),
            (after.total_bytes(), before.total_bytes())
        );
        assert_eq!(report.shards, 1);
        // The configuration is the source's, and says how.
        let read = |path: &Path| -> Value {
            serde_json::from_str(&fs::read_to_string(path.join("config.json")).unwrap()).unwrap()
        };
        let (mut config, quantization) =
            (read(&out), json!({"group_size": 32, "bits": bits, "mode": "affine"}));
        for key in ["quantization", "quantization_config"] {
            assert_eq!(
                config.as_object_mut().unwrap().shift_remove(key),
                Some(quantization.clone())
            );
        }
        assert_eq!(config, read(source.path()), "{case}");
    }
}

#[test]
fn shards_with_an_index() {
    let source = source(Float::F32);
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let [whole, split] = ["whole", "split"].map(|name| parent.path().join(name));
    let mut seen = Vec::new();
    let mut progress = |done, total| seen.push((done, total));
    let first = write(&checkpoint, &whole, &OPTIONS, SHARD_BYTES, &mut progress).unwrap();
    let total = checkpoint.total_bytes();
    assert_eq!((seen.first(), seen.last()), (Some(&(0, total)), Some(&(total, total))));
    assert!(seen.is_sorted());
    let second = write(&checkpoint, &split, &OPTIONS, 2_000, &mut |_, _| {}).unwrap();
    assert!(second.shards > 2, "{second:?}");
    assert_eq!(Report { shards: 1, ..second.clone() }, first);
    // Opening checks the index against the files.
    let (one, many) = (Checkpoint::open(&whole).unwrap(), Checkpoint::open(&split).unwrap());
    assert!(one.tensor_names().eq(many.tensor_names()));
    for name in one.tensor_names().filter(|name| *name != "model.position_ids") {
        let [one, many] = [&one, &many].map(|checkpoint| checkpoint.tensor(name).unwrap().unwrap());
        assert!(one.stored_like(&many), "{name}");
    }
    let name = format!("model-00001-of-{:05}.safetensors", second.shards);
    let bytes = fs::read(split.join(name)).unwrap();
    // The format's own library reads it, with MLX's mark.
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "mlx");
    safetensors::SafeTensors::deserialize(&bytes).unwrap();
}

#[test]
fn files_beside_the_weights() {
    let source = source(Float::F32);
    let names =
        ["tokenizer.json", "chat_template.jinja", "merges.txt", "LICENSE", "tokenizer.model"];
    for name in names.into_iter().chain(["pytorch_model.bin", "picture.png", ".gitattributes"]) {
        fs::write(source.path().join(name), name).unwrap();
    }
    fs::create_dir(source.path().join("original")).unwrap();
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("out");
    fs::create_dir(&out).unwrap();
    let report = quantized(source.path(), &out, OPTIONS).unwrap();
    assert_eq!(report.other_files, ["original", "picture.png", "pytorch_model.bin"]);
    for name in names {
        assert_eq!(fs::read_to_string(out.join(name)).unwrap(), name);
    }
    assert!(report.to_string().contains("files not copied: original, picture.png"), "{report}");
    // Nothing of the work is left.
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_tied_head_that_is_stored() {
    let source = source(Float::F32);
    let path = source.path().join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["tie_word_embeddings"] = true.into();
    fs::write(&path, config.to_string()).unwrap();
    // Another head than the embedding stays.
    let report = quantized(source.path(), &source.path().join("other"), OPTIONS).unwrap();
    assert_eq!(report.left_out, [""; 0]);
    let weights = source.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1;
    let place = |name: &str| {
        let (first, last) = tensors.info(name).unwrap().data_offsets;
        start + first..start + last
    };
    bytes.copy_within(place("model.embed_tokens.weight"), place("lm_head.weight").start);
    fs::write(&weights, bytes).unwrap();
    let report = quantized(source.path(), &source.path().join("same"), OPTIONS).unwrap();
    assert_eq!(report.left_out, ["lm_head.weight"]);
}

#[test]
fn refusals() {
    let source = source(Float::F32);
    let out = source.path().join("out");
    let refused = |path: &Path, destination: &Path, options, parts: &[&str]| {
        let message = quantized(path, destination, options).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{part}: {message}");
        }
    };
    let options = |bits, group_size| QuantizeOptions { bits, group_size };
    refused(source.path(), &out, options(7, 32), &["7 bits; MLX reads 2, 3, 4"]);
    refused(source.path(), &out, options(4, 16), &["groups of 16; MLX reads 32"]);
    refused(source.path(), source.path(), OPTIONS, &["is not empty, and nothing is overwritten"]);
    let file = source.path().join("config.json");
    refused(source.path(), &file, OPTIONS, &["config.json", "is not a directory"]);

    let gguf = source.path().join("model.gguf");
    Case::open("llama_plain").write_gguf(&gguf).unwrap();
    refused(&gguf, &out, OPTIONS, &["GGUF", "only Hugging Face directories"]);
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("config.json"), "{}").unwrap();
    refused(empty.path(), &out, OPTIONS, &["has no weights"]);

    // Values that are not finite: the last value of the last matrix in the file. Nothing is left behind.
    let weights = source.path().join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors = safetensors::SafeTensors::read_metadata(&bytes).unwrap().1;
    let end = start + tensors.info("lm_head.weight").unwrap().data_offsets.1;
    let good = bytes.clone();
    bytes[end - 4..end].copy_from_slice(&f32::NAN.to_le_bytes());
    let before = fs::read_dir(source.path()).unwrap().count();
    fs::write(&weights, bytes).unwrap();
    refused(source.path(), &out, OPTIONS, &["`lm_head.weight`", "row ", "NaN"]);
    assert_eq!(fs::read_dir(source.path()).unwrap().count(), before);

    fs::write(&weights, good).unwrap();
    quantized(source.path(), &out, OPTIONS).unwrap();
    refused(source.path(), &out, OPTIONS, &["out: is not empty"]);
    refused(
        &out,
        &source.path().join("twice"),
        OPTIONS,
        &["is quantised already (MLX 4-bit group 32 F32)"],
    );
    let checkpoint = Checkpoint::open(source.path()).unwrap();
    let tensor = checkpoint.tensor("model.norm.weight").unwrap().unwrap();
    assert_eq!(tensor.encoding(), Encoding::Dense(Float::F32));
    let error = tensor.quantized_packing(Bits::Four, 32).unwrap_err().to_string();
    assert!(error.contains("only matrices are quantised"), "{error}");
    let tensor = checkpoint.tensor("lm_head.weight").unwrap().unwrap();
    let error = tensor.quantized_packing(Bits::Four, 128).unwrap_err().to_string();
    assert!(error.contains("cannot be split into groups of 128"), "{error}");
    let mut tile =
        vec![0; tensor.quantized_packing(Bits::Four, 32).unwrap().words(16, tensor.row_len())];
    tensor.quantize_tile(Bits::Four, 32, 0, &mut tile).unwrap();
    assert!(tensor.quantize_tile(Bits::Four, 32, 1000, &mut tile).is_err());
}
