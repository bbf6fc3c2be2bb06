//! What files of single architectures say in ways that no fixture has: further layers, fused
//! experts, older layouts, contradictions.

mod support;

use serde_json::Value as Json;
use stablemate_checkpoint::Checkpoint;
use stablemate_fixtures::Case;
use stablemate_fixtures::gguf::{Value, Writer};
use support::open_bytes;

/// A fixture as a file in the making.
fn file(case: &str) -> Writer {
    Case::open(case).gguf_writer().unwrap()
}

fn open(writer: &Writer) -> Checkpoint {
    open_bytes(&writer.to_bytes()).unwrap()
}

fn refused(case: &str, change: impl FnOnce(&mut Writer), parts: &[&str]) {
    let mut writer = file(case);
    change(&mut writer);
    let message =
        open_bytes(&writer.to_bytes()).err().unwrap_or_else(|| panic!("{parts:?} opened"));
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// Tensors of stacked experts fused as `[experts, 2 · width, in]`, gate first.
fn fuse(writer: &mut Writer) {
    let (gates, mut rest): (Vec<_>, Vec<_>) = std::mem::take(&mut writer.tensors)
        .into_iter()
        .partition(|tensor| tensor.name.contains("ffn_gate_exps"));
    for gate in gates {
        let up_name = gate.name.replace("gate", "up");
        let at = rest.iter().position(|tensor| tensor.name == up_name).unwrap();
        let up = rest.remove(at);
        let experts = gate.shape[0] as usize;
        let size = gate.bytes.len() / experts;
        let mut bytes = Vec::new();
        for expert in 0..experts {
            for part in [&gate, &up] {
                bytes.extend_from_slice(&part.bytes[expert * size..(expert + 1) * size]);
            }
        }
        let shape = vec![gate.shape[0], 2 * gate.shape[1], gate.shape[2]];
        let name = gate.name.replace("gate_exps", "gate_up_exps");
        rest.push(stablemate_fixtures::gguf::Tensor { name, shape, bytes, ..gate });
    }
    writer.tensors = rest;
}

#[test]
fn layers_that_predict_further_tokens_are_not_read() {
    for (case, architecture) in [("qwen3_5_text", "qwen35"), ("deepseek_v3", "deepseek2")] {
        let mut writer = file(case);
        let before: Vec<String> = open(&writer).tensor_names().map(str::to_owned).collect();
        let layers = open(&writer).config().require::<usize>("num_hidden_layers").unwrap();
        writer.set(&format!("{architecture}.block_count"), Value::U32(layers as u32 + 1));
        writer.set(&format!("{architecture}.nextn_predict_layers"), Value::U32(1));
        writer.unset("qwen35.attention.recurrent_layers");
        for name in ["nextn.eh_proj", "attn_norm", "nextn.shared_head_head"] {
            writer.floats(&format!("blk.{layers}.{name}.weight"), &[4], &[1.0; 4]);
        }
        let checkpoint = open(&writer);
        assert_eq!(checkpoint.tensor_names().collect::<Vec<_>>(), before, "{case}");
        assert_eq!(checkpoint.config().require::<usize>("num_hidden_layers").unwrap(), layers);
        // One layer more than stated is nobody's.
        writer.floats(&format!("blk.{}.attn_norm.weight", layers + 1), &[4], &[1.0; 4]);
        assert!(open_bytes(&writer.to_bytes()).is_err(), "{case}");
    }
}

#[test]
fn fused_experts_have_hugging_face_s_names() {
    let mut writer = file("qwen3_5_moe_text");
    let apart = open(&writer);
    fuse(&mut writer);
    let fused = open(&writer);
    let layer = "model.layers.0.mlp";
    let read = |checkpoint: &Checkpoint, name: &str| {
        let tensor = checkpoint.tensor(name).unwrap().unwrap_or_else(|| panic!("no {name}"));
        let mut values = vec![0.0; tensor.rows() * tensor.row_len()];
        tensor.decode(&mut values).unwrap();
        (tensor.shape().to_vec(), values)
    };
    let (shape, both) = read(&fused, &format!("{layer}.experts.gate_up_proj"));
    let (part_shape, gate) = read(&apart, &format!("{layer}.switch_mlp.gate_proj.weight"));
    let (_, up) = read(&apart, &format!("{layer}.switch_mlp.up_proj.weight"));
    assert_eq!(shape, [part_shape[0], 2 * part_shape[1], part_shape[2]]);
    let size = part_shape[1] * part_shape[2];
    for expert in 0..part_shape[0] {
        let pair = &both[2 * expert * size..2 * (expert + 1) * size];
        assert_eq!(pair[..size], gate[expert * size..(expert + 1) * size]);
        assert_eq!(pair[size..], up[expert * size..(expert + 1) * size]);
    }
    assert!(fused.tensor(&format!("{layer}.experts.down_proj")).unwrap().is_some());
}

#[test]
fn tiled_value_heads_are_said() {
    let tiled =
        |case: &str| open(&file(case)).config().get::<bool>("linear_value_heads_tiled").unwrap();
    // Three value heads for each key head; as many as key heads.
    assert_eq!(tiled("qwen3_5_text"), Some(true));
    let mut writer = file("qwen3_5_text");
    writer.set("qwen35.ssm.group_count", Value::U32(6));
    assert_eq!(open(&writer).config().get::<bool>("linear_value_heads_tiled").unwrap(), None);
}

#[test]
fn the_interval_of_attention_has_a_default() {
    let mut writer = file("qwen3_5_text");
    writer.unset("qwen35.attention.recurrent_layers");
    let types = |writer: &Writer| -> Vec<String> {
        let types: Vec<String> = open(writer).config().require("layer_types").unwrap();
        types.into_iter().filter(|kind| kind == "full_attention").collect()
    };
    assert_eq!(types(&writer).len(), 1);
    writer.set("qwen35.full_attention_interval", Value::U32(2));
    assert_eq!(types(&writer).len(), 2);
}

/// Files from before absorbed attention: fused keys and values, sizes under other keys.
#[test]
fn older_latent_attention() {
    let mut writer = file("deepseek_v2");
    let (nope, rotated, value) = (14, 6, 10);
    for key in ["key_length_mla", "value_length_mla"] {
        writer.unset(&format!("deepseek2.attention.{key}"));
    }
    writer.set("deepseek2.attention.key_length", Value::U32(nope + rotated));
    writer.set("deepseek2.attention.value_length", Value::U32(value));
    writer.set("deepseek2.attention.head_count_kv", Value::U32(5));
    writer
        .tensors
        .retain(|tensor| !tensor.name.contains("_b.weight") || tensor.name.contains("q_b"));
    writer.floats("blk.0.attn_kv_b.weight", &[120, 20], &[0.5; 2400]);
    let checkpoint = open(&writer);
    let config = checkpoint.config();
    for (key, expected) in
        [("qk_nope_head_dim", nope), ("qk_rope_head_dim", rotated), ("v_head_dim", value)]
    {
        assert_eq!(config.require::<usize>(key).unwrap(), expected as usize, "{key}");
    }
    let name = "model.layers.0.self_attn.kv_b_proj.weight";
    assert_eq!(checkpoint.tensor(name).unwrap().unwrap().shape(), [120, 20]);
}

#[test]
fn gpt_oss_has_constants_that_no_key_states() {
    let mut writer = file("gpt_oss");
    writer.unset("gpt-oss.swiglu_clamp_exp");
    let config = open(&writer);
    assert_eq!(config.config().get::<f64>("swiglu_limit").unwrap(), Some(7.0));
    let rope: Json = config.config().require("rope_scaling").unwrap();
    assert_eq!(rope["truncate"], false);
}

#[test]
fn long_rope_factors_become_configuration() {
    let checkpoint = open(&file("phi3_longrope_long"));
    let rope: Json = checkpoint.config().require("rope_scaling").unwrap();
    assert_eq!(rope["type"], "longrope");
    // The lengths give it.
    assert_eq!(rope.get("attention_factor"), None);
    let mut writer = file("phi3_longrope_long");
    writer.set("phi3.rope.scaling.attn_factor", Value::F32(1.25));
    let rope: Json = open(&writer).config().require("rope_scaling").unwrap();
    assert_eq!(rope["attention_factor"], 1.25);
}

#[test]
fn contradictions_are_refused() {
    let drop = |part: &'static str| {
        move |writer: &mut Writer| writer.tensors.retain(|tensor| !tensor.name.contains(part))
    };
    let set =
        |key: &'static str, value: Value| move |writer: &mut Writer| _ = writer.set(key, value);
    refused("phi3_longrope_long", drop("factors_short"), &["`rope_factors_short.weight`: missing"]);
    refused("gemma4_text", drop("rope_freqs"), &["`rope_freqs.weight`: missing"]);
    refused(
        "gemma4_text",
        |writer| _ = writer.unset("gemma4.attention.sliding_window_pattern"),
        &["sliding_window_pattern`: missing; a list"],
    );
    refused(
        "gemma4_text",
        set("gemma4.attention.shared_kv_layers", Value::U32(7)),
        &["shared_kv_layers`: is 7; at most all 6 layers"],
    );
    refused(
        "gemma4_text",
        set("gemma4.attention.head_count_kv", Value::U32(3)),
        &["head_count_kv`: is 3; a divisor of the 4 heads"],
    );
    refused(
        "qwen3_moe",
        set("qwen3moe.expert_used_count", Value::U32(8)),
        &["expert_used_count`: is 8; at most all 7 experts"],
    );
    refused(
        "qwen3_moe",
        set("qwen3moe.expert_count", Value::U32(0)),
        &["expert_count`: is 0; a number above zero"],
    );
    refused(
        "qwen3_moe",
        set("qwen3moe.expert_weights_scale", Value::F32(2.0)),
        &["nothing reads `qwen3moe.expert_weights_scale` = 2"],
    );
    refused(
        "qwen3_5_text",
        set("qwen35.ssm.group_count", Value::U32(4)),
        &["ssm.group_count`: is 4; a divisor of the 6 heads"],
    );
    refused(
        "qwen3_5_text",
        set("qwen35.nextn_predict_layers", Value::U32(5)),
        &["nextn_predict_layers`: is 5; less than the 5 layers"],
    );
    refused(
        "deepseek_v3",
        set("deepseek2.expert_gating_func", Value::U32(3)),
        &["expert_gating_func`: is 3; 1 (softmax) and 2 (sigmoid)"],
    );
    refused(
        "deepseek_v3",
        set("deepseek2.rope.dimension_count", Value::U32(20)),
        &["dimension_count`: is 20; an even part of the head size, 20"],
    );
    refused(
        "phi3",
        set("phi3.rope.dimension_count", Value::U32(14)),
        &["dimension_count`: is 14; an even part of the head size, 12"],
    );
    refused("mamba2", set("mamba2.ssm.time_step_rank", Value::U32(7)), &["is 7; a divisor"]);
    refused(
        "falcon_new",
        |writer| _ = writer.floats("blk.0.attn_qkv.bias", &[120], &[0.0; 120]),
        &["`blk.0.attn_qkv.bias`: nothing of architecture `falcon`"],
    );
}
