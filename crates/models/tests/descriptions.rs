//! What each fixture's configuration says, as text to review.

mod support;

use stablemate_fixtures::{Case, Dtype, TensorSpec};
use stablemate_graph::ElementType;
use stablemate_models::{Bucket, Decoder, EntryPoint, HEAD, ModelError, Output, Storage, families};
use std::collections::BTreeSet;
use support::{describe, edited};

/// `name: [Label size, …]`, in argument order; equal parameters of several layers once:
/// `model.layers.{0 1 2}.mlp.up_proj.weight`.
fn parameters(decoder: &Decoder) -> String {
    let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
    for entry in decoder.params.entries() {
        let dimensions: Vec<String> = entry.ty.dimensions.iter().map(ToString::to_string).collect();
        let mut layer = None;
        let number = |part: &str| match part.parse::<usize>() {
            Ok(n) if layer.is_none() => {
                layer = Some(n);
                "{}".to_string()
            }
            _ => part.to_string(),
        };
        let name: Vec<String> = entry.name.split('.').map(number).collect();
        let line = format!("{}: [{}]", name.join("."), dimensions.join(", "));
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, layers)) => layers.extend(layer),
            None => lines.push((line, layer.into_iter().collect())),
        }
    }
    let text = |(line, layers): &(String, Vec<usize>)| {
        let layers: Vec<String> = layers.iter().map(ToString::to_string).collect();
        format!("{}\n", line.replacen("{}", &format!("{{{}}}", layers.join(" ")), 1))
    };
    lines.iter().map(text).collect()
}

/// The summary with equal layers in one line: `layers 0 1 2: …`.
fn summary(decoder: &Decoder) -> String {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for line in decoder.summary().lines() {
        let layer = line.strip_prefix("layer ").and_then(|line| line.split_once(": "));
        let (text, layer) = layer.map_or((line, None), |(n, text)| (text, Some(n.to_string())));
        match lines.iter_mut().find(|(known, layers)| known == text && !layers.is_empty()) {
            Some((_, layers)) => layers.extend(layer),
            None => lines.push((text.to_string(), layer.into_iter().collect())),
        }
    }
    let text = |(text, layers): &(String, Vec<String>)| match layers.is_empty() {
        true => format!("{text}\n"),
        false => format!("layers {}: {text}\n", layers.join(" ")),
    };
    lines.iter().map(text).collect()
}

#[test]
fn descriptions() {
    for case in Case::all() {
        let decoder = describe(case.name(), serde_json::json!({}), &[]).unwrap();
        let text = format!("{}\n{}", summary(&decoder), parameters(&decoder));
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!(case.name(), text);
        });
    }
}

/// Every tensor of the checkpoint is used whole or left out on purpose, and nothing else is wanted.
#[test]
fn parameters_are_the_tensors_of_the_reference() {
    let plain = |case: &Case| case.expected.tensors.iter().all(|t| t.dtype != Dtype::Uint8);
    for case in Case::all().into_iter().filter(plain) {
        let mut decoder = describe(case.name(), serde_json::json!({}), &[]).unwrap();
        let tensors = &case.expected.tensors;
        let find = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
        decoder.params.choose_root(|name| find(name).is_some());
        if decoder.tied() && find(&decoder.params.outer(HEAD)).is_some_and(|head| !head.ignored) {
            decoder.untie();
        }
        let storage = Storage::Dense(ElementType::F32);
        let lookup = |name: &str| -> Result<_, ModelError> {
            Ok(find(name).map(|tensor| (tensor.shape.clone(), storage)))
        };
        let bound = decoder.params.bind(&case.directory, lookup);
        bound.unwrap_or_else(|error| panic!("{}: {error}", case.name()));
        let used: BTreeSet<&str> = decoder.params.tensors().collect();
        for tensor in tensors {
            let name = tensor.name.as_str();
            let left_out = decoder.params.ignores(name);
            assert_eq!(used.contains(name), !tensor.ignored, "{}: {name}", case.name());
            assert!(tensor.ignored == left_out || !tensor.ignored, "{}: {name}", case.name());
        }
        assert_eq!(used.len(), tensors.iter().filter(|tensor| !tensor.ignored).count());
        let wanted = |tensor: &&TensorSpec| !tensor.ignored;
        let count = |tensor: &TensorSpec| tensor.shape.iter().product::<usize>();
        let elements: usize = tensors.iter().filter(wanted).map(count).sum();
        assert_eq!(decoder.params.elements(), elements, "{}", case.name());
    }
}

