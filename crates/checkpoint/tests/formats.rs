//! The same model in each format reads the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;
use stablemate_checkpoint::gguf::{Conversion, Layout};
use stablemate_checkpoint::{Checkpoint, Encoding, Float, Format, RawConfig};
use stablemate_fixtures::{Case, Dtype, Error, TensorValues};

fn decoded(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let tensor = checkpoint.tensor(name).unwrap().unwrap_or_else(|| panic!("no {name}"));
    let mut values = vec![f32::NAN; tensor.rows() * tensor.row_len()];
    tensor.decode(&mut values).unwrap();
    // Row by row, and after the pages have left: the same.
    tensor.release();
    let mut row_values = vec![f32::NAN; tensor.row_len()];
    for (row, expected) in values.chunks_exact(tensor.row_len()).enumerate() {
        tensor.decode_rows(row..row + 1, &mut row_values).unwrap();
        assert_eq!(row_values, expected, "{name} row {row}");
    }
    values
}

fn check_tensors(
    case: &Case,
    checkpoint: &Checkpoint,
    expected: impl Fn(&str, Vec<f32>) -> Vec<f32>,
) {
    let mut names: Vec<&str> = case.expected.tensors.iter().map(|tensor| &*tensor.name).collect();
    names.sort_unstable();
    assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), names, "{}", case.name());
    for spec in &case.expected.tensors {
        let tensor = checkpoint.tensor(&spec.name).unwrap().unwrap();
        assert_eq!((tensor.name(), tensor.shape()), (&*spec.name, &*spec.shape), "{}", case.name());
        let values = decoded(checkpoint, &spec.name);
        assert_eq!(values, expected(&spec.name, spec.values()), "{} {}", case.name(), spec.name);
    }
}

#[test]
fn hugging_face_directories() {
    // Packed weights are not the tensors of the files: they have tests of their own.
    let packed = |case: &Case| case.config().unwrap().get("quantization_config").is_some();
    for case in Case::all().into_iter().filter(|case| !packed(case)) {
        let directory = tempfile::tempdir().unwrap();
        case.write_checkpoint(directory.path()).unwrap();
        let checkpoint = Checkpoint::open(directory.path()).unwrap();
        assert_eq!(checkpoint.format(), Format::HuggingFace);
        assert!(checkpoint.has_weights() && checkpoint.gguf_metadata().is_none());
        check_tensors(&case, &checkpoint, |_, values| values);
        let mut total = 0;
        for spec in &case.expected.tensors {
            let tensor = checkpoint.tensor(&spec.name).unwrap().unwrap();
            let float = match spec.dtype {
                Dtype::Float32 => Float::F32,
                Dtype::Float16 => Float::F16,
                Dtype::Bfloat16 => Float::Bf16,
                Dtype::Uint8 => panic!("{}: packed weights", spec.name),
            };
            assert_eq!(tensor.encoding(), Encoding::Dense(float));
            assert_eq!(tensor.dense_bytes().unwrap(), spec.dtype.bytes(&spec.values()));
            total += tensor.bytes_len() as u64;
        }
        assert_eq!(checkpoint.total_bytes(), total);
    }
}

/// Experts in MXFP4, as transformers saves gpt-oss: the tensors of the GGUF file that is made of it.
#[test]
fn experts_in_mxfp4() {
    let case = Case::open("gpt_oss");
    let directory = tempfile::tempdir().unwrap();
    case.write_checkpoint(directory.path()).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let mut packed = 0;
    for TensorValues { name, shape, values } in case.gguf_tensors().unwrap() {
        // Hugging Face keeps biases of gate and up together.
        if name.contains(".experts.") && name.ends_with(".bias") {
            continue;
        }
        let tensor = checkpoint.tensor(&name).unwrap().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(tensor.shape(), shape, "{name}");
        assert_eq!(decoded(&checkpoint, &name), values, "{name}");
        if name.contains(".experts.") {
            assert_eq!(tensor.encoding(), Encoding::Mxfp4);
            assert_eq!(tensor.bytes_len(), values.len() / 32 * 17);
            assert!(tensor.packing().is_some());
            packed += 1;
        }
    }
    assert_eq!(packed, 9);
    assert!(
        !checkpoint.tensor_names().any(|name| name.contains("_blocks") || name.contains("_scales"))
    );
}

