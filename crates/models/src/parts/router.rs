//! The choice of experts for each token.

use super::{Linear, Norm};
use crate::dimensions::{CHOICE, EXPERT, EXPERT_GROUP, MODEL};
use crate::kernels::Routing;
use crate::{Param, Step};
use stablemate_graph::{Direction, Value};

/// Chooses `N` of `X` experts for each token, and the factors of their outputs.
#[derive(Debug)]
pub struct Router {
    /// `[X, D]`, with an optional bias.
    pub gate: Linear,
    /// A norm, and a factor, of the gate's input.
    pub input: Option<(Norm, f32)>,
    /// `X`.
    pub experts: usize,
    /// `N`.
    pub choices: usize,
    /// How logits become scores.
    pub score: Score,
    /// `[X]`, added to the scores for the choice alone.
    pub correction: Option<Param>,
    /// The choice is limited to some groups of experts.
    pub groups: Option<Groups>,
    /// Factors are divided by their sum, to which this is added.
    pub renormalise: Option<f64>,
    /// Multiplies the factors.
    pub scale: Option<f32>,
    /// `[X]`: multiplies the factors of each expert.
    pub expert_scale: Option<Param>,
}

/// How logits become scores, which are the factors of the chosen experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over the chosen experts; the choice is by logits.
    SoftmaxOfChosen,
    /// `1 / (1 + exp(-x))` of each.
    Sigmoid,
}

/// Limits the choice to the `kept` best of `count` groups of neighbouring experts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// Groups.
    pub count: usize,
    /// Groups that are kept.
    pub kept: usize,
    /// How many of its best experts a group's score adds up: 1 or 2.
    pub best: usize,
}

/// Stands for scores that are out of the choice; no score is as small.
const OUT: f32 = f32::MIN;

impl Router {
    /// `x [T, D]` → chosen experts `[T, N]` and their factors `[T, N]`.
    pub fn route<'b>(&self, step: &Step<'b>, x: Value<'b>) -> Routing<'b> {
        let _scope = step.scope("router");
        let x = match &self.input {
            Some((norm, factor)) => norm.forward(step, x, MODEL) * f64::from(*factor),
            None => x,
        };
        let logits = step.linear(self.gate, x, None).named("logits");
        let scores = match self.score {
            // IREE 3.13 compiles no reduction that is fused with this division.
            Score::Softmax => softmax(logits, EXPERT).barrier(),
            Score::SoftmaxOfChosen => logits,
            Score::Sigmoid => logits.logistic(),
        };
        let selection = match self.correction {
            Some(correction) => scores + step.param(correction),
            None => scores,
        };
        let selection = self.groups.map_or(selection, |groups| groups.limit(selection));
        let scales = self.expert_scale.map(|scale| {
            let all = scores.ty().dimensions;
            step.param(scale).broadcast(&all)
        });
        let picked: Vec<Value<'b>> = [Some(scores), scales].into_iter().flatten().collect();
        let (chosen, picked) = top(selection, &picked, self.choices);
        let mut factors = picked.first().copied().unwrap_or(scores);
        if self.score == Score::SoftmaxOfChosen {
            factors = softmax(factors, CHOICE);
        }
        if let Some(added) = self.renormalise {
            factors = factors / (factors.sum(CHOICE) + added);
        }
        if let Some(scale) = self.scale {
            factors = factors * f64::from(scale);
        }
        if let Some(scales) = picked.get(1) {
            factors = factors * *scales;
        }
        Routing { chosen: chosen.named("chosen"), weights: factors.named("factors") }
    }

    /// Phrase in descriptions.
    pub fn describe(&self) -> String {
        let mut text = match self.score {
            Score::Softmax => "softmax".to_string(),
            Score::SoftmaxOfChosen => "softmax of chosen".to_string(),
            Score::Sigmoid => "sigmoid".to_string(),
        };
        if self.correction.is_some() {
            text += ", corrected choice";
        }
        if let Some(Groups { count, kept, .. }) = self.groups {
            text += &format!(", {kept} of {count} groups");
        }
        if self.renormalise.is_some() {
            text += ", renormalised";
        }
        if let Some(scale) = self.scale {
            text += &format!(", times {scale}");
        }
        text
    }
}

