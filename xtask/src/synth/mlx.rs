//! A random model as MLX writes it: a Hugging Face directory whose matrices are packed codes with a scale and a bias
//! for each group of inputs.

use anyhow::{Result, bail};
use half::bf16;
use serde_json::{Map, Value, json};

use crate::synth::file::{Layout, Region};
use crate::synth::fill::{Fill, mix};
use crate::synth::shape::{LLAMA3, Shape};

/// How many inputs share a scale and a bias: MLX's default.
const GROUP: usize = 64;

/// `config.json`.
pub fn config(shape: &Shape, bits: u32) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.key_value_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.feed_forward,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "max_position_embeddings": shape.context,
        "rope_theta": shape.rope_base,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "bos_token_id": shape.vocabulary - 2,
        "eos_token_id": shape.vocabulary - 1,
        "torch_dtype": "bfloat16",
        "quantization": {"group_size": GROUP, "bits": bits},
    });
    if let Some(factor) = shape.rope_factor {
        config["rope_scaling"] = json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": LLAMA3.low,
            "high_freq_factor": LLAMA3.high,
            "original_max_position_embeddings": LLAMA3.original,
        });
    }
    config
}

/// `model.safetensors`: codes are little-endian in 32-bit words, scales, biases and norms bfloat16.
pub fn layout(shape: &Shape, bits: u32) -> Result<Layout> {
    let mut tensors = Tensors { header: Map::new(), regions: Vec::new(), length: 0 };
    for tensor in shape.tensors() {
        let (Some(name), Some(&columns)) = (tensor.hugging_face, tensor.shape.last()) else {
            bail!("{} is written as GGUF only: choose one of its encodings", shape.name);
        };
        let [rows, _] = tensor.shape[..] else {
            let ones = bf16::ONE.to_le_bytes().repeat(columns);
            tensors.add(format!("{name}.weight"), "BF16", &[columns], 2, 0, Fill::Bytes(ones));
            continue;
        };
        if columns % GROUP != 0 {
            bail!(
                "{name} of {} has {columns} inputs, no multiple of the group of {GROUP}",
                shape.name
            );
        }
        let words = [rows, columns * bits as usize / 32];
        let groups = [rows, columns / GROUP];
        let seed = mix(tensors.regions.len() as u64 + 1);
        tensors.add(format!("{name}.weight"), "U32", &words, 4, !seed, Fill::Codes);
        tensors.add(format!("{name}.scales"), "BF16", &groups, 2, seed, Fill::Scales(bits));
        tensors.add(format!("{name}.biases"), "BF16", &groups, 2, seed, Fill::Biases(bits));
    }
    tensors.header.insert("__metadata__".to_owned(), json!({"format": "mlx"}));
    Ok(tensors.finish())
}

/// The tensors so far; offsets count from the end of the header, and there are no gaps.
struct Tensors {
    header: Map<String, Value>,
    regions: Vec<Region>,
    length: usize,
}

impl Tensors {
    fn add(
        &mut self,
        name: String,
        dtype: &str,
        shape: &[usize],
        size: usize,
        seed: u64,
        fill: Fill,
    ) {
        let bytes = shape.iter().product::<usize>() * size;
        let offsets = [self.length, self.length + bytes];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        self.header.insert(name, entry);
        self.regions.push(Region { offset: self.length as u64, bytes, seed, fill });
        self.length += bytes;
    }

    /// The header is its length in eight bytes and JSON, which spaces lengthen to a multiple of eight.
    fn finish(mut self) -> Layout {
        let mut json = Value::Object(self.header).to_string().into_bytes();
        json.resize(json.len().next_multiple_of(8), b' ');
        let mut head = (json.len() as u64).to_le_bytes().to_vec();
        head.extend(json);
        for region in &mut self.regions {
            region.offset += head.len() as u64;
        }
        Layout { head, regions: self.regions }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_bits() {
        let tiny = Shape::find("tiny").unwrap();
        let tensors = tiny.tensors();
        let matrices = tensors.iter().filter(|tensor| tensor.shape.len() == 2);
        let matrices: usize = matrices.map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        for bits in [4, 8] {
            let layout = layout(tiny, bits).unwrap();
            let norms = (2 * tiny.layers + 1) * tiny.hidden * 2;
            let expected = matrices * bits as usize / 8 + matrices / GROUP * 4 + norms;
            assert_eq!(layout.length(), (layout.head.len() + expected) as u64, "{bits} bits");
            assert!(layout.regions.iter().all(|region| region.bytes % region.fill.unit() == 0));
        }
    }

    #[test]
    fn shapes_with_delta_nets_are_refused() {
        let error = layout(Shape::find("tiny-experts").unwrap(), 4).err().unwrap().to_string();
        assert!(error.contains("tiny-experts is written as GGUF only"), "{error}");
    }

    #[test]
    fn the_header_lists_three_tensors_for_a_matrix() {
        let layout = layout(Shape::find("tiny").unwrap(), 4).unwrap();
        let header: Value = serde_json::from_slice(&layout.head[8..]).unwrap();
        let of = |kind: &str| &header[format!("model.layers.1.mlp.down_proj.{kind}")];
        assert_eq!(of("weight")["shape"], json!([256, 64]));
        assert_eq!(of("scales")["shape"], json!([256, 8]));
        assert_eq!(of("biases")["dtype"], "BF16");
        assert_eq!(header["model.norm.weight"]["shape"], json!([256]));
    }
}