#[test]
fn shards() {
    let case = Case::open("qwen3");
    let directory = tempfile::tempdir().unwrap();
    case.write_sharded(directory.path(), 3).unwrap();
    check_tensors(&case, &Checkpoint::open(directory.path()).unwrap(), |_, values| values);
    // Several files without an index are all read.
    fs::remove_file(directory.path().join("model.safetensors.index.json")).unwrap();
    check_tensors(&case, &Checkpoint::open(directory.path()).unwrap(), |_, values| values);
}

/// GGUF of a case: `None` if GGUF cannot express it.
fn gguf(case: &Case, directory: &Path) -> Option<Checkpoint> {
    let path = directory.join("model.gguf");
    match case.write_gguf(&path) {
        Err(Error::NotRepresentable { .. }) => return None,
        other => other.unwrap(),
    }
    Some(Checkpoint::open(&path).unwrap_or_else(|error| panic!("{}: {error}", case.name())))
}

/// What the converter does to a tensor that a reader gets under this name.
fn conversion(architecture: &str, name: &str) -> Conversion {
    let stored = Layout::all(architecture).find_map(|layout| layout.stored(name));
    stored.unwrap_or_else(|| panic!("{architecture} has no {name}")).1
}

#[test]
fn gguf_files_have_the_same_tensors() {
    let mut architectures = BTreeMap::new();
    for case in Case::all() {
        let directory = tempfile::tempdir().unwrap();
        let Some(checkpoint) = gguf(&case, directory.path()) else {
            continue;
        };
        let architecture =
            checkpoint.gguf_metadata().unwrap().string("general.architecture").unwrap();
        *architectures.entry(architecture.to_owned()).or_insert(0) += 1;
        assert_eq!(checkpoint.format(), Format::Gguf);
        let expected = case.gguf_tensors().unwrap();
        let mut names: Vec<&str> = expected.iter().map(|tensor| &*tensor.name).collect();
        names.sort_unstable();
        assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), names, "{}", case.name());
        for TensorValues { name, shape, mut values } in expected {
            let tensor = checkpoint.tensor(&name).unwrap().unwrap();
            assert_eq!((tensor.name(), tensor.shape()), (&*name, &*shape), "{}", case.name());
            let conversion = conversion(architecture, &name);
            if conversion == Conversion::OneAdded {
                // One was added in float32 and is taken off in float32, as transformers does.
                values.iter_mut().for_each(|value| *value = (*value + 1.0) - 1.0);
            }
            assert_eq!(decoded(&checkpoint, &name), values, "{} {name}", case.name());
            let changed = matches!(
                conversion,
                Conversion::OneAdded
                    | Conversion::InterleavedQueries
                    | Conversion::InterleavedKeys
                    | Conversion::SeparatedGroups
            );
            let floats = matches!(tensor.encoding(), Encoding::Dense(_));
            assert_eq!(
                tensor.dense_bytes().is_none(),
                changed || !floats,
                "{} {name}",
                case.name()
            );
        }
        // A directory with this one file is the same checkpoint.
        assert_eq!(Checkpoint::open(directory.path()).unwrap().path(), checkpoint.path());
    }
    let found: Vec<&str> = architectures.keys().map(String::as_str).collect();
    let all = [
        "cohere2",
        "deepseek2",
        "falcon",
        "falcon-h1",
        "gemma2",
        "gemma3",
        "gemma4",
        "gpt-oss",
        "gpt2",
        "llama",
        "mamba2",
        "phi3",
        "qwen2",
        "qwen3",
        "qwen35",
        "qwen35moe",
        "qwen3moe",
    ];
    assert_eq!(found, all);
}

