//! Small llamas with quantised matrices, and the same weights dequantised.
#![allow(dead_code, reason = "each test binary uses a part")]

use half::f16;
use serde_json::{Map, json};
use stablemate::checkpoint::Checkpoint;
use stablemate_fixtures::gguf::{Kind, Value, Writer, random_blocks};
use stablemate_fixtures::{Dtype, weight};
use std::path::Path;

const HIDDEN: usize = 256;
const INTERMEDIATE: usize = 512;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const KEY_VALUE_HEADS: usize = 2;
const HEAD_WIDTH: usize = 64;
const CONTEXT: usize = 512;
/// No multiple of the sixteen rows of a tile.
pub const VOCABULARY: usize = 331;

/// Token ids that are no pattern to a model.
pub fn ids(count: usize) -> Vec<u32> {
    (0..count as u32).map(|n| (n * 53 + 7) % VOCABULARY as u32).collect()
}

/// Name in GGUF, name in a directory, rows, columns.
type Matrix = (String, String, usize, usize);

fn matrices(tied: bool) -> Vec<Matrix> {
    let named = |gguf: &str, name: &str, rows, columns| (gguf.into(), name.into(), rows, columns);
    let mut all: Vec<Matrix> =
        vec![named("token_embd.weight", "model.embed_tokens.weight", VOCABULARY, HIDDEN)];
    if !tied {
        all.push(named("output.weight", "lm_head.weight", VOCABULARY, HIDDEN));
    }
    let (queries, keys) = (HEADS * HEAD_WIDTH, KEY_VALUE_HEADS * HEAD_WIDTH);
    for layer in 0..LAYERS {
        for (gguf, name, rows, columns) in [
            ("attn_q", "self_attn.q_proj", queries, HIDDEN),
            ("attn_k", "self_attn.k_proj", keys, HIDDEN),
            ("attn_v", "self_attn.v_proj", keys, HIDDEN),
            ("attn_output", "self_attn.o_proj", HIDDEN, queries),
            ("ffn_gate", "mlp.gate_proj", INTERMEDIATE, HIDDEN),
            ("ffn_up", "mlp.up_proj", INTERMEDIATE, HIDDEN),
            ("ffn_down", "mlp.down_proj", HIDDEN, INTERMEDIATE),
        ] {
            let (gguf, name) = (
                format!("blk.{layer}.{gguf}.weight"),
                format!("model.layers.{layer}.{name}.weight"),
            );
            all.push(named(&gguf, &name, rows, columns));
        }
    }
    all
}