impl Groups {
    /// `selection [T, X]` with the experts of other groups out of the choice.
    fn limit<'b>(self, selection: Value<'b>) -> Value<'b> {
        let experts = selection.size(EXPERT) / self.count.max(1);
        let dimensions = [EXPERT_GROUP.of(self.count), EXPERT.of(experts)];
        let grouped = selection.split(EXPERT, &dimensions);
        let (_, best) = top(grouped, &[grouped], self.best);
        let scores = best.first().map_or(grouped, |best| best.sum(CHOICE));
        let kept = kept(scores, self.kept);
        let all = grouped.ty().dimensions;
        let out = selection.builder().scalar(OUT).broadcast(&all);
        kept.broadcast(&all).select(grouped, out).merge(&[EXPERT_GROUP, EXPERT], EXPERT)
    }
}

/// `[T, groups]` i1: the `count` groups of the largest scores.
fn kept<'b>(scores: Value<'b>, count: usize) -> Value<'b> {
    let mut rest = scores;
    let mut kept: Option<Value<'b>> = None;
    for _ in 0..count {
        let (_, first) = first_largest(rest, EXPERT_GROUP);
        let out = rest.builder().scalar(OUT).broadcast(&rest.ty().dimensions);
        rest = first.select(out, rest);
        kept = Some(kept.map_or(first, |kept| kept | first));
    }
    kept.unwrap_or(scores)
}

/// The indices of the `count` largest of `selection [T, …, X]` in order, `[T, …, N]` i32, and what
/// `picked [T, …, X]` have at them, `[T, …, N]` each. Of equals, the first comes first.
fn top<'b>(
    selection: Value<'b>,
    picked: &[Value<'b>],
    count: usize,
) -> (Value<'b>, Vec<Value<'b>>) {
    let builder = selection.builder();
    let dimensions = selection.ty().dimensions;
    let (zero, out) = (builder.scalar(0.0), builder.scalar(OUT).broadcast(&dimensions));
    let (mut indices, mut values) = (Vec::new(), vec![Vec::new(); picked.len()]);
    let mut rest = selection;
    for _ in 0..count {
        let (index, first) = first_largest(rest, EXPERT);
        for (values, picked) in values.iter_mut().zip(picked) {
            let only = first.select(*picked, zero.broadcast(&dimensions));
            values.push(only.sum(EXPERT).append(CHOICE));
        }
        indices.push(index.append(CHOICE));
        rest = first.select(out, rest);
    }
    let joined = |values: &[Value<'b>]| match values {
        [first, others @ ..] if !others.is_empty() => first.concatenate(others, CHOICE),
        [only] => *only,
        _ => selection,
    };
    (joined(&indices), values.iter().map(|values| joined(values)).collect())
}

/// The index of the largest along `over`, the first of equals, and where it is (i1).
fn first_largest<'b>(x: Value<'b>, over: stablemate_graph::Label) -> (Value<'b>, Value<'b>) {
    let builder = x.builder();
    let dimensions = x.ty().dimensions;
    let places = builder.iota(over.of(x.size(over))).broadcast(&dimensions);
    let largest = x.compare(Direction::Ge, x.max(over));
    let none = builder.integer(i32::MAX).broadcast(&dimensions);
    let index = largest.select(places, none).min(over);
    (index, places.compare(Direction::Eq, index.broadcast(&dimensions)))
}

fn softmax<'b>(x: Value<'b>, over: stablemate_graph::Label) -> Value<'b> {
    let weights = (x - x.max(over)).exponential();
    weights / weights.sum(over)
}
