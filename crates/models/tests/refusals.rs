//! Configurations and checkpoints that are refused, and how.

mod support;

use serde_json::{Value, json};
use stablemate_graph::ElementType;
use stablemate_models::{ModelError, Storage, families};
use std::path::Path;
use support::{describe, edited};

/// The message of a refusal, which must name the file.
fn refusal(case: &str, edits: Value, without: &[&str]) -> String {
    let shown = format!("{case} with {edits}, without {without:?}");
    let message = describe(case, edits, without).map(|_| ()).expect_err(&shown).to_string();
    assert!(message.starts_with("some/config.json: "), "{message}");
    message
}

#[test]
fn unknown_families_list_the_nearest() {
    let unknown = json!({"model_type": "qwen4", "architectures": []});
    let message = refusal("llama_plain", unknown, &[]);
    for part in [": model_type \"qwen4\" is not supported; the nearest", "qwen2, qwen3, qwen3_5"] {
        assert!(message.contains(part), "{message}");
    }
    let message = refusal("llama_plain", json!({}), &["model_type"]);
    assert!(message.contains("`model_type`: missing"), "{message}");
    let wrapped = json!({"text_config": {"model_type": "ministral4"}});
    let message = refusal("mistral3", wrapped, &[]);
    for part in ["\"ministral4\" in the text_config of \"mistral3\"", "nearest", "ministral3"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn families_that_are_not_built_say_why() {
    let message = refusal("llama_plain", json!({"model_type": "deepseek_v32"}), &[]);
    insta::assert_snapshot!(message, @r#"some/config.json: model_type "deepseek_v32" is not supported: attention over tokens that an index chooses is not a part here"#);
    let wrapped = json!({"text_config": {"model_type": "mistral4"}});
    let message = refusal("mistral3", wrapped, &[]);
    insta::assert_snapshot!(message, @r#"some/config.json: model_type "mistral4" in the text_config of "mistral3" is not supported: it is not described yet; ministral3 is"#);
}

#[test]
fn other_names_mean_a_family() {
    let family = |case: &str, edits: Value| families::family(&edited(case, edits, &[])).unwrap();
    for (case, edits, expected) in [
        ("llama_plain", json!({}), "llama"),
        ("llama_plain", json!({"model_type": "iquestcoder"}), "llama"),
        ("llama_plain", json!({"scale_depth": 1.4}), "minicpm"),
        ("mistral", json!({"layer_types": ["full_attention"]}), "ministral"),
        ("mistral3_mistral", json!({}), "mistral"),
        ("llama_plain", json!({"model_type": "yi"}), "llama"),
        (
            "llama_plain",
            json!({"model_type": "yi", "architectures": ["Qwen2ForCausalLM"]}),
            "qwen2",
        ),
        ("qwen2_vl", json!({}), "qwen2"),
        ("qwen3_vl", json!({}), "qwen3"),
        ("deepseek_v3", json!({"model_type": "kimi_k2"}), "deepseek_v3"),
    ] {
        assert_eq!(family(case, edits.clone()), expected, "{case} {edits}");
    }
    // The name implies values of keys that are absent.
    let edits = json!({"model_type": "iquestcoder", "head_dim": null});
    let summary =
        |without: &[&str]| describe("llama_plain", edits.clone(), without).unwrap().summary();
    assert!(summary(&["rms_norm_eps", "head_dim"]).contains("heads of 128"));
    assert!(summary(&["rms_norm_eps"]).contains("epsilon 0.00001"));
    assert!(!summary(&[]).contains("heads of 128"), "null means hidden / heads");
}

#[test]
fn keys_that_nobody_reads_are_named() {
    for case in ["llama_plain", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"] {
        let message = refusal(case, json!({"logit_scale": 0.5, "alibi": true}), &[]);
        for part in ["`logit_scale` = 0.5", "`alibi` = true", "refuses rather than"] {
            assert!(message.contains(part), "{message}");
        }
    }
    // A key of another family.
    let message = refusal("llama_plain", json!({"final_logit_softcapping": 30.0}), &[]);
    assert!(message.contains("`final_logit_softcapping` = 30"), "{message}");
}

#[test]
fn impossible_sizes_are_named() {
    let tall = 1_u64 << 40;
    for (case, edits, parts) in [
        (
            "llama_plain",
            json!({"num_attention_heads": 0}),
            ["`num_attention_heads` is 0", "positive"],
        ),
        (
            "llama_plain",
            json!({"num_key_value_heads": 0}),
            ["`num_key_value_heads` is 0", "must divide"],
        ),
        (
            "llama_plain",
            json!({"num_key_value_heads": 4}),
            ["`num_key_value_heads` is 4", "must divide num_attention_heads, 6"],
        ),
        ("llama_plain", json!({"hidden_size": 0}), ["`hidden_size` is 0", "positive"]),
        ("llama_plain", json!({"hidden_size": tall}), ["`hidden_size` is 1099511627776", "below"]),
        (
            "llama_plain",
            json!({"hidden_size": 50, "head_dim": null}),
            ["`hidden_size` is 50", "multiple of num_attention_heads"],
        ),
        ("llama_plain", json!({"head_dim": 0}), ["`head_dim` is 0", "positive"]),
        ("llama_plain", json!({"head_dim": tall}), ["`head_dim` is 1099511627776", "below 2^20"]),
        ("llama_plain", json!({"head_dim": 3}), ["head_dim", "is 3, but an even"]),
        ("llama_plain", json!({"intermediate_size": 0}), ["`intermediate_size` is 0", "positive"]),
        ("llama_plain", json!({"vocab_size": 0}), ["`vocab_size` is 0", "positive"]),
        ("llama_plain", json!({"vocab_size": 1.5}), ["`vocab_size`: is 1.5", "integer"]),
        ("llama_plain", json!({"vocab_size": -5}), ["`vocab_size`: is -5", "integer"]),
        (
            "llama_plain",
            json!({"rms_norm_eps": -1e-6}),
            ["`rms_norm_eps` is -0.000001", "positive"],
        ),
        (
            "llama_plain",
            json!({"rms_norm_eps": {"__float__": "NaN"}}),
            ["`rms_norm_eps` is NaN", "positive"],
        ),
        ("llama_plain", json!({"hidden_act": "mish"}), ["`hidden_act` is \"mish\"", "silu"]),
        (
            "llama_plain",
            json!({"max_position_embeddings": "many"}),
            ["max_position_embeddings", "\"many\""],
        ),
        (
            "gemma2",
            json!({"query_pre_attn_scalar": 0}),
            ["`query_pre_attn_scalar` is 0", "positive"],
        ),
        (
            "gemma2",
            json!({"attn_logit_softcapping": 0.0}),
            ["`attn_logit_softcapping` is 0", "positive"],
        ),
        (
            "gemma2",
            json!({"final_logit_softcapping": -30.0}),
            ["`final_logit_softcapping` is -30", "positive"],
        ),
        (
            "gemma2",
            json!({"final_logit_softcapping": 1e39}),
            ["`final_logit_softcapping` is 1000", "f32"],
        ),
        (
            "gemma3_text",
            json!({"use_bidirectional_attention": true}),
            ["`use_bidirectional_attention` is true", "causal"],
        ),
    ] {
        let message = refusal(case, edits, &[]);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
    // Every family, before it makes room for its layers.
    for case in ["llama_plain", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"] {
        for (layers, part) in
            [(0, "positive"), (1 << 10, "below 1024"), (tall, "below"), (u64::MAX, "below")]
        {
            let message = refusal(case, json!({"num_hidden_layers": layers}), &["layer_types"]);
            let named = message.contains(&format!("`num_hidden_layers` is {layers}"));
            assert!(named && message.contains(part), "{message}");
        }
    }
}

#[test]
fn the_largest_sizes_overflow_nothing() {
    let largest = (1_u64 << 30) - 4;
    let edits = json!({"hidden_size": largest, "intermediate_size": largest, "vocab_size": largest,
        "num_attention_heads": largest, "num_key_value_heads": largest, "head_dim": (1 << 20) - 2});
    let decoder = describe("llama_plain", edits, &[]).unwrap();
    assert_eq!((decoder.params.elements(), decoder.params.bytes()), (usize::MAX, usize::MAX));
    assert!(decoder.state_bytes_per_token() > 0);
    assert!(!decoder.summary().is_empty());
}

fn types_of(types: &[&str]) -> Value {
    json!({"layer_types": types})
}

#[test]
fn impossible_windows_are_named() {
    let qwen = |window: Value| json!({"use_sliding_window": true, "max_window_layers": 0, "sliding_window": window});
    let mut mixed = vec!["full_attention"; 3];
    mixed.push("chunked_attention");
    let four = |types: &[&str]| {
        let mut edits = types_of(types);
        edits["num_hidden_layers"] = 4.into();
        edits
    };
    for (case, edits, without, parts) in [
        (
            "mistral",
            json!({"sliding_window": 0}),
            vec![],
            ["`sliding_window` is 0", "at least itself"],
        ),
        (
            "mistral",
            json!({"sliding_window": 1_u64 << 31}),
            vec![],
            ["`sliding_window` is 2147483648", "at most"],
        ),
        (
            "qwen2",
            qwen(json!(0)),
            vec!["layer_types"],
            ["`sliding_window` is 0", "at least itself"],
        ),
        (
            "gemma2",
            json!({"sliding_window": 0}),
            vec![],
            ["`sliding_window` is 0", "at least itself"],
        ),
        (
            "gemma2",
            json!({"sliding_window": null}),
            vec![],
            ["`sliding_window` is absent", "need a window"],
        ),
        (
            "gemma3_text",
            json!({"sliding_window": -1}),
            vec![],
            ["`sliding_window`: is -1", "integer"],
        ),
        (
            "gemma2",
            types_of(&["full_attention"]),
            vec![],
            ["`layer_types` is 1 entries", "num_hidden_layers is"],
        ),
        (
            "gemma2",
            four(&mixed),
            vec![],
            ["`layer_types` is \"chunked_attention\"", "full_attention and sliding"],
        ),
        ("qwen3", types_of(&[]), vec![], ["`layer_types` is 0 entries", "num_hidden_layers is"]),
        (
            "gemma2",
            json!({"layer_types": "full_attention"}),
            vec![],
            ["`layer_types`: is \"full_attention\"", "list"],
        ),
    ] {
        let message = refusal(case, edits, &without);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
}

#[test]
fn contradictions_within_a_family_are_named() {
    let rope = |key: &str| {
        let mut rope = json!({"rope_type": "yarn", "factor": 4.0, "llama_4_scaling_beta": 0.1,
            "original_max_position_embeddings": 16, "rope_theta": 1e4});
        rope.as_object_mut().unwrap().remove(key);
        json!({"rope_parameters": rope})
    };
    for (case, edits, without, parts) in [
        (
            "internlm3",
            json!({"attention_bias": false}),
            vec![],
            ["`qkv_bias` is false", "must be equal"],
        ),
        (
            "smollm3",
            json!({"no_rope_layers": [1, 0]}),
            vec![],
            ["`no_rope_layers` is 2 entries", "num_hidden_layers is 4"],
        ),
        (
            "smollm3",
            json!({"no_rope_layer_interval": 0}),
            vec![],
            ["`no_rope_layer_interval` is 0", "positive"],
        ),
        ("lfm2_moe", json!({}), vec!["layer_types"], ["`layer_types`: missing", "list"]),
        (
            "lfm2",
            json!({"layer_types": ["conv", "full_attention", "conv", "window"]}),
            vec![],
            ["`layer_types` is \"window\"", "conv and full_attention"],
        ),
        ("lfm2", json!({"conv_L_cache": 1}), vec![], ["`conv_L_cache` is 1", "at least 2"]),
        (
            "lfm2",
            json!({"block_ffn_dim_multiplier": 1e9}),
            vec![],
            ["`block_ffn_dim_multiplier` is such", "2^30"],
        ),
        (
            "stablelm",
            json!({"head_dim": 16}),
            vec![],
            ["`head_dim` is 16", "hidden_size / num_attention_heads, 12"],
        ),
        (
            "ministral3",
            rope("llama_4_scaling_beta"),
            vec![],
            ["llama_4_scaling_beta`: missing", "number"],
        ),
        (
            "ministral3",
            rope("original_max_position_embeddings"),
            vec![],
            ["original_max_position_embeddings`: missing", "integer"],
        ),
        (
            "exaone4",
            json!({"sliding_window_pattern": "LLLG"}),
            vec!["layer_types"],
            ["`sliding_window_pattern`: is \"LLLG\"", "integer"],
        ),
        (
            "minicpm",
            json!({"mup_denominator": 32}),
            vec![],
            ["`mup_denominator` is 32", "num_hidden_layers is 4"],
        ),
        ("minicpm", json!({"scale_emb": 0}), vec![], ["`scale_emb` is 0", "positive"]),
        ("granite", json!({"logits_scaling": 0}), vec![], ["`logits_scaling` is 0", "positive"]),
        (
            "mixtral",
            json!({"num_experts_per_tok": 9}),
            vec![],
            ["`num_experts_per_tok` is 9", "num_local_experts is 5"],
        ),
        ("gemma3", json!({}), vec!["text_config"], ["`text_config` is absent", "needed"]),
    ] {
        let message = refusal(case, edits, &without);
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    }
}

#[test]
fn families_with_a_fixed_number_of_heads_want_it_stated() {
    for case in ["mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"] {
        let message = refusal(case, json!({}), &["num_key_value_heads"]);
        assert!(message.contains("`num_key_value_heads`: missing"), "{message}");
        let heads = json!({"num_key_value_heads": null});
        assert!(describe(case, heads, &[]).is_ok(), "null means one per query head");
    }
    assert!(describe("llama_plain", json!({}), &["num_key_value_heads"]).is_ok());
}

const F32: Storage = Storage::Dense(ElementType::F32);
const BF16: Storage = Storage::Dense(ElementType::Bf16);

#[test]
fn a_checkpoint_must_have_the_tensors_that_the_configuration_asks_for() {
    let decoder = describe("llama_plain", json!({}), &[]).unwrap();
    let file = Path::new("some/model.safetensors");
    type Found = Result<Option<(Vec<usize>, Storage)>, ModelError>;
    let bind = |name: &str, found: fn(Vec<usize>) -> Found| {
        let mut params = decoder.params.clone();
        let sizes = |wanted: &str| {
            decoder.params.entries().iter().find(|e| e.name == wanted).unwrap().ty.sizes()
        };
        let result = params.bind(file, |wanted| {
            if wanted == name { found(sizes(wanted)) } else { Ok(Some((sizes(wanted), F32))) }
        });
        (result.map_err(|error| error.to_string()), params)
    };
    let name = "model.layers.1.self_attn.k_proj.weight";
    let (result, params) = bind(name, |sizes| Ok(Some((sizes, BF16))));
    assert_eq!(result, Ok(()));
    for entry in params.entries() {
        let expected = if entry.name == name { BF16 } else { F32 };
        assert_eq!(
            (entry.storage, Storage::Dense(entry.ty.element)),
            (expected, expected),
            "{}",
            entry.name
        );
    }
    assert_eq!(params.bytes(), 4 * params.elements() - 2 * params_of(&params, name));

    let (result, _) = bind(name, |_| Ok(None));
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.layers.1.self_attn.k_proj.weight" is missing; the model needs it as [Key 16, Model 48]"#);
    let (result, _) = bind(name, |sizes| Ok(Some((vec![sizes[1], sizes[0]], F32))));
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.layers.1.self_attn.k_proj.weight" has shape [48, 16]; the configuration says [Key 16, Model 48]"#);
    let (result, _) = bind(name, |sizes| Ok(Some((sizes[..1].to_vec(), F32))));
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.layers.1.self_attn.k_proj.weight" has shape [16]; the configuration says [Key 16, Model 48]"#);
    let (result, _) = bind(name, |_| {
        let path = Path::new("x").to_path_buf();
        Err(ModelError::UnknownFamily {
            file: path,
            found: "y".to_string(),
            place: String::new(),
            nearest: String::new(),
        })
    });
    assert!(
        result.unwrap_err().starts_with("x: model_type \"y\""),
        "what the lookup says is passed on"
    );
}

#[test]
fn parameters_are_stored_only_as_kernels_read_them() {
    let file = Path::new("some/model.safetensors");
    let of = |name: &'static str, storage: &str| {
        let storage: Storage = storage.parse().unwrap();
        let mut params = describe("llama_plain", json!({}), &[]).unwrap().params;
        let result =
            params.set_storage(file, |entry| if entry.name == name { storage } else { F32 });
        let entry = params.entries().iter().find(|entry| entry.name == name).unwrap().clone();
        (result.map_err(|error| error.to_string()), entry)
    };
    // [Key 16, Model 48]: one tile, two units of codes, three groups.
    let name = "model.layers.1.self_attn.k_proj.weight";
    let (result, entry) = of(name, "q4 group 16 affine F16");
    assert_eq!(result, Ok(()));
    assert_eq!(entry.argument().text(), "tensor<1x11x16xi32>");
    assert_eq!((entry.bytes(), entry.ty.element), (11 * 16 * 4, ElementType::F32));
    let (result, _) = of(name, "q4 group 32 affine F16");
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.layers.1.self_attn.k_proj.weight" [Key 16, Model 48] cannot be held as q4 group 32 affine F16: its rows would need to be a multiple of 32 values long"#);
    let (result, _) = of("model.norm.weight", "q4 group 16 affine F16");
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.norm.weight" [Model 48] cannot be held as q4 group 16 affine F16: all but matrices are held as f32"#);
    let (result, _) = of("model.norm.weight", "bf16");
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.norm.weight" [Model 48] cannot be held as bf16: all but matrices are held as f32"#);
    let mut params = describe("llama_plain", json!({}), &[]).unwrap().params;
    let result = params.set_storage(file, |entry| match entry.ty.rank() {
        1 => F32,
        _ => Storage::Dense(ElementType::I8),
    });
    insta::assert_snapshot!(result.unwrap_err(), @r#"some/model.safetensors: tensor "model.layers.0.self_attn.q_proj.weight" [Query 48, Model 48] cannot be held as i8: a matrix is held as f32, f16, bf16 or packed"#);
}

fn params_of(params: &stablemate_models::ParamTable, name: &str) -> usize {
    params.entries().iter().find(|entry| entry.name == name).unwrap().ty.elements().unwrap()
}
