//! Normalisation.

use crate::dimensions::{GROUP, HEAD_DIM, KEY, QUERY};
use crate::{Param, Step};
use stablemate_graph::{Label, Value};

/// The formula of a [`Norm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) · w` (Zhang & Sennrich, arXiv 1910.07467).
    Rms,
    /// `x / rms(x) · (1 + w)`, as Gemma stores its weights.
    RmsOnePlus,
    /// `(x - mean(x)) / std(x) · w + b` (Ba et al., arXiv 1607.06450).
    Layer,
}

/// A normalisation with its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Formula.
    pub kind: NormKind,
    /// `[n]`, of the dimension that is normalised, or of more dimensions of the input.
    pub weight: Option<Param>,
    /// Like the weight; added last.
    pub bias: Option<Param>,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl Norm {
    /// Normalises over the dimension labelled `over`; the other dimensions are batches.
    pub fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, over: Label) -> Value<'b> {
        let x = match self.kind {
            NormKind::Rms | NormKind::RmsOnePlus => x,
            NormKind::Layer => x - x.mean(over),
        };
        let normalised = x * ((x * x).mean(over) + self.epsilon).rsqrt();
        let scaled = match (self.weight.map(|weight| step.param(weight)), self.kind) {
            (None, _) => normalised,
            (Some(weight), NormKind::Rms | NormKind::Layer) => normalised * weight,
            (Some(weight), NormKind::RmsOnePlus) => normalised * (weight + 1.0),
        };
        match self.bias {
            Some(bias) => scaled + step.param(bias),
            None => scaled,
        }
    }

    /// Name in descriptions.
    pub fn describe(&self) -> String {
        let kind = match self.kind {
            NormKind::Rms => "rms",
            NormKind::RmsOnePlus => "rms(1+w)",
            NormKind::Layer => "layer",
        };
        let weight = if self.weight.is_none() { " without weight" } else { "" };
        let bias = if self.bias.is_some() { " with bias" } else { "" };
        format!("{kind}{weight}{bias}")
    }
}

/// The elements that a norm of queries or keys goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormExtent {
    /// Each head by itself.
    Head,
    /// All heads of the projection together.
    Projection,
}

/// A norm of queries, keys or values.
#[derive(Clone, Copy, Debug)]
pub struct HeadNorm {
    /// The norm.
    pub norm: Norm,
    /// What it goes over.
    pub extent: NormExtent,
    /// Comes after the rotation, not before.
    pub after_rotation: bool,
}

impl HeadNorm {
    /// `x [T, K, G, H]` or `[T, K, H]` normalised.
    pub fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b> {
        match self.extent {
            NormExtent::Head => {
                let last = x.ty().dimensions.last().map_or(HEAD_DIM, |dimension| dimension.label);
                self.norm.forward(step, x, last)
            }
            NormExtent::Projection => {
                let dimensions = x.ty().dimensions;
                let heads = dimensions.get(1..).unwrap_or_default();
                let labels: Vec<Label> = heads.iter().map(|dimension| dimension.label).collect();
                let whole = if labels.contains(&GROUP) { QUERY } else { KEY };
                let normalised = self.norm.forward(step, x.merge(&labels, whole), whole);
                normalised.split(whole, heads)
            }
        }
    }

    /// Phrase in descriptions.
    pub fn describe(&self) -> String {
        let mut text = "norm".to_string();
        if self.norm.kind == NormKind::Layer || self.norm.weight.is_none() {
            text += &format!(" {}", self.norm.describe());
        }
        if self.extent == NormExtent::Projection {
            text += " over all heads";
        }
        if self.after_rotation {
            text += " after rope";
        }
        text
    }
}