/// A key of a configuration in either of transformers' styles.
fn rope_of(config: &Value, layers: &str, key: &str) -> Option<Value> {
    let both = config.get("rope_parameters");
    let rope = both.and_then(|both| both.get(layers)).or(both);
    rope.and_then(|rope| rope.get(key)).cloned()
}

/// Keys whose value in a GGUF file says the same in another way.
const SAID_OTHERWISE: &[(&str, &[&str])] = &[
    // The class of the text model; Kimi K2 is DeepSeek 3 in all that is computed.
    ("qwen3_5", &["model_type"]),
    ("gemma4", &["model_type"]),
    ("kimi_k2", &["model_type"]),
    ("mistral_full", &["model_type"]),
    // Multiplied into the weights.
    (
        "falcon_h1",
        &[
            "embedding_multiplier",
            "lm_head_multiplier",
            "attention_in_multiplier",
            "attention_out_multiplier",
            "key_multiplier",
            "ssm_in_multiplier",
            "ssm_out_multiplier",
            "mlp_multipliers",
            "ssm_multipliers",
        ],
    ),
    // That of the rotated part.
    ("deepseek", &["head_dim"]),
    ("kimi_k2", &["head_dim"]),
    // Converters invent it.
    ("falcon", &["max_position_embeddings"]),
    // Rounded twice: checked below.
    ("gemma", &["query_pre_attn_scalar"]),
    // Without factors, nothing reads it.
    ("phi3", &["original_max_position_embeddings"]),
    // Only read where values are keys.
    ("gemma4", &["num_global_key_value_heads", "global_head_dim", "vocab_size_per_layer_input"]),
];

#[test]
fn gguf_files_have_the_same_configuration() {
    for case in Case::all() {
        let directory = tempfile::tempdir().unwrap();
        let Some(checkpoint) = gguf(&case, directory.path()) else {
            continue;
        };
        let (name, root, config) = (case.name(), case.config().unwrap(), checkpoint.config());
        let text = root.get("text_config").unwrap_or(&root);
        let mut compared = 0;
        for (key, expected) in text.as_object().unwrap() {
            let otherwise = SAID_OTHERWISE
                .iter()
                .any(|(start, keys)| name.starts_with(start) && keys.contains(&&**key));
            let Some(found) = config.get::<Value>(key).unwrap() else { continue };
            let rotation = matches!(&**key, "rope_theta" | "rope_scaling" | "rope_parameters");
            if expected.is_null() || otherwise || rotation {
                continue;
            }
            compared += 1;
            match (found.as_f64(), expected.as_f64()) {
                (Some(found), Some(expected)) => assert_eq!(found, expected, "{name} {key}"),
                _ => assert_eq!(found, *expected, "{name} {key}"),
            }
        }
        assert!(compared >= 6, "{name}: {compared}");
        check_rotation(name, text, config);
        if name.starts_with("gemma2") || name.starts_with("gemma3") {
            let scalar: f64 = config.require("query_pre_attn_scalar").unwrap();
            let expected = text["query_pre_attn_scalar"].as_f64().unwrap();
            assert!((scalar - expected).abs() < 1e-5, "{name} {scalar} {expected}");
        }
    }
}

