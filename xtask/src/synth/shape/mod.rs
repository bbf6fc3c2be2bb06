//! The shapes of models that are measured: sizes, the rotary parameters, and the tensors they come
//! to.

mod hybrid;

use std::f32::consts::PI;

pub use hybrid::{DeltaNet, Experts, INTERVAL};

/// The sizes of a model, as its `config.json` has them: of the llama family, or with delta nets of
/// Qwen3.5.
#[derive(Debug)]
pub struct Shape {
    /// What `--shape` calls it.
    pub name: &'static str,
    /// `hidden_size`.
    pub hidden: usize,
    /// `num_hidden_layers`.
    pub layers: usize,
    /// `num_attention_heads`.
    pub heads: usize,
    /// `num_key_value_heads`.
    pub key_value_heads: usize,
    /// `head_dim`.
    pub head_dim: usize,
    /// How many values of a head rotate: all, or `partial_rotary_factor` of them.
    pub rotary: usize,
    /// `intermediate_size`; without meaning where experts are.
    pub feed_forward: usize,
    /// `vocab_size`.
    pub vocabulary: usize,
    /// Whether the embedding is the output projection as well.
    pub tied: bool,
    /// `max_position_embeddings`.
    pub context: usize,
    /// `rope_theta`.
    pub rope_base: f32,
    /// The `factor` of llama 3's rotary scaling, if the model has that; its other parameters are
    /// always [`LLAMA3`].
    pub rope_factor: Option<f32>,
    /// The mixers beside attention, in models of Qwen3.5.
    pub delta_net: Option<DeltaNet>,
    /// The networks, if they are experts.
    pub experts: Option<Experts>,
}

/// The parameters of llama 3's rotary scaling beside the factor.
pub struct Llama3 {
    /// `low_freq_factor`.
    pub low: f32,
    /// `high_freq_factor`.
    pub high: f32,
    /// `original_max_position_embeddings`.
    pub original: usize,
}

/// What all published models have.
pub const LLAMA3: Llama3 = Llama3 { low: 1.0, high: 4.0, original: 8192 };

const LLAMA_3_2_1B: Shape = Shape {
    name: "llama-3.2-1b",
    hidden: 2048,
    layers: 16,
    heads: 32,
    key_value_heads: 8,
    head_dim: 64,
    rotary: 64,
    feed_forward: 8192,
    vocabulary: 128_256,
    tied: true,
    context: 131_072,
    rope_base: 500_000.0,
    rope_factor: Some(32.0),
    delta_net: None,
    experts: None,
};

const QWEN_3_5_0_8B: Shape = Shape {
    name: "qwen3.5-0.8b",
    hidden: 1024,
    layers: 24,
    heads: 8,
    key_value_heads: 2,
    head_dim: 256,
    rotary: 64,
    feed_forward: 3584,
    vocabulary: 248_320,
    tied: true,
    context: 262_144,
    rope_base: 10_000_000.0,
    rope_factor: None,
    delta_net: Some(DeltaNet { key_heads: 16, value_heads: 16, width: 128, kernel: 4 }),
    experts: None,
};

const QWEN_3_6_35B_A3B: Shape = Shape {
    name: "qwen3.6-35b-a3b",
    hidden: 2048,
    layers: 40,
    heads: 16,
    feed_forward: 0,
    tied: false,
    delta_net: Some(DeltaNet { key_heads: 16, value_heads: 32, width: 128, kernel: 4 }),
    experts: Some(Experts { count: 256, choices: 8, features: 512, shared: 512 }),
    ..QWEN_3_5_0_8B
};

/// Every shape.
pub const SHAPES: &[Shape] = &[
    LLAMA_3_2_1B,
    Shape {
        name: "llama-3.1-8b",
        hidden: 4096,
        layers: 32,
        head_dim: 128,
        rotary: 128,
        feed_forward: 14_336,
        tied: false,
        rope_factor: Some(8.0),
        ..LLAMA_3_2_1B
    },
    Shape {
        name: "smollm2-135m",
        hidden: 576,
        layers: 30,
        heads: 9,
        key_value_heads: 3,
        feed_forward: 1536,
        vocabulary: 49_152,
        context: 8192,
        rope_base: 100_000.0,
        rope_factor: None,
        ..LLAMA_3_2_1B
    },
    QWEN_3_5_0_8B,
    QWEN_3_6_35B_A3B,
    // A quarter of its layers, for machines that the whole does not fit.
    Shape { name: "qwen3.6-35b-a3b-10-layers", layers: 10, ..QWEN_3_6_35B_A3B },
    // For tests: rows are a multiple of every block.
    Shape {
        name: "tiny",
        hidden: 256,
        layers: 2,
        heads: 4,
        key_value_heads: 2,
        feed_forward: 512,
        vocabulary: 512,
        context: 2048,
        ..LLAMA_3_2_1B
    },
    Shape {
        name: "tiny-experts",
        hidden: 256,
        layers: 4,
        heads: 2,
        key_value_heads: 1,
        vocabulary: 512,
        context: 2048,
        delta_net: Some(DeltaNet { key_heads: 2, value_heads: 4, width: 64, kernel: 4 }),
        experts: Some(Experts { count: 8, choices: 2, features: 256, shared: 256 }),
        ..QWEN_3_6_35B_A3B
    },
];

