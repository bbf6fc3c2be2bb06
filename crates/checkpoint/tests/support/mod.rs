//! A small GGUF file to spoil, and ways to open what comes of it.
#![allow(dead_code, reason = "each test uses some of it")]

use stablemate_checkpoint::Checkpoint;
use stablemate_fixtures::gguf::{Kind, Value, Writer, random_blocks};

/// A small llama that is right: two heads of eight, one layer.
pub fn good() -> Writer {
    let mut writer = Writer::new("llama");
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", 32),
        ("feed_forward_length", 32),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
        ("rope.dimension_count", 16),
    ] {
        writer.set(&format!("llama.{key}"), Value::U32(value));
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    writer.set("tokenizer.ggml.tokens", Value::Array(vec!["a".into(), "b".into()]));
    writer.tensor("token_embd.weight", &[2, 32], Kind::Q8_0, random_blocks(Kind::Q8_0, 2, 1));
    writer.tensor("blk.0.attn_q.weight", &[32, 32], Kind::Q4_0, random_blocks(Kind::Q4_0, 32, 2));
    writer.tensor("blk.0.attn_k.weight", &[16, 32], Kind::Q4_1, random_blocks(Kind::Q4_1, 16, 3));
    writer.floats("output_norm.weight", &[32], &[1.0; 32]);
    writer
}

/// Opens a file with this content.
pub fn open_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.gguf");
    std::fs::write(&path, bytes).unwrap();
    Checkpoint::open(&path).map_err(|error| error.to_string())
}

/// The message with which a file with this content is refused.
pub fn refusal(bytes: &[u8]) -> String {
    open_bytes(bytes).err().expect("opened")
}

/// Reads everything that can be read.
pub fn read_all(checkpoint: &Checkpoint) {
    for name in checkpoint.tensor_names() {
        if let Ok(Some(tensor)) = checkpoint.tensor(name) {
            let mut out = vec![0.0; tensor.rows() * tensor.row_len()];
            tensor.decode(&mut out).unwrap();
        }
    }
    let _ = checkpoint.config().finish();
}

/// Spoils the good file. The refusal must name the file and contain each of `parts`.
pub fn check(change: impl FnOnce(&mut Writer), parts: &[&str]) {
    let mut writer = good();
    change(&mut writer);
    let message = refusal(&writer.to_bytes());
    let parts = parts.iter().chain(&["bad.gguf: "]);
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}