fn check_rotation(name: &str, text: &Value, config: &RawConfig) {
    if name.starts_with("gemma4") {
        let rope = config.nested("rope_parameters").unwrap().unwrap();
        for (layers, base) in [("full_attention", 1e6), ("sliding_attention", 1e4)] {
            let expected =
                rope_of(text, layers, "rope_theta").map_or(base, |x| x.as_f64().unwrap());
            let rope = rope.nested(layers).unwrap().unwrap();
            assert_eq!(rope.require::<f64>("rope_theta").unwrap(), expected, "{name}");
        }
        return;
    }
    if name.starts_with("gpt2") || name.starts_with("mamba2") {
        return;
    }
    let base = rope_of(text, "full_attention", "rope_theta")
        .or_else(|| text.get("rope_theta").cloned())
        .map_or(10_000.0, |base| base.as_f64().unwrap());
    assert_eq!(config.require::<f64>("rope_theta").unwrap(), base, "{name}");
    let rope = |key: &str| {
        let nested = rope_of(text, "full_attention", key);
        nested.or_else(|| text.get("rope_scaling")?.get(key).cloned())
    };
    let scaling = config.nested("rope_scaling").unwrap();
    for key in ["factor", "mscale", "mscale_all_dim", "truncate", "long_factor", "short_factor"] {
        let found = scaling.as_ref().and_then(|scaling| scaling.get::<Value>(key).unwrap());
        if let Some(found) = found {
            let expected = rope(key).unwrap_or_else(|| panic!("{name} has no {key}"));
            assert_eq!(numbers(&found), numbers(&expected), "{name} {key}");
        }
    }
}

/// Numbers as 32-bit floats, which is how a file stores them; anything else is none.
fn numbers(value: &Value) -> Vec<f32> {
    let one = |value: &Value| value.as_f64().map(|number| number as f32);
    let list = value.as_array().map(|list| list.iter().filter_map(one).collect());
    list.unwrap_or_else(|| one(value).into_iter().collect())
}

fn opened(name: &str) -> (tempfile::TempDir, Checkpoint) {
    let directory = tempfile::tempdir().unwrap();
    let checkpoint = gguf(&Case::open(name), directory.path()).unwrap();
    (directory, checkpoint)
}

fn text(config: &RawConfig, key: &str) -> Option<String> {
    config.get::<Value>(key).unwrap().map(|value| value.to_string())
}

