use std::path::Path;

use serde_json::Value;

use super::RawConfig;

fn config(text: &str) -> RawConfig {
    RawConfig::from_json(text, Path::new("some/config.json")).unwrap()
}

#[test]
fn typed_reads() {
    let config = config(
        r#"{"model_type": "llama", "n": 3, "x": 2.0, "half": 0.5, "flag": true, "list": [1, 2],
            "names": ["a"], "negative": -4, "nothing": null, "big": 5000000000,
            "limit": [0.0, {"__float__": "Infinity"}], "bare": Infinity}"#,
    );
    assert_eq!(config.model_type().unwrap(), "llama");
    assert_eq!(config.get::<usize>("n").unwrap(), Some(3));
    assert_eq!(config.get::<u32>("n").unwrap(), Some(3));
    assert_eq!(config.get::<f64>("n").unwrap(), Some(3.0));
    assert_eq!(config.get::<i64>("negative").unwrap(), Some(-4));
    assert_eq!(config.get::<f64>("half").unwrap(), Some(0.5));
    assert_eq!(config.get::<bool>("flag").unwrap(), Some(true));
    assert_eq!(config.get::<Vec<usize>>("list").unwrap(), Some(vec![1, 2]));
    assert_eq!(config.get::<Vec<String>>("names").unwrap(), Some(vec!["a".to_owned()]));
    assert_eq!(config.get::<Value>("x").unwrap(), Some(2.0.into()));
    assert_eq!(config.get::<f64>("bare").unwrap(), Some(f64::INFINITY));
    assert_eq!(config.get::<Vec<f64>>("limit").unwrap(), Some(vec![0.0, f64::INFINITY]));
    assert_eq!(config.get::<usize>("nothing").unwrap(), None);
    assert_eq!(config.get::<usize>("absent").unwrap(), None);
    assert_eq!(config.require::<usize>("big").unwrap(), 5_000_000_000);
    assert!(config.is_null("nothing") && !config.is_null("absent") && !config.is_null("n"));
    assert!(config.contains("n") && !config.contains("nothing") && !config.contains("absent"));
    config.finish().unwrap();

    for (error, parts) in [
        (config.get::<usize>("x").unwrap_err(), ["`x`", "2.0 (a number)", "non-negative integer"]),
        (
            config.get::<usize>("negative").unwrap_err(),
            ["`negative`", "-4", "non-negative integer"],
        ),
        (config.get::<u32>("big").unwrap_err(), ["`big`", "5000000000", "below 2^32"]),
        (config.get::<bool>("n").unwrap_err(), ["`n`", "3 (a number)", "true or false"]),
        (config.get::<String>("list").unwrap_err(), ["`list`", "[1,2] (a list)", "a string"]),
        (
            config.get::<Vec<bool>>("list").unwrap_err(),
            ["`list`", "a list", "each element is true"],
        ),
        (config.require::<f64>("absent").unwrap_err(), ["`absent`", "missing", "a number"]),
        (config.require::<f64>("nothing").unwrap_err(), ["`nothing`", "missing", "a number"]),
        (config.nested("n").unwrap_err(), ["`n`", "3 (a number)", "an object"]),
    ] {
        let message = error.to_string();
        assert!(message.starts_with("some/config.json: key "), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

#[test]
fn unread_keys_are_all_named_at_once() {
    let config =
        config(r#"{"model_type": "x", "read": 1, "scale": 2.5, "wide": true, "list": [0]}"#);
    config.model_type().unwrap();
    config.get::<usize>("read").unwrap();
    let message = config.finish().unwrap_err().to_string();
    assert!(message.contains("`scale` = 2.5, `wide` = true, `list` = [0]"), "{message}");
    assert!(message.contains("refuses rather than"), "{message}");
    assert!(!message.contains("`read`") && !message.contains("model_type"), "{message}");
    config.ignore(&["scale", "wide", "list", "absent"]);
    config.finish().unwrap();
}

#[test]
fn neutral_and_harmless_values_pass() {
    config(
        r#"{"a": null, "b": false, "c": [], "d": {}, "e": "", "architectures": ["A"], "pad_token_id": 3,
            "hidden_dropout_prob": 0.1, "torch_dtype": "bfloat16", "pretraining_tp": 2, "top_k": 50,
            "initializer_range": 0.02, "id2label": {"0": "x"}, "use_cache": true}"#,
    )
    .finish()
    .unwrap();
    for text in [r#"{"zero": 0}"#, r#"{"moe": {"top_k": 2}}"#, r#"{"x": {"__float__": "NaN"}}"#] {
        assert!(config(text).finish().is_err(), "{text}");
    }
    let nested = config(r#"{"moe": {"top_k": 2, "dtype": "float32"}}"#);
    nested.nested("moe").unwrap();
    let message = nested.finish().unwrap_err().to_string();
    assert!(message.contains("`moe.top_k` = 2:"), "{message}");
}

/// Keys of transformers' base classes, and numbers with which a key says nothing.
#[test]
fn keys_that_say_nothing_of_logits() {
    config(
        r#"{"tokenizer_class": "LlamaTokenizer", "model_max_length": 4096, "logits_to_keep": 1,
            "num_logits_to_keep": 1, "neftune_noise_alpha": 5.0, "seq_length": 2048, "is_decoder": true,
            "prefix": "a", "tf_legacy_loss": true, "num_experts": 0, "num_local_experts": 1,
            "n_routed_experts": 0, "num_nextn_predict_layers": 0, "partial_rotary_factor": 1.0,
            "logit_scale": 1, "residual_multiplier": 1.0, "final_logit_softcapping": 0.0}"#,
    )
    .finish()
    .unwrap();
    for text in [
        r#"{"num_experts": 1}"#,
        r#"{"num_local_experts": 2}"#,
        r#"{"partial_rotary_factor": 0.5}"#,
        r#"{"logit_scale": 0}"#,
        r#"{"is_encoder_decoder": true}"#,
        r#"{"add_cross_attention": true}"#,
        r#"{"num_experts": [0, 1]}"#,
    ] {
        assert!(config(text).finish().is_err(), "{text}");
    }
}

#[test]
fn defaults_stand_in_for_absent_keys() {
    let root = config(r#"{"a": 1, "b": null, "deep": {"c": 2}}"#);
    let deep = root.nested("deep").unwrap().unwrap();
    let filled = root.with_defaults(r#"{"a": 5, "b": 6, "d": 7}"#).unwrap();
    let get = |config: &RawConfig, key: &str| config.get::<usize>(key).unwrap();
    assert_eq!((get(&filled, "a"), get(&filled, "b"), get(&filled, "d")), (Some(1), None, Some(7)));
    let filled = deep.with_defaults(r#"{"e": 8}"#).unwrap();
    assert_eq!((get(&filled, "c"), get(&filled, "e")), (Some(2), Some(8)));
    // What was read through the filled object was read.
    root.finish().unwrap();
    assert!(root.with_defaults("[]").is_err());
}

#[test]
fn named_keys_are_ignored() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let root = config(r#"{"odd": 3, "deep": {"odd": 4, "x.y": {"z": 5}}, "a.b": 6}"#);
    root.nested("deep").unwrap().unwrap().nested("x.y").unwrap().unwrap();
    assert_eq!(root.ignore_named(&names(&["odd", "deep.odd", "a.b"])), None);
    let message = root.finish().unwrap_err().to_string();
    assert!(message.contains("nothing reads `deep.x.y.z` = 5:"), "{message}");
    assert_eq!(root.ignore_named(&names(&["deep.x.y.z"])), None);
    root.finish().unwrap();
    let absent = names(&["odd", "nowhere", "deep.nowhere"]);
    assert_eq!(root.ignore_named(&absent), Some("nowhere"));
}

#[test]
fn nested_objects_share_the_record() {
    let text = r#"{"rope": {"type": "yarn", "factor": 4, "deep": {"k": 1}}, "other": {"k": 1}}"#;
    let root = config(text);
    let rope = root.nested("rope").unwrap().unwrap();
    assert_eq!(rope.get::<String>("type").unwrap().as_deref(), Some("yarn"));
    let error = rope.get::<bool>("factor").unwrap_err().to_string();
    assert!(error.contains("`rope.factor`"), "{error}");
    let message = root.finish().unwrap_err().to_string();
    assert!(message.contains("`rope.deep` = {\"k\":1}, `other` = {\"k\":1}:"), "{message}");
    rope.nested("deep").unwrap().unwrap().get::<usize>("k").unwrap();
    rope.finish().unwrap();
    root.get::<Value>("other").unwrap();
    root.finish().unwrap();
    assert!(root.nested("absent").unwrap().is_none());
}

#[test]
fn a_key_with_a_dot_is_not_a_path() {
    let root = config(r#"{"a": {"b": 1}, "a.b": 2}"#);
    root.nested("a").unwrap().unwrap().get::<usize>("b").unwrap();
    assert!(root.finish().is_err());
}

#[test]
fn only_objects_are_configurations() {
    let error = RawConfig::from_json("[1]", Path::new("c.json")).unwrap_err().to_string();
    assert!(error.contains("c.json: a JSON object is needed, this is [1] (a list)"), "{error}");
    assert!(RawConfig::from_json("{\"a\": 1, \"a\": 2}", Path::new("c.json")).is_err());
}

#[test]
fn shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<RawConfig>();
}
