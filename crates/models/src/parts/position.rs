//! How positions enter attention.

use super::Rope;
use stablemate_graph::{Builder, Dimension, ElementType, Literal, TensorType, Value};

/// How positions enter attention. Learned positions belong to the embedding.
#[derive(Clone, Debug, PartialEq)]
pub enum Position {
    /// Not at all.
    None,
    /// Queries and keys are rotated.
    Rotary(Rope),
    /// Scores are lowered with the distance.
    Alibi(Alibi),
}

/// Attention with linear biases (Press et al., arXiv 2108.12409): each score is raised by
/// `slope · position` of its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Alibi {
    /// One per query head.
    pub slopes: Vec<f32>,
}

impl Alibi {
    /// `[K, G]`.
    pub fn slopes<'b>(&self, builder: &'b Builder<'b>, heads: &[Dimension]) -> Value<'b> {
        let ty = TensorType::new(ElementType::F32, heads);
        builder.constant(Literal::Float(self.slopes.clone()), ty)
    }
}

impl Position {
    /// Phrase in descriptions.
    pub fn describe(&self) -> String {
        match self {
            Self::None => "no positions".to_string(),
            Self::Rotary(rope) => format!("rope {}", rope.describe()),
            Self::Alibi(_) => "alibi".to_string(),
        }
    }
}