#[test]
fn gguf_rotary_scaling_windows_and_ids() {
    let (_directory, linear) = opened("llama_linear_bias");
    assert_eq!(
        text(linear.config(), "rope_scaling").unwrap(),
        r#"{"rope_type":"linear","factor":4.0}"#
    );
    assert_eq!(linear.config().get("attention_bias").unwrap(), Some(true));
    assert_eq!(linear.config().get("mlp_bias").unwrap(), Some(true));

    let (_directory, yarn) = opened("llama_yarn");
    assert_eq!(
        text(yarn.config(), "rope_scaling").unwrap(),
        r#"{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":512}"#
    );

    let (_directory, llama3) = opened("llama3_rope_tied");
    let rope = llama3.config().nested("rope_scaling").unwrap().unwrap();
    assert_eq!(rope.require::<String>("rope_type").unwrap(), "factors");
    let factors: Vec<f64> = rope.require("factors").unwrap();
    // Head size 16, base 50000, original length 32: one kept, one between, the rest divided by 8.
    assert_eq!((factors.len(), factors[0]), (8, 1.0));
    assert!(factors[1] > 1.0 && factors[1] < 8.0, "{factors:?}");
    assert!(factors[2..].iter().all(|factor| *factor == 8.0), "{factors:?}");
    assert!(llama3.tensor("rope_freqs.weight").unwrap().is_none());
    assert_eq!(llama3.end_of_sequence_ids(), [201, 202]);
    assert_eq!(llama3.bos_token_id(), Some(200));

    let (_directory, window) = opened("mistral");
    assert_eq!(window.config().model_type().unwrap(), "mistral");
    assert_eq!(window.config().get("sliding_window").unwrap(), Some(8usize));
    let (_directory, full) = opened("mistral_full");
    assert_eq!(full.config().model_type().unwrap(), "llama");
    assert!(!full.config().contains("sliding_window"));

    let (_directory, gemma) = opened("gemma3_text_v4style");
    let config = gemma.config();
    assert_eq!(config.model_type().unwrap(), "gemma3_text");
    assert_eq!(config.get("rope_local_base_freq").unwrap(), Some(5000.0));
    assert_eq!(text(config, "rope_scaling").unwrap(), r#"{"rope_type":"linear","factor":4.0}"#);
    let types: Vec<String> = config.require("layer_types").unwrap();
    let full: Vec<usize> = (0..6).filter(|layer| types[*layer] == "full_attention").collect();
    assert_eq!(full, [2, 5]);
    assert_eq!(config.get("sliding_window").unwrap(), Some(8usize));
}

#[test]
fn a_configuration_alone() {
    let case = Case::open("llama3_rope_tied");
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.json"), case.config_text().unwrap()).unwrap();
    fs::write(directory.path().join("tokenizer.json"), "{}").unwrap();
    fs::write(
        directory.path().join("generation_config.json"),
        r#"{"eos_token_id": [202, 7], "bos_token_id": 5, "temperature": 0.6}"#,
    )
    .unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    assert!(!checkpoint.has_weights());
    assert!(checkpoint.tensor("model.norm.weight").unwrap().is_none());
    // As in transformers, those of config.json (201, 202) count only if there are no others.
    assert_eq!(checkpoint.end_of_sequence_ids(), [7, 202]);
    assert_eq!(checkpoint.bos_token_id(), Some(5));
    assert_eq!(checkpoint.generation_config().unwrap()["temperature"], 0.6);
    assert_eq!(
        checkpoint.directory_file("tokenizer.json"),
        Some(directory.path().join("tokenizer.json"))
    );
    for name in ["absent.json", "..", ".", "", "../config.json", "./config.json"] {
        assert_eq!(checkpoint.directory_file(name), None, "{name}");
    }
}

#[test]
fn a_model_without_the_prefix() {
    let case = Case::open("qwen2_tied");
    let directory = tempfile::tempdir().unwrap();
    case.write_checkpoint(directory.path()).unwrap();
    let mut bare = case.clone();
    let path = directory.path().join("model.safetensors");
    // The same bytes under names without `model.`; spaces keep the length of the header.
    let bytes = fs::read(&path).unwrap();
    let header_length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&bytes[8..8 + header_length]).unwrap();
    let renamed = header.replace("\"model.", "\"");
    let mut changed = bytes[..8].to_vec();
    changed.extend(format!("{renamed:header_length$}").bytes());
    changed.extend(&bytes[8 + header_length..]);
    fs::write(&path, changed).unwrap();
    bare.expected.tensors.retain(|tensor| !tensor.name.starts_with("lm_head"));
    check_tensors(&bare, &Checkpoint::open(directory.path()).unwrap(), |_, values| values);
}

#[test]
fn requests_that_do_not_fit() {
    let case = Case::open("llama_one_token");
    let directory = tempfile::tempdir().unwrap();
    case.write_checkpoint(directory.path()).unwrap();
    let checkpoint = Checkpoint::open(directory.path()).unwrap();
    let tensor = checkpoint.tensor("model.layers.0.mlp.up_proj.weight").unwrap().unwrap();
    let (rows, row_len) = (tensor.rows(), tensor.row_len());
    let mut out = vec![0.0; rows * row_len + 1];
    for error in [
        tensor.decode(&mut out).unwrap_err(),
        tensor.decode(&mut []).unwrap_err(),
        tensor.decode_rows(0..1, &mut out[..row_len + 1]).unwrap_err(),
        tensor.decode_rows(rows..rows + 1, &mut out[..row_len]).unwrap_err(),
        #[expect(clippy::reversed_empty_ranges, reason = "a mistake to be caught")]
        tensor.decode_rows(2..1, &mut []).unwrap_err(),
        tensor.decode_rows(0..usize::MAX, &mut out).unwrap_err(),
    ] {
        assert!(error.to_string().contains("up_proj"), "{error}");
    }
    tensor.decode_rows(1..1, &mut []).unwrap();
}
