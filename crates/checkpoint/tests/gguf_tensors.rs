//! Tensors of GGUF files that nothing would compute with: refused by name.

mod support;

use stablemate_checkpoint::Pooling;
use stablemate_fixtures::gguf::{Value, Writer};
use support::{check, good, open_bytes};

fn with(name: &'static str, width: usize) -> impl FnOnce(&mut Writer) {
    move |writer: &mut Writer| _ = writer.floats(name, &[width], &vec![1.0; width])
}

#[test]
fn biases_without_their_company() {
    for (name, width, part) in [
        // llama's families switch these four together.
        ("blk.0.attn_output.bias", 32, "`blk.0.attn_q.bias`: missing"),
        ("blk.0.attn_v.bias", 16, "`blk.0.attn_q.bias`: missing"),
        ("blk.0.attn_q.bias", 32, "`blk.0.attn_k.bias`: missing"),
        // No family of llama's structure adds these.
        ("output.bias", 2, "tensor `output.bias`: nothing of architecture `llama` reads it"),
        ("token_embd.bias", 2, "`token_embd.bias`: nothing"),
        ("output_norm.bias", 32, "`output_norm.bias`: nothing"),
        ("blk.0.attn_norm.bias", 32, "`blk.0.attn_norm.bias`: nothing"),
    ] {
        check(with(name, width), &[part]);
    }
    let mut complete = good();
    for (name, width) in [("blk.0.attn_q.bias", 32), ("blk.0.attn_k.bias", 16)] {
        with(name, width)(&mut complete);
    }
    let checkpoint = open_bytes(&complete.to_bytes()).unwrap();
    assert_eq!(checkpoint.config().get("attention_bias").unwrap(), Some(true));
    assert!(checkpoint.tensor("model.layers.0.self_attn.k_proj.bias").unwrap().is_some());
}

#[test]
fn a_company_is_complete_in_every_layer() {
    let change = |writer: &mut Writer| {
        writer.set("llama.block_count", Value::U32(2));
        for (name, width) in [("blk.0.attn_q.bias", 32), ("blk.0.attn_k.bias", 16)] {
            with(name, width)(writer);
        }
        writer.floats("blk.1.attn_q.weight", &[32, 32], &[0.0; 1024]);
    };
    check(change, &["`blk.1.attn_q.bias`: missing", "attn_q, attn_k, attn_v, attn_output"]);
}

#[test]
fn names_of_nothing_in_the_architecture() {
    for name in [
        "model.layers.0.self_attn.q_proj.weight",
        "blk.0.attn_q_norm.weight",
        "blk.0.attn_qkv.weight",
        "blk.0.attn_q.scale",
        "blk.00.attn_q.weight",
        "blk.0.nextn.eh_proj.weight",
        "v.patch_embd.weight",
        "rope_factors_long.weight",
    ] {
        check(with(name, 32), &[&format!("tensor `{name}`: nothing of architecture `llama`")]);
    }
    // Where factors would be left out, they are refused; in llama they are part of the
    // configuration.
    let factors = |writer: &mut Writer| {
        writer.set("general.architecture", "qwen2".into());
        for (key, value) in std::mem::take(&mut writer.metadata) {
            writer.metadata.push((key.replace("llama.", "qwen2."), value));
        }
        with("rope_freqs.weight", 8)(writer);
    };
    check(factors, &["`rope_freqs.weight`: nothing of architecture `qwen2`"]);
}

#[test]
fn layers_that_the_metadata_leaves_out() {
    let name = "blk.1.attn_q.weight";
    check(with(name, 32), &[name, "after the 1 that `llama.block_count` states"]);
}

/// What other programs derive is left over, not refused: it cannot matter.
#[test]
fn buffers_are_harmless() {
    let mut writer = good();
    let name = "blk.0.attn_rot_embd.weight";
    with(name, 8)(&mut writer);
    let checkpoint = open_bytes(&writer.to_bytes()).unwrap();
    assert!(checkpoint.tensor_names().any(|found| found == name));
}

#[test]
fn pooling_is_not_for_logits() {
    let pooling = |number: Option<u32>| {
        let mut writer = good();
        if let Some(number) = number {
            writer.set("llama.pooling_type", Value::U32(number));
        }
        open_bytes(&writer.to_bytes()).unwrap().pooling()
    };
    assert_eq!(pooling(None).unwrap(), None);
    assert_eq!(pooling(Some(1)).unwrap(), Some(Pooling::Mean));
    assert_eq!(pooling(Some(3)).unwrap(), Some(Pooling::Last));
    let message = pooling(Some(9)).unwrap_err().to_string();
    assert!(message.contains("`llama.pooling_type`: is 9;"), "{message}");
}

/// A vocabulary without tensors, as llama.cpp ships them.
#[test]
fn a_vocabulary_alone() {
    let mut writer = good();
    writer.tensors.clear();
    writer.set("llama.block_count", Value::U32(32));
    let checkpoint = open_bytes(&writer.to_bytes()).unwrap();
    assert!(!checkpoint.has_weights());
    assert_eq!(checkpoint.config().get("vocab_size").unwrap(), Some(2usize));
}
