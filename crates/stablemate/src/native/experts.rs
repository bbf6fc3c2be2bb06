//! Networks of experts, from the composite to the call.

use super::operation::{activation, first, float, integer, split, text, weight};
use stablemate_graph::NativeSite;
use stablemate_kernels as kernels;
use stablemate_kernels::{Activation, Gate, Inner, KernelError, Kernels, Routing, Stack};
use stablemate_models::Storage;
use stablemate_models::kernels::storages;
use stablemate_runtime::Binding;

/// What is static about networks of experts. Operands: `x, live, chosen, weights, stacks …[, biases …][, residual]`.
#[derive(Clone, Debug)]
pub(super) struct Experts {
    /// `X`.
    count: usize,
    /// `F`.
    features: usize,
    /// `D`.
    columns: usize,
    /// Of gate (if there is one), up and down.
    weights: Vec<Storage>,
    activation: Form,
    biases: bool,
    residual: bool,
}

/// How features come about.
#[derive(Clone, Copy, Debug)]
enum Form {
    Gated(Gate),
    Plain(Activation),
}

impl Experts {
    /// What a composite `experts` computes, if it is one of ours.
    pub(super) fn read(site: &NativeSite<'_>) -> Option<Self> {
        let symbol = text(site, "activation")?;
        let form = match (symbol, integer(site, "gated")? == 1) {
            ("clamped_swiglu", true) => Form::Gated(Gate::ClampedSwiglu {
                alpha: float(site, "alpha")?,
                limit: float(site, "limit")?,
            }),
            (symbol, true) => Form::Gated(activation(symbol)?.into()),
            (symbol, false) => Form::Plain(activation(symbol)?),
        };
        let weights = storages(site.kernel).ok()?;
        let expected = if matches!(form, Form::Gated(_)) { 3 } else { 2 };
        let size = |operand: usize, axis: usize| {
            site.operands.get(operand)?.dimensions.get(axis).map(|dimension| dimension.size)
        };
        (weights.len() == expected).then_some(())?;
        Some(Self {
            count: size(4, 0)?,
            features: integer(site, "features")?,
            columns: size(0, 1)?,
            weights,
            activation: form,
            biases: integer(site, "biases")? == 1,
            residual: integer(site, "residual")? == 1,
        })
    }

    /// For messages.
    pub(super) fn describe(&self) -> String {
        let Self { count, features, columns, weights, .. } = self;
        let weights: Vec<String> = weights.iter().map(ToString::to_string).collect();
        format!("experts {count} of [{features}, {columns}] {}", weights.join(", "))
    }

    /// Runs the kernel on a step's memory.
    pub(super) fn run(
        &self,
        kernels: &Kernels,
        bindings: &mut [Binding<'_>],
    ) -> Result<Result<(), KernelError>, String> {
        let layers = self.weights.len();
        let biases = if self.biases { layers } else { 0 };
        let count = 4 + layers + biases + usize::from(self.residual);
        let (operands, results) = split(bindings, count)?;
        let stack = |n: usize| -> Result<Stack<'_>, String> {
            let (rows, columns) = match n + 1 == layers {
                true => (self.columns, self.features),
                false => (self.features, self.columns),
            };
            let weight = weight(self.weights[n], operands.bytes(4 + n)?)?;
            Ok(Stack { weight, count: self.count, rows, columns })
        };
        let bias = |n: usize| -> Result<Option<&[f32]>, String> {
            self.biases.then(|| operands.floats(4 + layers + n)).transpose()
        };
        let inner = match self.activation {
            Form::Gated(activation) => {
                let biases = bias(0)?.zip(bias(1)?).map(|(gate, up)| [gate, up]);
                Inner::Gated { gate: stack(0)?, up: stack(1)?, biases, activation }
            }
            Form::Plain(activation) => Inner::Plain { up: stack(0)?, bias: bias(0)?, activation },
        };
        let down = stack(layers - 1)?;
        let experts = kernels::Experts { inner, down, down_bias: bias(layers - 1)? };
        let routing = Routing {
            live: operands.integers(1)?,
            chosen: operands.integers(2)?,
            weights: operands.floats(3)?,
        };
        let residual = self.residual.then(|| operands.floats(count - 1)).transpose()?;
        Ok(kernels.experts(&experts, &routing, operands.floats(0)?, residual, first(results)?))
    }
}
