//! Networks of experts: each token is computed by a few of many.

use super::{Weight, one, weights_attribute};
use crate::dimensions::{CHOICE, EXPERT, TOKEN};
use crate::parts::{Activation, GatedActivation};
use stablemate_graph::{Dimension, Direction, ElementType, Kernel, TensorType, Value};

/// Which experts compute a token.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'b> {
    /// `[T, N]` i32: experts; numbers beyond the ends are taken as the nearest one.
    pub chosen: Value<'b>,
    /// `[T, N]` f32: what their results are multiplied by.
    pub weights: Value<'b>,
}

/// The networks of `X` experts.
#[derive(Clone, Debug)]
pub struct Experts<'b> {
    /// From inputs to features.
    pub inner: Inner<'b>,
    /// `[X, D, F]`.
    pub down: Weight<'b>,
    /// `[X, O]` f32 for each weight in the order gate, up, down, added to its products; or none for
    /// any of them.
    pub biases: Vec<Value<'b>>,
}

/// How an expert's features come about.
#[derive(Clone, Copy, Debug)]
pub enum Inner<'b> {
    /// `activation(gate(x), up(x))`.
    Gated {
        /// `[X, F, D]`.
        gate: Weight<'b>,
        /// `[X, F, D]`.
        up: Weight<'b>,
        /// How both are combined.
        activation: GatedActivation,
    },
    /// `activation(up(x))`.
    Plain {
        /// `[X, F, D]`.
        up: Weight<'b>,
        /// What it goes through.
        activation: Activation,
    },
}

impl<'b> Experts<'b> {
    /// In the order of operands.
    fn weights(&self) -> Vec<Weight<'b>> {
        match self.inner {
            Inner::Gated { gate, up, .. } => vec![gate, up, self.down],
            Inner::Plain { up, .. } => vec![up, self.down],
        }
    }

    fn kernel(&self, residual: bool) -> Kernel {
        let weights = self.weights();
        let kernel = Kernel::new("stablemate.experts")
            .with("weights", weights_attribute(&weights))
            .with("features", self.down.columns.size);
        let (kernel, gated) = match self.inner {
            Inner::Plain { activation, .. } => {
                (kernel.with("activation", activation.symbol()), false)
            }
            Inner::Gated { activation, .. } => {
                let kernel = kernel.with("activation", activation.symbol());
                match activation {
                    GatedActivation::Plain(_) => (kernel, true),
                    GatedActivation::ClampedSwiglu { alpha, limit } => {
                        (kernel.with("alpha", alpha).with("limit", limit), true)
                    }
                }
            }
        };
        kernel
            .with("gated", usize::from(gated))
            .with("biases", usize::from(!self.biases.is_empty()))
            .with("residual", usize::from(residual))
    }
}

/// `Σₙ weights[t, n] · expert(chosen[t, n])(x[t])`: `x [T, D]` → `[T, D]`, in f32 whatever the
/// weights are stored in; added to the `residual [T, D]` if there is one. `live [T]` is negative
/// for rows whose results nobody reads.
pub fn experts<'b>(
    x: Value<'b>,
    live: Value<'b>,
    routing: Routing<'b>,
    experts: &Experts<'b>,
    residual: Option<Value<'b>>,
) -> Value<'b> {
    let weights = experts.weights();
    let mut operands = vec![x, live, routing.chosen, routing.weights];
    operands.extend(weights.iter().map(|weight| weight.value));
    operands.extend(&experts.biases);
    operands.extend(residual);
    let tokens = x.ty().dimensions.first().copied().unwrap_or(TOKEN.of(0));
    let result = TensorType::new(ElementType::F32, [tokens, experts.down.rows]);
    let (count, inner) = (experts.biases.len(), experts.inner);
    one(x.builder().composite_with_results(
        experts.kernel(residual.is_some()),
        &operands,
        &[result],
        |_, operands| {
            let [x, _, chosen, factors, rest @ ..] = operands else { return Vec::new() };
            let Some((values, rest)) = rest.split_at_checked(weights.len()) else {
                return Vec::new();
            };
            let Some((biases, residual)) = rest.split_at_checked(count) else {
                return Vec::new();
            };
            if count > 0 && count != weights.len() {
                return Vec::new();
            }
            let layers = weights.iter().zip(values).enumerate().map(|(n, (weight, value))| Layer {
                weight: weight.inside(*value),
                bias: biases.get(n).copied(),
            });
            let layers: Vec<Layer<'_>> = layers.collect();
            let routing = Routing { chosen: *chosen, weights: *factors };
            let sum = specification(*x, routing, &layers, inner);
            vec![residual.iter().fold(sum, |sum, residual| *residual + sum)]
        },
    ))
}