/// Of a table a token reads a row; of a stack the experts that it chooses.
#[test]
fn tokens_need_what_they_choose() {
    for (name, experts, choices, untied) in
        [("qwen3_moe", 7, 3, true), ("qwen3_moe_sparse", 5, 2, false)]
    {
        let decoder = describe(name, serde_json::json!({}), &[]).unwrap();
        let (mut stacks, mut rest) = (0, 0);
        for entry in decoder.params.entries() {
            match entry.ty.rank() {
                3 => stacks += entry.bytes(),
                _ => rest += entry.bytes(),
            }
        }
        assert!(stacks > 0, "{name}");
        let table = decoder.params.entry(decoder.embedding.table);
        let (vocabulary, width) = (table.ty.sizes()[0], table.ty.sizes()[1]);
        for tokens in [1, 2, 100] {
            let looked_up = if untied { 4 * width * tokens.min(vocabulary) } else { table.bytes() };
            let left_out = (1.0 - choices as f64 / experts as f64).powi(tokens as i32);
            let chosen = stacks as f64 * (1.0 - left_out);
            let expected = (rest - table.bytes() + looked_up) as f64 + chosen;
            let found = decoder.params.bytes_read(tokens) as f64;
            // Each stack's bytes are rounded.
            assert!((found - expected).abs() < 100.0, "{name}: {found}, not {expected}");
        }
    }
}

#[test]
fn every_family_and_wrapper_has_a_fixture() {
    let config = |case: &Case| edited(case.name(), serde_json::json!({}), &[]);
    let configs: Vec<_> = Case::all().iter().map(config).collect();
    let mut names: Vec<String> = configs.iter().map(|it| it.model_type().unwrap()).collect();
    // What is described is a family's, under whatever name.
    names.extend(configs.iter().map(|it| families::family(it).unwrap().to_string()));
    // Other names of families whose fixtures have the first name.
    names.extend(["iquestcoder", "joyai_llm_flash"].map(String::from));
    names.extend(
        ["qwen2_5_vl_text", "qwen2_vl_text", "qwen3_vl_moe_text", "qwen3_vl_text"]
            .map(String::from),
    );
    names.sort();
    names.dedup();
    assert_eq!(names, families::supported());
}

/// The windows of a configuration's layers, or the error.
fn windows(case: &str, edits: serde_json::Value, without: &[&str]) -> Vec<(usize, usize)> {
    let summary = describe(case, edits, without).unwrap().summary();
    let window = |line: &str| {
        let (layer, description) = line.strip_prefix("layer ")?.split_once(": ")?;
        let (_, rest) = description.split_once(", window ")?;
        Some((layer.parse().ok()?, rest.split([',', ' ']).next()?.parse().ok()?))
    };
    summary.lines().filter_map(window).collect()
}

#[test]
fn schedules_of_windows_are_expanded() {
    use serde_json::{Value::Null, json};
    let all = |layers: usize, window: usize| (0..layers).map(|n| (n, window)).collect::<Vec<_>>();
    let layers = |case: &str| describe(case, json!({}), &[]).unwrap().layers.len();

    assert_eq!(windows("mistral", json!({"sliding_window": 5}), &[]), all(layers("mistral"), 5));
    assert_eq!(windows("mistral", json!({"sliding_window": Null}), &[]), []);
    // Mistral's class has a window that old files do not mention.
    assert_eq!(windows("mistral", json!({}), &["sliding_window"]), all(layers("mistral"), 4096));

    let qwen = json!({"num_hidden_layers": 4, "use_sliding_window": true, "sliding_window": 9,
                      "max_window_layers": 2});
    assert_eq!(windows("qwen2", qwen.clone(), &["layer_types"]), [(2, 9), (3, 9)]);
    assert_eq!(windows("qwen2", qwen.clone(), &["layer_types", "max_window_layers"]), []);
    let mut off = qwen.clone();
    off["use_sliding_window"] = false.into();
    assert_eq!(windows("qwen2", off, &["layer_types"]), []);
    // The list of layer types counts where there is one.
    let mut listed = qwen;
    let full = "full_attention";
    listed["layer_types"] = json!(["sliding_attention", full, full, full]);
    assert_eq!(windows("qwen2", listed, &[]), [(0, 9)]);

    let gemma = json!({"num_hidden_layers": 5, "sliding_window": 7});
    assert_eq!(windows("gemma2", gemma.clone(), &["layer_types"]), [(0, 7), (2, 7), (4, 7)]);
    let mut gemma3 = gemma;
    let without = ["layer_types", "sliding_window_pattern", "_sliding_window_pattern"];
    assert_eq!(windows("gemma3_text", gemma3.clone(), &without), all(5, 7), "five in six");
    gemma3["sliding_window_pattern"] = json!(2);
    assert_eq!(windows("gemma3_text", gemma3, &without[..1]), [(0, 7), (2, 7), (4, 7)]);
}

