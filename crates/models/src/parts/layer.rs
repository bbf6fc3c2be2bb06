//! Residual layers: how parts are joined to the stream.

use super::{Norm, Part};
use crate::dimensions::{MODEL, UNIT};
use crate::{Param, Step};
use stablemate_graph::Value;
use std::fmt;

/// One layer: `x [T, D] → [T, D]`.
pub trait Block: fmt::Debug + Send + Sync {
    /// Appends the layer to the step's graph.
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b>;
    /// One line for descriptions.
    fn describe(&self) -> String;
}

/// `scale · post(Σ part(pre(x)))`, which is added to the stream. Several parts under one norm:
/// Cohere's attention beside its network, Falcon-H1's attention beside Mamba.
#[derive(Debug)]
pub struct Branch {
    /// Before the parts.
    pub pre: Option<Norm>,
    /// Their outputs are added.
    pub parts: Vec<Box<dyn Part>>,
    /// After the sum.
    pub post: Option<Norm>,
    /// Multiplies the result.
    pub scale: Option<f32>,
}

impl Branch {
    /// `residual + scale · post(Σ part(pre(x)))`.
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Value<'b>) -> Value<'b> {
        let x = self.pre.map_or(x, |norm| norm.forward(step, x, MODEL));
        if self.post.is_none() && self.scale.is_none() {
            let parts = self.parts.iter();
            return parts.fold(residual, |sum, part| part.forward(step, x, Some(sum)));
        }
        let mut sum: Option<Value<'b>> = None;
        for part in &self.parts {
            sum = Some(part.forward(step, x, sum));
        }
        let Some(sum) = sum else { return residual };
        let sum = self.post.map_or(sum, |norm| norm.forward(step, sum, MODEL));
        residual + self.scale.map_or(sum, |scale| sum * f64::from(scale))
    }

    fn describe(&self) -> String {
        let parts: Vec<String> = self.parts.iter().map(|part| part.describe()).collect();
        let scale = self.scale.map_or(String::new(), |scale| format!(", residual times {scale}"));
        format!("{}{scale}", parts.join(" + "))
    }
}

/// Branches one after another, or side by side on the same input.
#[derive(Debug)]
pub enum Layer {
    /// Each branch reads the stream after the one before it.
    Sequential(Vec<Branch>),
    /// All branches read the layer's input.
    Parallel(Vec<Branch>),
}

impl Layer {
    /// The same layer whose branches are multiplied by `scale` before they are added to the stream.
    pub fn residual_scale(mut self, scale: f32) -> Self {
        let (Self::Sequential(branches) | Self::Parallel(branches)) = &mut self;
        branches.iter_mut().for_each(|branch| branch.scale = Some(scale));
        self
    }

    fn branches(&self) -> &[Branch] {
        match self {
            Self::Sequential(branches) | Self::Parallel(branches) => branches,
        }
    }

    /// Where the norms are: `pre-norm rms`, `sandwich rms(1+w)`, `post-norm rms`.
    fn norms(&self) -> String {
        let branches = self.branches();
        let (pre, post): (Vec<_>, Vec<_>) =
            branches.iter().map(|branch| (branch.pre, branch.post)).unzip();
        let every = |norms: &[Option<Norm>]| norms.iter().all(Option::is_some);
        let none = |norms: &[Option<Norm>]| norms.iter().all(Option::is_none);
        let place = match (every(&pre), every(&post), none(&pre), none(&post)) {
            (true, true, ..) => "sandwich",
            (true, _, _, true) => "pre-norm",
            (_, true, true, _) => "post-norm",
            (_, _, true, true) => return "no norms".to_string(),
            _ => "norms here and there",
        };
        let kind = pre.iter().chain(&post).flatten().next().map(Norm::describe);
        format!("{place} {}", kind.unwrap_or_default())
    }
}

impl Block for Layer {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b> {
        let last = self.branches().len().saturating_sub(1);
        let mut stream = x;
        for (n, branch) in self.branches().iter().enumerate() {
            let input = match self {
                Self::Sequential(_) => stream,
                Self::Parallel(_) => x,
            };
            stream = branch.forward(step, input, stream);
            stream = stream.named(if n == last { "output" } else { "mixed" });
        }
        stream
    }

    fn describe(&self) -> String {
        let side_by_side = match self {
            Self::Parallel(_) => "side by side, ",
            Self::Sequential(_) => "",
        };
        let branches: Vec<String> = self.branches().iter().map(Branch::describe).collect();
        format!("{side_by_side}{} | {}", self.norms(), branches.join(" | "))
    }
}

/// A layer whose output is multiplied by a stored scalar.
#[derive(Debug)]
pub struct Scaled {
    /// The layer.
    pub layer: Layer,
    /// `[1]`.
    pub by: Param,
}

impl Block for Scaled {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b> {
        (self.layer.forward(step, x) * step.param(self.by).sum(UNIT)).named("scaled")
    }

    fn describe(&self) -> String {
        format!("{} | scaled", self.layer.describe())
    }
}