/// A tensor of a model.
pub struct Tensor {
    /// Its name in GGUF.
    pub gguf: String,
    /// Its name in a Hugging Face checkpoint, `.weight` left out; nothing in shapes that are
    /// written as GGUF only.
    pub hugging_face: Option<String>,
    /// Its shape, the inputs last.
    pub shape: Vec<usize>,
    /// What it holds.
    pub contents: Contents,
}

/// What a tensor holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contents {
    /// Random weights in the encoding of the model.
    Weights,
    /// Random weights in float32, whatever the encoding.
    Floats,
    /// This number everywhere, in float32.
    Number(f32),
}

impl Shape {
    /// The shape of that name.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        SHAPES.iter().find(|shape| shape.name == name).ok_or_else(|| {
            let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            format!("no such shape; there are {}", known.join(", "))
        })
    }

    /// The name of the architecture in GGUF.
    pub fn architecture(&self) -> &'static str {
        match (&self.delta_net, &self.experts) {
            (None, _) => "llama",
            (Some(_), None) => "qwen35",
            (Some(_), Some(_)) => "qwen35moe",
        }
    }

    /// Every tensor, in the order of the file.
    pub fn tensors(&self) -> Vec<Tensor> {
        if let Some(delta_net) = &self.delta_net {
            return self.hybrid_tensors(delta_net);
        }
        let (query, key) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
        let mut tensors = vec![
            matrix("token_embd", "model.embed_tokens", self.vocabulary, self.hidden),
            norm("output_norm", "model.norm", self.hidden),
        ];
        if !self.tied {
            tensors.push(matrix("output", "lm_head", self.vocabulary, self.hidden));
        }
        for layer in 0..self.layers {
            let gguf = |name: &str| format!("blk.{layer}.{name}");
            let face = |name: &str| format!("model.layers.{layer}.{name}");
            let matrices = [
                ("attn_q", "self_attn.q_proj", query, self.hidden),
                ("attn_k", "self_attn.k_proj", key, self.hidden),
                ("attn_v", "self_attn.v_proj", key, self.hidden),
                ("attn_output", "self_attn.o_proj", self.hidden, query),
                ("ffn_gate", "mlp.gate_proj", self.feed_forward, self.hidden),
                ("ffn_up", "mlp.up_proj", self.feed_forward, self.hidden),
                ("ffn_down", "mlp.down_proj", self.hidden, self.feed_forward),
            ];
            let norms =
                [("attn_norm", "input_layernorm"), ("ffn_norm", "post_attention_layernorm")];
            tensors.extend(norms.map(|(to, from)| norm(&gguf(to), &face(from), self.hidden)));
            tensors
                .extend(matrices.map(|(to, from, rows, columns)| {
                    matrix(&gguf(to), &face(from), rows, columns)
                }));
        }
        tensors
    }

    /// What each rotary frequency is divided by, as llama.cpp's converter stores llama 3's scaling.
    pub fn rope_factors(&self) -> Option<Vec<f32>> {
        let factor = self.rope_factor?;
        let original = LLAMA3.original as f32;
        let factor_of = |even: usize| {
            let wavelength = 2.0 * PI * self.rope_base.powf(even as f32 / self.head_dim as f32);
            if wavelength < original / LLAMA3.high {
                1.0
            } else if wavelength > original / LLAMA3.low {
                factor
            } else {
                let smooth = (original / wavelength - LLAMA3.low) / (LLAMA3.high - LLAMA3.low);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        Some((0..self.head_dim).step_by(2).map(factor_of).collect())
    }
}

fn matrix(gguf: &str, hugging_face: &str, rows: usize, columns: usize) -> Tensor {
    Tensor {
        gguf: format!("{gguf}.weight"),
        hugging_face: Some(hugging_face.to_owned()),
        shape: vec![rows, columns],
        contents: Contents::Weights,
    }
}

fn norm(gguf: &str, hugging_face: &str, columns: usize) -> Tensor {
    let contents = Contents::Number(1.0);
    Tensor { shape: vec![columns], contents, ..matrix(gguf, hugging_face, 0, columns) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(name: &str) -> usize {
        let tensors = Shape::find(name).unwrap().tensors();
        tensors.iter().map(|tensor| tensor.shape.iter().product::<usize>()).sum()
    }

    #[test]
    fn shapes_have_the_published_numbers_of_parameters() {
        assert_eq!(parameters("llama-3.2-1b"), 1_235_814_400);
        assert_eq!(parameters("llama-3.1-8b"), 8_030_261_248);
        assert_eq!(parameters("smollm2-135m"), 134_515_008);
        // Published without the digits behind, and with the parts that see pictures and guess
        // further tokens.
        assert_eq!(parameters("qwen3.5-0.8b") / 10_000_000, 75);
        assert_eq!(parameters("qwen3.6-35b-a3b") / 100_000_000, 346);
        assert!(Shape::find("gpt-5").err().unwrap().contains("smollm2-135m"));
    }

    #[test]
    fn slow_rotations_are_divided_and_fast_ones_are_not() {
        let factors = Shape::find("llama-3.2-1b").unwrap().rope_factors().unwrap();
        assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 32.0));
        assert!(factors.is_sorted() && factors.iter().any(|factor| (1.1..31.0).contains(factor)));
        assert_eq!(Shape::find("smollm2-135m").unwrap().rope_factors(), None);
    }
}