#[test]
fn schedules_of_later_families_are_expanded() {
    use serde_json::{Value, Value::Null, json};
    const LISTED: &[&str] = &["layer_types"];
    const UNLISTED: &[&str] = &["layer_types", "no_rope_layers"];
    let five = |more: Value| {
        let mut edits = json!({"num_hidden_layers": 5, "sliding_window": 7});
        edits.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        edits
    };
    let at = |layers: &[usize]| layers.iter().map(|n| (*n, 7)).collect::<Vec<_>>();
    let none = json!({"sliding_window": Null});
    for (case, edits, without, expected) in [
        ("olmo3", five(json!({})), LISTED, at(&[0, 1, 2, 4])),
        ("cwm", five(json!({})), LISTED, at(&[1, 2, 3])),
        ("ministral", five(json!({})), LISTED, at(&[0, 1, 2, 3, 4])),
        ("ministral", five(none.clone()), LISTED, at(&[])),
        ("exaone4", five(json!({"sliding_window_pattern": 3})), LISTED, at(&[0, 1, 3, 4])),
        ("exaone4", five(none.clone()), LISTED, at(&[])),
        // Only layers that are not rotated have a window.
        ("smollm3", five(json!({"no_rope_layers": [1, 0, 1, 1, 0, 0]})), LISTED, at(&[1, 4])),
        ("smollm3", five(json!({"use_sliding_window": false})), UNLISTED, at(&[])),
        ("qwen2_moe_windows", five(json!({"max_window_layers": 4})), LISTED, at(&[0, 2])),
        ("mixtral", five(json!({})), &[], at(&[0, 1, 2, 3, 4])),
        ("ministral3", five(json!({})), &[], at(&[0, 1, 2, 3, 4])),
        ("starcoder2", five(none), &[], at(&[])),
    ] {
        let shown = format!("{case} {edits}");
        assert_eq!(windows(case, edits, without), expected, "{shown}");
    }
    // Every fourth layer of SmolLM3 has no positions, and full layers of EXAONE 4 among windowed ones.
    let plain = |case: &str, edits: Value, without: &[&str]| {
        let summary = describe(case, edits, without).unwrap().summary();
        let layers = summary.lines().filter(|line| line.starts_with("layer "));
        let layers: Vec<&str> = layers.collect();
        (0..layers.len()).filter(|n| layers[*n].contains("no positions")).collect::<Vec<_>>()
    };
    let interval = json!({"num_hidden_layers": 5, "no_rope_layer_interval": null});
    assert_eq!(plain("smollm3", interval, UNLISTED), [3]);
    assert_eq!(plain("exaone4", json!({}), &[]), [1, 3]);
    assert_eq!(plain("exaone4", json!({"sliding_window": null}), LISTED), [] as [usize; 0]);
    // LFM 2 without a list of layers has attention everywhere.
    let lfm = describe("lfm2", json!({}), LISTED).unwrap().summary();
    assert!(!lfm.contains("convolution"), "{lfm}");
}

