//! Normalisation.

use crate::{Param, Step};
use stablemate_graph::{Label, Value};

/// How a [`Norm`] treats its weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) · w` (Zhang & Sennrich, arXiv 1910.07467).
    Rms,
    /// `x / rms(x) · (1 + w)`, as Gemma stores its weights.
    RmsOnePlus,
}

/// A normalisation with its weight.
#[derive(Clone, Copy, Debug)]
pub struct Norm {
    /// Formula.
    pub kind: NormKind,
    /// `[n]`, of the dimension that is normalised.
    pub weight: Param,
    /// Added to the mean square.
    pub epsilon: f64,
}

impl Norm {
    /// Normalises over the dimension labelled `over`; the other dimensions are batches.
    pub fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, over: Label) -> Value<'b> {
        let normalised = x * ((x * x).mean(over) + self.epsilon).rsqrt();
        let weight = step.param(self.weight);
        match self.kind {
            NormKind::Rms => normalised * weight,
            NormKind::RmsOnePlus => normalised * (weight + 1.0),
        }
    }

    /// Name in descriptions.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            NormKind::Rms => "rms",
            NormKind::RmsOnePlus => "rms(1+w)",
        }
    }
}
