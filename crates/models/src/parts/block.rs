//! Residual blocks: how a mixer and a feed-forward network are joined to the stream.

use super::{FeedForward, Mixer, Norm};
use crate::Step;
use crate::dimensions::MODEL;
use stablemate_graph::Value;
use std::fmt;

/// One layer: `x [T, D] → [T, D]`.
pub trait Block: fmt::Debug + Send + Sync {
    /// Appends the layer to the step's graph.
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b>;
    /// One line for descriptions.
    fn describe(&self) -> String;
    /// The layer's mixer.
    fn mixer(&self) -> &dyn Mixer;
}

/// `x + mixer(norm(x))`, then `x + ffn(norm(x))`.
#[derive(Debug)]
pub struct PreNorm {
    /// Before the mixer.
    pub mixer_norm: Norm,
    /// Attention.
    pub mixer: Box<dyn Mixer>,
    /// Before the feed-forward network.
    pub ffn_norm: Norm,
    /// Feed-forward network.
    pub ffn: Box<dyn FeedForward>,
}

impl Block for PreNorm {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b> {
        let normalised = self.mixer_norm.forward(step, x, MODEL);
        let x = self.mixer.forward(step, normalised, Some(x)).named("mixed");
        let normalised = self.ffn_norm.forward(step, x, MODEL);
        self.ffn.forward(step, normalised, Some(x)).named("output")
    }

    fn describe(&self) -> String {
        let norm = self.mixer_norm.describe();
        format!("pre-norm {norm} | {} | {}", self.mixer.describe(), self.ffn.describe())
    }

    fn mixer(&self) -> &dyn Mixer {
        self.mixer.as_ref()
    }
}

/// `x + norm(mixer(norm(x)))`, then `x + norm(ffn(norm(x)))`.
#[derive(Debug)]
pub struct Sandwich {
    /// Before the mixer.
    pub mixer_norm: Norm,
    /// Attention.
    pub mixer: Box<dyn Mixer>,
    /// After the mixer.
    pub mixed_norm: Norm,
    /// Before the feed-forward network.
    pub ffn_norm: Norm,
    /// Feed-forward network.
    pub ffn: Box<dyn FeedForward>,
    /// After the feed-forward network.
    pub fed_norm: Norm,
}

impl Block for Sandwich {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Value<'b> {
        let mixed = self.mixer.forward(step, self.mixer_norm.forward(step, x, MODEL), None);
        let x = (x + self.mixed_norm.forward(step, mixed, MODEL)).named("mixed");
        let fed = self.ffn.forward(step, self.ffn_norm.forward(step, x, MODEL), None);
        (x + self.fed_norm.forward(step, fed, MODEL)).named("output")
    }

    fn describe(&self) -> String {
        let norm = self.mixer_norm.describe();
        format!("sandwich {norm} | {} | {}", self.mixer.describe(), self.ffn.describe())
    }

    fn mixer(&self) -> &dyn Mixer {
        self.mixer.as_ref()
    }
}