#[test]
fn wrappers_fill_in_what_files_leave_out() {
    use serde_json::json;
    // Gemma 3's own files state no numbers of heads and no vocabulary.
    let text = json!({"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 2, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024});
    let decoder = describe("gemma3", json!({"text_config": text}), &[]).unwrap();
    assert_eq!(
        (decoder.vocabulary, decoder.context, decoder.tied()),
        (262_208, Some(131_072), true)
    );
    assert!(
        decoder.summary().contains("gqa 4x2 heads of 256, window 1024"),
        "{}",
        decoder.summary()
    );

    // The text model's keys beside the wrapper's, in an object of their own, or in both places.
    let flat = describe("qwen2_vl", json!({}), &[]).unwrap().summary();
    let text = Case::open("qwen2_vl").config().unwrap();
    let mut nested = text.clone();
    nested.as_object_mut().unwrap().retain(|key, _| key != "vision_config" && key != "model_type");
    let both = json!({"text_config": nested, "hidden_size": 1});
    let both = describe("qwen2_vl", both, &[]).unwrap();
    let lines = |summary: &str| summary.lines().skip(1).map(String::from).collect::<Vec<_>>();
    assert_eq!(lines(&both.summary()), lines(&flat));
    assert_eq!(both.model_type, "qwen2_vl_text");
    let tied = json!({"tie_word_embeddings": true});
    assert!(describe("qwen2_vl", tied, &[]).unwrap().tied());
}

#[test]
fn biases_are_where_the_reference_has_them() {
    use serde_json::json;
    let attention = json!({"attention_bias": true});
    for (case, edits, expected) in [
        ("llama_plain", json!({}), vec![]),
        ("llama_plain", attention.clone(), vec!["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("llama_plain", json!({"mlp_bias": true}), vec!["gate_proj", "up_proj", "down_proj"]),
        ("mistral", json!({}), vec![]),
        ("qwen2", json!({}), vec!["q_proj", "k_proj", "v_proj"]),
        ("qwen3", attention.clone(), vec!["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("gemma2", attention.clone(), vec!["q_proj", "k_proj", "v_proj", "o_proj"]),
        ("gemma3_text", attention, vec!["q_proj", "k_proj", "v_proj", "o_proj"]),
    ] {
        let decoder = describe(case, edits.clone(), &[]).unwrap();
        let entries = decoder.params.entries().iter();
        let biases: Vec<&str> = entries
            .filter(|entry| entry.name.starts_with("model.layers.0."))
            .filter_map(|entry| entry.name.strip_suffix(".bias")?.rsplit('.').next())
            .collect();
        assert_eq!(biases, expected, "{case} {edits}");
        // A bias that is declared is used: the graph has it as an operand.
        let entry = EntryPoint {
            name: "step".to_string(),
            bucket: Bucket::decode(1, 16),
            output: Output::Logits,
        };
        let text = decoder.module(&[entry]).unwrap().to_string();
        for bias in biases {
            let uses = text.lines().filter(|line| {
                line.contains(" = ")
                    && line.contains("%model.layers.0.")
                    && line.contains(&format!("{bias}.bias"))
            });
            assert_eq!(uses.count(), 1, "{case} {bias}");
        }
    }
}

#[test]
fn scaled_rotations_stretch_the_context() {
    use serde_json::json;
    let context = |case: &str, rope: serde_json::Value| {
        let edits = json!({"max_position_embeddings": 100, "rope_scaling": rope});
        describe(case, edits, &["rope_parameters"]).unwrap().context
    };
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    for (rope, expected) in [
        (json!(null), 100),
        (json!({"rope_type": "linear", "factor": 2.5}), 250),
        (json!({"rope_type": "dynamic", "factor": 3.0}), 300),
        (yarn, 256),
        (
            json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                   "high_freq_factor": 4.0, "original_max_position_embeddings": 10}),
            100,
        ),
    ] {
        assert_eq!(context("llama_plain", rope.clone()), Some(expected), "{rope}");
    }
    let unstated = describe("llama_plain", json!({}), &["max_position_embeddings"]).unwrap();
    assert_eq!(unstated.context, None);
    let gemma = describe("gemma3_text", json!({"max_position_embeddings": 777}), &[]).unwrap();
    assert_eq!(gemma.context, Some(777), "gemma counts positions after scaling");
}

#[test]
fn keys_that_the_reference_overlooks_change_nothing() {
    use serde_json::json;
    let yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64});
    let with = |extra: &str, value: serde_json::Value| {
        let mut yarn = yarn.clone();
        yarn[extra] = value;
        json!({"rope_parameters": yarn})
    };
    for (case, plain, edited) in [
        ("gemma3_text", json!({}), json!({"attn_logit_softcapping": 5.0})),
        ("llama_plain", json!({"rope_parameters": yarn}), with("finetuned", true.into())),
        ("llama_plain", json!({}), json!({"max_sequence_length": 4})),
        ("gemma2", json!({}), json!({"sliding_window_size": 3, "hidden_act": "gelu"})),
    ] {
        let summary =
            |edits: &serde_json::Value| describe(case, edits.clone(), &[]).unwrap().summary();
        assert_eq!(summary(&edited), summary(&plain), "{case} {edited}");
    }
}