/// A weight with its bias.
#[derive(Clone, Copy)]
struct Layer<'d> {
    weight: Weight<'d>,
    bias: Option<Value<'d>>,
}

impl<'d> Layer<'d> {
    /// The products with `x` over the columns.
    fn product(self, x: Value<'d>) -> Value<'d> {
        let product = x.contract(self.weight.dense(), &[self.weight.columns.label]);
        match self.bias {
            // For Vulkan, IREE 3.13 cannot compile some products of each token's own weights fused
            // with what follows.
            Some(bias) => product.barrier() + bias,
            None => product,
        }
    }

    /// Those of the chosen experts, `[T, N, O, I]`.
    fn take(self, chosen: Value<'d>) -> Self {
        let value = self.weight.value.take(EXPERT, chosen);
        let bias = self.bias.map(|bias| bias.take(EXPERT, chosen));
        Self { weight: self.weight.inside(value), bias }
    }
}

/// Few tokens gather copies of their experts' weights. More copies than experts would take more
/// memory than the stack: then every expert computes every token, and a mask removes the results
/// of experts that the token did not choose.
fn specification<'d>(
    x: Value<'d>,
    routing: Routing<'d>,
    layers: &[Layer<'d>],
    inner: Inner<'_>,
) -> Value<'d> {
    let Some(first) = layers.first() else { return x };
    let (builder, experts) = (x.builder(), EXPERT.of(first.weight.value.size(EXPERT)));
    let copies = routing.chosen.ty().elements().unwrap_or(usize::MAX);
    let last = builder.integer((experts.size as i32).saturating_sub(1));
    let chosen = routing.chosen.maximum(builder.integer(0)).minimum(last);
    let routing = Routing { chosen, weights: routing.weights };
    if copies <= experts.size {
        let layers: Vec<Layer<'d>> = layers.iter().map(|layer| layer.take(chosen)).collect();
        chosen_alone(x, routing, &layers, inner)
    } else {
        all_of_them(x, routing, layers, inner, experts)
    }
}

/// By experts of each token's own.
fn chosen_alone<'d>(
    x: Value<'d>,
    routing: Routing<'d>,
    layers: &[Layer<'d>],
    inner: Inner<'_>,
) -> Value<'d> {
    let Some((down, layers)) = layers.split_last() else { return x };
    let features = features(x, layers, inner);
    (down.product(features) * routing.weights).sum(CHOICE)
}

/// By all experts.
fn all_of_them<'d>(
    x: Value<'d>,
    routing: Routing<'d>,
    layers: &[Layer<'d>],
    inner: Inner<'_>,
    experts: Dimension,
) -> Value<'d> {
    let Some((down, layers)) = layers.split_last() else { return x };
    let builder = x.builder();
    let zero = builder.scalar(0.0);
    // Whether an expert is a token's choice, and with which weight in all.
    let dimensions = [&routing.chosen.ty().dimensions[..], &[experts]].concat();
    let number = builder.iota(experts).broadcast(&dimensions);
    let asked = routing.chosen.broadcast(&dimensions).compare(Direction::Eq, number);
    let weights = asked.select(routing.weights.broadcast(&dimensions), zero).sum(CHOICE);
    let count = asked.select(builder.scalar(1.0), zero).sum(CHOICE);
    let features = features(x, layers, inner) * weights;
    // Features of experts that were not chosen may be infinite: zero times them is not zero.
    let features = count.compare(Direction::Gt, zero).select(features, zero);
    let sum = features.contract(down.weight.dense(), &[EXPERT, down.weight.columns.label]);
    match down.bias {
        Some(bias) => sum + weights.contract(bias, &[EXPERT]),
        None => sum,
    }
}

/// From inputs to features, by the layers before the last.
fn features<'d>(x: Value<'d>, layers: &[Layer<'d>], inner: Inner<'_>) -> Value<'d> {
    match (layers, inner) {
        ([gate, up], Inner::Gated { activation, .. }) => {
            let gate = gate.product(x).named("gate");
            activation.apply(gate, up.product(x).named("up"))
        }
        ([up], Inner::Plain { activation, .. }) => activation.apply(up.product(x).named("up")),
        _ => x,
    }
}
