//! How positions enter attention.

use super::Rope;
use crate::dimensions::{GROUP, HEAD_DIM, KV_HEAD, TOKEN};
use stablemate_graph::{ElementType, Literal, TensorType, Value};

/// How positions enter attention. Learned positions belong to the embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum Position {
    /// Not at all.
    None,
    /// Queries and keys are rotated.
    Rotary(Rope),
    /// Scores rise with the position of the key.
    Alibi(Alibi),
}

/// Attention with linear biases (Press et al., arXiv 2108.12409): a score is raised by `slope · position`
/// of its key, which within a softmax is a fall with the distance.
///
/// Keys get `G` more elements, the biases of their query heads, and each query picks its own: attention
/// itself knows nothing of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Alibi {
    /// One per query head, `[K · G]`.
    pub slopes: Vec<f32>,
    /// Slopes, positions and their products are rounded to bf16, as Falcon's reference has them.
    pub rounded: bool,
}

impl Alibi {
    /// Slopes of `heads` heads: powers of `2^(-8/n)` for the power of two `n` that is not above `heads`,
    /// then every other power of its root.
    pub fn geometric(heads: usize, rounded: bool) -> Self {
        let below = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
        let powers = |n: usize, step: usize, count: usize| {
            let base = (-(-((n as f64).log2() - 3.0)).exp2()).exp2() as f32;
            (0..count).map(move |power| base.powi((1 + power * step) as i32))
        };
        let slopes: Vec<f32> =
            powers(below, 1, below).chain(powers(2 * below, 2, heads - below)).collect();
        Self { slopes, rounded }
    }

    /// `slope · position` for each token and query head, `[T, K, G]`, at `positions [T]` (i32).
    fn biases<'b>(&self, positions: Value<'b>, kv_heads: usize, group: usize) -> Value<'b> {
        let builder = positions.builder();
        let heads = [KV_HEAD.of(kv_heads), GROUP.of(group)];
        let all = [TOKEN.of(positions.size(TOKEN)), heads[0], heads[1]];
        let slopes = Literal::Float(self.slopes.clone());
        let slopes = builder.constant(slopes, TensorType::new(ElementType::F32, heads));
        let inside = positions.maximum(builder.integer(0)).convert(ElementType::F32);
        match self.rounded {
            false => slopes.broadcast(&all) * inside,
            true => brain(brain(slopes).broadcast(&all) * brain(inside)),
        }
    }

    /// Keys `[T, K, H]` with their biases, `[T, K, H + G]`.
    pub fn extend_keys<'b>(&self, key: Value<'b>, positions: Value<'b>) -> Value<'b> {
        let kv_heads = key.size(KV_HEAD);
        let group = self.slopes.len() / kv_heads.max(1);
        let biases = self.biases(positions, kv_heads, group).relabel(GROUP, HEAD_DIM);
        key.concatenate(&[biases], HEAD_DIM)
    }

    /// Queries `[T, K, G, H]` that pick their own bias, `[T, K, G, H + G]`. Scores are multiplied by `scale`
    /// afterwards: `scaled` biases are, too.
    pub fn extend_queries<'b>(&self, query: Value<'b>, unscaled: Option<f32>) -> Value<'b> {
        let builder = query.builder();
        let group = query.size(GROUP);
        let one = 1.0 / unscaled.unwrap_or(1.0);
        let values = (0..group * group).map(|n| if n / group == n % group { one } else { 0.0 });
        let ty = TensorType::new(ElementType::F32, [GROUP.of(group), HEAD_DIM.of(group)]);
        let own = builder.constant(Literal::Float(values.collect()), ty);
        let mut all = query.ty().dimensions;
        if let Some(last) = all.last_mut() {
            last.size = group;
        }
        query.concatenate(&[own.broadcast(&all)], HEAD_DIM)
    }
}

/// Rounded to bf16, to nearest even; finite values.
fn brain(x: Value<'_>) -> Value<'_> {
    let builder = x.builder();
    let bits = x.bitcast(ElementType::I32);
    let odd = bits.shift_right(builder.integer(16)) & builder.integer(1);
    let rounded = (bits + odd + f64::from(0x7FFF)) & builder.integer(-0x1_0000);
    rounded.bitcast(ElementType::F32)
}

impl Position {
    /// Phrase in descriptions.
    pub fn describe(&self) -> String {
        match self {
            Self::None => "no positions".to_string(),
            Self::Rotary(rope) => format!("rope {}", rope.describe()),
            Self::Alibi(alibi) => {
                let rounded = if alibi.rounded { ", rounded to bf16" } else { "" };
                format!("alibi{rounded}")
            }
        }
    }
}
