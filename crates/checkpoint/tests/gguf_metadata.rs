//! GGUF metadata that cannot be used, or that would change the mathematics: refused by key.

mod support;

use stablemate_fixtures::gguf::{Kind, Value, Writer};
use support::{check, good, open_bytes, read_all};

#[test]
fn metadata_values() {
    let nested = (0..5).fold(Value::U8(1), |inner, _| Value::Array(vec![inner]));
    check(|w| _ = w.set("x", nested), &["`x`", "arrays inside arrays"]);
    check(
        |w| w.metadata.push(("llama.block_count".into(), Value::U32(1))),
        &["`llama.block_count`", "twice"],
    );
    check(
        |w| _ = w.set("general.alignment", Value::U32(24)),
        &["`general.alignment`", "24", "power of two"],
    );
    check(
        |w| _ = w.set("general.alignment", Value::U32(0)),
        &["`general.alignment`", "power of two"],
    );
    check(
        |w| _ = w.set("general.alignment", Value::U64(1 << 63)),
        &["starts at 9223372036854775808"],
    );
    check(|w| _ = w.set("general.alignment", "32".into()), &["`general.alignment`"]);
    check(|w| _ = w.unset("general.architecture"), &["`general.architecture`", "missing"]);
    check(|w| _ = w.set("general.architecture", Value::U32(1)), &["`general.architecture`"]);
    check(
        |w| _ = w.set("general.architecture", "mamba".into()),
        &["`mamba`", "llama, qwen2, qwen3, qwen3moe, "],
    );
    check(|w| _ = w.set("general.type", "adapter".into()), &["`general.type`", "adapter"]);
    check(
        |w| _ = w.set("tokenizer.ggml.eos_token_id", "x".into()),
        &["`tokenizer.ggml.eos_token_id`"],
    );
    check(
        |w| _ = w.set("tokenizer.ggml.bos_token_id", Value::I32(-1)),
        &["`tokenizer.ggml.bos_token_id`"],
    );
}

/// Values that cannot be used, and options that would change the mathematics.
#[test]
fn model_metadata() {
    for (key, value, part) in [
        ("block_count", Value::U64(1 << 60), "is 1152921504606846976, but the file has 4 tensors"),
        ("rope.freq_base", Value::F64(1e300), "above zero"),
        ("block_count", Value::I32(-1), "non-negative integer"),
        ("block_count", "1".into(), "a string"),
        ("attention.head_count", Value::U32(0), "0; a count is needed"),
        (
            "attention.head_count",
            Value::Array(vec![Value::U32(2), Value::U32(1)]),
            "differs between layers",
        ),
        ("attention.head_count_kv", Value::U32(0), "is 0; a divisor of the 2 heads"),
        ("attention.head_count_kv", Value::U32(3), "is 3; a divisor of the 2 heads"),
        ("attention.key_length", Value::U32(8), "only the head size, 8, is read"),
        ("attention.value_length", Value::U32(8), "only the head size, 16, is read"),
        ("rope.dimension_count", Value::U32(8), "only the head size, 16, is read"),
        ("attention.layer_norm_rms_epsilon", Value::F32(f32::NAN), "a finite number is needed"),
        ("attention.causal", Value::Bool(false), "only causal"),
        ("expert_count", Value::U32(8), "nothing reads `llama.expert_count` = 8"),
        ("attention.scale", Value::F32(0.5), "nothing reads `llama.attention.scale` = 0.5"),
        ("logit_scale", Value::F32(2.0), "nothing reads `llama.logit_scale` = 2"),
        ("made_up", "x".into(), "nothing reads `llama.made_up` = \"x\""),
        ("rope.scaling.type", "longrope".into(), "`longrope`; none, linear and yarn"),
        ("rope.scaling.type", "yarn".into(), "`llama.rope.scaling.factor`: missing"),
        ("rope.scaling.factor", Value::F32(-2.0), "above zero"),
        ("rope.scaling.attn_factor", Value::F32(1.2), "only 1 is read"),
    ] {
        check(|w| _ = w.set(&format!("llama.{key}"), value), &["`llama.", part]);
    }
    for key in ["block_count", "context_length", "embedding_length", "feed_forward_length"] {
        check(|w| _ = w.unset(&format!("llama.{key}")), &[&format!("key `llama.{key}`: missing")]);
    }
    // Zero means none, and harmless keys are harmless.
    let mut harmless = good();
    harmless.set("llama.expert_count", Value::U32(0)).set("llama.logit_scale", Value::F32(0.0));
    harmless.set("llama.attention.causal", Value::Bool(true)).set("other.key", Value::U32(1));
    harmless.set("llama.attention.head_count", Value::Array(vec![Value::U32(2)]));
    harmless.set("llama.rope.scaling.factor", Value::F32(1.0));
    open_bytes(&harmless.to_bytes()).unwrap();
}

#[test]
fn yarn_metadata() {
    let yarn = |w: &mut Writer| {
        w.set("llama.rope.scaling.type", "yarn".into());
        w.set("llama.rope.scaling.factor", Value::F32(4.0));
        w.set("llama.rope.scaling.yarn_beta_fast", Value::F32(16.0));
    };
    let mut writer = good();
    yarn(&mut writer);
    let checkpoint = open_bytes(&writer.to_bytes()).unwrap();
    let scaling: serde_json::Value = checkpoint.config().require("rope_scaling").unwrap();
    assert_eq!(
        scaling.to_string(),
        r#"{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":64,"beta_fast":16.0}"#
    );
    for (key, value, part) in [
        ("yarn_ext_factor", 0.5, "only 1 is read"),
        ("yarn_attn_factor", 1.0, "two meanings"),
        ("yarn_log_multiplier", 0.1, "nothing reads"),
    ] {
        let key = format!("llama.rope.scaling.{key}");
        let change = |w: &mut Writer| {
            yarn(w);
            w.set(&key, Value::F32(value));
        };
        check(change, &[&key, part]);
    }
}

#[test]
fn rope_factors() {
    let factors = |count: usize, value: f32| {
        move |w: &mut Writer| _ = w.floats("rope_freqs.weight", &[count], &vec![value; count])
    };
    check(factors(7, 1.0), &["tensor `rope_freqs.weight`: has 7 values; 8 positive"]);
    check(factors(8, 0.0), &["`rope_freqs.weight`", "positive"]);
    check(factors(8, f32::INFINITY), &["`rope_freqs.weight`", "positive"]);
    check(
        |w| _ = w.tensor("rope_freqs.weight", &[8], Kind::F16, vec![0; 16]),
        &["an F32 vector is needed"],
    );
    let both = |w: &mut Writer| {
        factors(8, 2.0)(w);
        w.set("llama.rope.scaling.factor", Value::F32(2.0));
    };
    check(both, &["both this and a tensor `rope_freqs.weight`"]);
    let mut writer = good();
    factors(8, 2.0)(&mut writer);
    read_all(&open_bytes(&writer.to_bytes()).unwrap());
}
