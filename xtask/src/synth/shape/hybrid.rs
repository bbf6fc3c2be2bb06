//! Models of Qwen3.5: three gated delta nets for each layer of gated attention, with a network or
//! experts.

use super::{Contents, Shape, Tensor};

/// Every so many layers one attends.
pub const INTERVAL: usize = 4;

/// Gated delta nets.
#[derive(Debug)]
pub struct DeltaNet {
    /// `linear_num_key_heads`.
    pub key_heads: usize,
    /// `linear_num_value_heads`.
    pub value_heads: usize,
    /// `linear_key_head_dim` and `linear_value_head_dim`.
    pub width: usize,
    /// `linear_conv_kernel_dim`.
    pub kernel: usize,
}

/// Networks of experts.
#[derive(Debug)]
pub struct Experts {
    /// `num_experts`.
    pub count: usize,
    /// `num_experts_per_tok`.
    pub choices: usize,
    /// `moe_intermediate_size`.
    pub features: usize,
    /// `shared_expert_intermediate_size`.
    pub shared: usize,
}

impl Shape {
    /// Every tensor, as llama.cpp's converter names and stores them.
    pub(super) fn hybrid_tensors(&self, delta_net: &DeltaNet) -> Vec<Tensor> {
        let mut tensors = vec![
            weights("token_embd.weight", &[self.vocabulary, self.hidden]),
            ones("output_norm.weight", self.hidden),
        ];
        if !self.tied {
            tensors.push(weights("output.weight", &[self.vocabulary, self.hidden]));
        }
        for layer in 0..self.layers {
            let mut all = vec![
                ones("attn_norm.weight", self.hidden),
                ones("post_attention_norm.weight", self.hidden),
            ];
            all.extend(match (layer + 1).is_multiple_of(INTERVAL) {
                true => self.attention(),
                false => self.delta_net(delta_net),
            });
            all.extend(match &self.experts {
                Some(experts) => self.experts(experts),
                None => self.network("", self.feed_forward).into(),
            });
            let name =
                |tensor: Tensor| Tensor { gguf: format!("blk.{layer}.{}", tensor.gguf), ..tensor };
            tensors.extend(all.into_iter().map(name));
        }
        tensors
    }

    /// Queries come with their gates.
    fn attention(&self) -> Vec<Tensor> {
        let (query, key) = (self.heads * self.head_dim, self.key_value_heads * self.head_dim);
        vec![
            weights("attn_q.weight", &[2 * query, self.hidden]),
            weights("attn_k.weight", &[key, self.hidden]),
            weights("attn_v.weight", &[key, self.hidden]),
            weights("attn_output.weight", &[self.hidden, query]),
            ones("attn_q_norm.weight", self.head_dim),
            ones("attn_k_norm.weight", self.head_dim),
        ]
    }

    fn delta_net(&self, delta_net: &DeltaNet) -> Vec<Tensor> {
        let DeltaNet { key_heads, value_heads, width, kernel } = *delta_net;
        let values = value_heads * width;
        let channels = 2 * key_heads * width + values;
        let number = |name: &str, number: f32| Tensor {
            contents: Contents::Number(number),
            ..ones(name, value_heads)
        };
        vec![
            weights("attn_qkv.weight", &[channels, self.hidden]),
            weights("attn_gate.weight", &[values, self.hidden]),
            weights("ssm_alpha.weight", &[value_heads, self.hidden]),
            weights("ssm_beta.weight", &[value_heads, self.hidden]),
            floats("ssm_conv1d.weight", &[channels, kernel]),
            number("ssm_dt.bias", 1.0),
            number("ssm_a", -0.1),
            ones("ssm_norm.weight", width),
            weights("ssm_out.weight", &[self.hidden, values]),
        ]
    }

    fn experts(&self, experts: &Experts) -> Vec<Tensor> {
        let Experts { count, features, shared, .. } = *experts;
        let stack = |name: &str, rows: usize, columns: usize| {
            weights(&format!("ffn_{name}_exps.weight"), &[count, rows, columns])
        };
        let mut tensors = vec![
            floats("ffn_gate_inp.weight", &[count, self.hidden]),
            floats("ffn_gate_inp_shexp.weight", &[self.hidden]),
            stack("gate", features, self.hidden),
            stack("up", features, self.hidden),
            stack("down", self.hidden, features),
        ];
        tensors.extend(self.network("_shexp", shared));
        tensors
    }

    fn network(&self, suffix: &str, features: usize) -> [Tensor; 3] {
        let one = |name: &str, rows: usize, columns: usize| {
            weights(&format!("ffn_{name}{suffix}.weight"), &[rows, columns])
        };
        [
            one("gate", features, self.hidden),
            one("up", features, self.hidden),
            one("down", self.hidden, features),
        ]
    }
}

fn weights(name: &str, shape: &[usize]) -> Tensor {
    let (gguf, shape) = (name.to_owned(), shape.to_vec());
    Tensor { gguf, hugging_face: None, shape, contents: Contents::Weights }
}

fn floats(name: &str, shape: &[usize]) -> Tensor {
    Tensor { contents: Contents::Floats, ..weights(name, shape) }
}

fn ones(name: &str, count: usize) -> Tensor {
    Tensor { contents: Contents::Number(1.0), ..weights(name, &[count]) }
}