/// Name in GGUF, name in a directory.
fn norms() -> Vec<(String, String)> {
    let mut all = vec![("output_norm.weight".to_string(), "model.norm.weight".to_string())];
    for layer in 0..LAYERS {
        for (gguf, name) in
            [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")]
        {
            all.push((
                format!("blk.{layer}.{gguf}.weight"),
                format!("model.layers.{layer}.{name}.weight"),
            ));
        }
    }
    all
}

/// Standard deviation of a matrix's values: products keep the size of what they are given, and logits
/// are about three.
fn scale(name: &str, columns: usize) -> f32 {
    let gain = if name.contains("embed") || name.contains("lm_head") { 3.0 } else { 1.0 };
    gain / (columns as f32).sqrt()
}

fn norm(name: &str) -> Vec<f32> {
    // Signs in the last one: else a tied model says each token again.
    let (scale, offset) = if name == "model.norm.weight" { (1.0, 0.0) } else { (0.1, 1.0) };
    (0..HIDDEN).map(|index| weight(name, index, scale, offset)).collect()
}

/// Where a block has half-precision factors, and the root mean square of the values of `random_blocks`.
fn factors(kind: Kind) -> (&'static [usize], f32) {
    match kind {
        Kind::F16 => (&[0], 0.58),
        Kind::Q4_0 => (&[0], 2.7),
        Kind::Q4_1 => (&[0, 2], 5.1),
        Kind::Q5_0 => (&[0], 5.3),
        Kind::Q5_1 => (&[0, 2], 10.4),
        Kind::Q8_0 => (&[0], 43.0),
        Kind::Q2_K => (&[80, 82], 11.0),
        Kind::Q3_K => (&[108], 25.0),
        Kind::Q4_K => (&[0, 2], 186.0),
        Kind::Q5_K => (&[0, 2], 378.0),
        Kind::Q6_K => (&[208], 790.0),
        // Its scale is a power of two in a byte of its own: see `blocks`.
        Kind::MXFP4 => (&[], 1.0),
        other => panic!("{other:?} is no type of these tests"),
    }
}

/// Random blocks whose values have the wanted size and both signs alike.
fn blocks(kind: Kind, (_, name, rows, columns): &Matrix) -> Vec<u8> {
    let (values, size) = kind.block();
    let seed = name.bytes().fold(kind as u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    let mut bytes = random_blocks(kind, rows * columns / values, seed);
    let (offsets, spread) = factors(kind);
    let gain = scale(name, *columns) / spread;
    for block in bytes.chunks_exact_mut(size) {
        if kind == Kind::MXFP4 {
            // Elements have a root mean square of about 2.9; e8m0 counts powers of two from 2^-127.
            block[0] = (127.0 + (gain / 2.9).log2() + f32::from(block[0] % 3) - 1.0) as u8;
        }
        for &offset in offsets {
            let bits = u16::from_le_bytes([block[offset], block[offset + 1]]);
            let sign = if bits & 1 == 0 { gain } else { -gain };
            let factor = f16::from_f32(f16::from_bits(bits).to_f32() * sign);
            block[offset..offset + 2].copy_from_slice(&factor.to_le_bytes());
        }
    }
    bytes
}

/// A GGUF file with all matrices of one type.
pub fn write_gguf(kind: Kind, tied: bool, path: &Path) {
    let mut writer = Writer::new("llama");
    for (key, count) in [
        ("vocab_size", VOCABULARY),
        ("block_count", LAYERS),
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN),
        ("feed_forward_length", INTERMEDIATE),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KEY_VALUE_HEADS),
        ("attention.key_length", HEAD_WIDTH),
        ("attention.value_length", HEAD_WIDTH),
        ("rope.dimension_count", HEAD_WIDTH),
    ] {
        writer.set(&format!("llama.{key}"), Value::U32(count as u32));
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    writer.set("llama.rope.freq_base", Value::F32(10_000.0));
    for matrix in matrices(tied) {
        let bytes = blocks(kind, &matrix);
        writer.tensor(&matrix.0, &[matrix.2, matrix.3], kind, bytes);
    }
    for (gguf, name) in norms() {
        writer.floats(&gguf, &[HIDDEN], &norm(&name));
    }
    writer.write(path).unwrap();
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// A directory of normally distributed weights.
pub fn write_directory(dtype: Dtype, tied: bool, directory: &Path) {
    let values = |name: &str, rows: usize, columns: usize| {
        let scale = scale(name, columns);
        (0..rows * columns).map(|index| weight(name, index, scale, 0.0)).collect()
    };
    let matrix = |(_, name, rows, columns): Matrix| {
        (name.clone(), vec![rows, columns], values(&name, rows, columns))
    };
    let mut tensors: Tensors = matrices(tied).into_iter().map(matrix).collect();
    tensors.extend(norms().into_iter().map(|(_, name)| (name.clone(), vec![HIDDEN], norm(&name))));
    write(tensors, dtype, tied, directory);
}

/// The weights of a checkpoint as float32, in a directory.
pub fn write_dequantised(source: &Path, tied: bool, directory: &Path) {
    let checkpoint = Checkpoint::open(source).unwrap();
    let decode = |name: &str| {
        let tensor = checkpoint.tensor(name).unwrap().unwrap();
        let mut values = vec![0.0; tensor.shape().iter().product()];
        tensor.decode(&mut values).unwrap();
        (name.to_string(), tensor.shape().to_vec(), values)
    };
    let tensors: Tensors = checkpoint.tensor_names().map(decode).collect();
    assert_eq!(tensors.len(), matrices(tied).len() + norms().len());
    write(tensors, Dtype::Float32, tied, directory);
}

fn write(tensors: Tensors, dtype: Dtype, tied: bool, directory: &Path) {
    let (stored, torch) = match dtype {
        Dtype::Float32 => ("F32", "float32"),
        Dtype::Float16 => ("F16", "float16"),
        Dtype::Bfloat16 => ("BF16", "bfloat16"),
        Dtype::Uint8 => panic!("a model of bytes"),
    };
    std::fs::create_dir_all(directory).unwrap();
    let config = json!({
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "intermediate_size": INTERMEDIATE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KEY_VALUE_HEADS,
        "head_dim": HEAD_WIDTH,
        "max_position_embeddings": CONTEXT,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        "torch_dtype": torch,
    });
    std::fs::write(directory.join("config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (Map::new(), Vec::<u8>::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(dtype.bytes(&values));
        let entry = json!({"dtype": stored, "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name, entry);
    }
    let mut head = serde_json::Value::Object(header).to_string();
    while !head.len().is_multiple_of(8) {
        head.push(' ');
    }
    let mut file = (head.len() as u64).to_le_bytes().to_vec();
    file.extend(head.into_bytes());
    file.extend(data);
    std::fs::write(directory.join("model.safetensors"), file).unwrap();
}
