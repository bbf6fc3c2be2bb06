//! Networks of experts, from the composite to the call.

use super::operation::{activation, first, float, integer, split, text, weight};
use stablemate_graph::NativeSite;
use stablemate_kernels as kernels;
use stablemate_kernels::{Activation, Gate, Inner, KernelError, Kernels, Routing, Stack};
use stablemate_models::Storage;
use stablemate_models::kernels::storages;
use stablemate_runtime::Binding;

/// What is static about networks of experts. Operands: `x, live, chosen, weights, stacks …[, biases
/// …][, residual]`.
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

#[cfg(test)]
mod tests {
    use crate::native::operation::Operation;
    use stablemate_graph::{ElementType, Module, ModuleBuilder, TensorType};
    use stablemate_kernels::{Activations, Isa, Kernels};
    use stablemate_models::Storage;
    use stablemate_models::dimensions::{CHOICE, EXPERT, FEATURE, MODEL, TOKEN};
    use stablemate_models::kernels::{Experts, Inner, Routing, Weight, experts};
    use stablemate_models::parts::{Activation, GatedActivation};
    use stablemate_runtime::Binding;
    use std::cell::RefCell;

    const TOKENS: usize = 2;
    const CHOICES: usize = 2;
    const COUNT: usize = 3;

    /// One composite of experts `[features, width]`.
    fn module(
        gated: Option<GatedActivation>,
        storage: Storage,
        [features, width]: [usize; 2],
        biased: bool,
        with_residual: bool,
    ) -> Module {
        let module = ModuleBuilder::new("test");
        {
            let main = module.function("main");
            let (tokens, model) = (TOKEN.of(TOKENS), MODEL.of(width));
            let choices = [tokens, CHOICE.of(CHOICES)];
            let (stack, features) = (EXPERT.of(COUNT), FEATURE.of(features));
            let floats = |dimensions: &[_]| TensorType::new(ElementType::F32, dimensions);
            let integers = |dimensions: &[_]| TensorType::new(ElementType::I32, dimensions);
            let x = main.argument("x", floats(&[tokens, model]));
            let live = main.argument("live", integers(&[tokens]));
            let chosen = main.argument("chosen", integers(&choices));
            let weights = main.argument("weights", floats(&choices));
            let weight = |rows, columns| {
                let value = main.argument("w", storage.argument(&[stack, rows, columns]));
                Weight { value, storage, rows, columns, stack: Some(stack) }
            };
            let up = weight(features, model);
            let (inner, rows) = match gated {
                Some(activation) => {
                    let gate = weight(features, model);
                    (Inner::Gated { gate, up, activation }, vec![features, features, model])
                }
                None => {
                    let activation = Activation::Relu2;
                    (Inner::Plain { up, activation }, vec![features, model])
                }
            };
            let down = weight(model, features);
            let bias = |rows| main.argument("b", floats(&[stack, rows]));
            let biases = if biased { rows.into_iter().map(bias).collect() } else { Vec::new() };
            let network = Experts { inner, down, biases };
            let routing = Routing { chosen, weights };
            let y = experts(x, live, routing, &network, with_residual.then_some(x));
            main.finish(&[("y", y)]).unwrap();
        }
        module.finish().unwrap()
    }

    fn operation(module: &Module) -> Operation {
        let found = RefCell::new(None);
        module
            .native(&|site| {
                *found.borrow_mut() = Operation::read(site);
                None
            })
            .unwrap();
        found.into_inner().expect("it is ours")
    }

    /// Numbers between −1 and 1 that follow no pattern.
    fn numbers(seed: u32, count: usize) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// The sums, of x, weights of choices, stacks and biases.
    fn expected(
        gated: Option<GatedActivation>,
        [features, width]: [usize; 2],
        operands: &[Vec<f32>],
        chosen: &[i32],
        biased: bool,
        with_residual: bool,
    ) -> Vec<f32> {
        let layers = if gated.is_some() { 3 } else { 2 };
        let product = |layer: usize, expert: usize, x: &[f32]| -> Vec<f32> {
            let rows = if layer + 1 == layers { width } else { features };
            let columns = x.len();
            let row = |row: usize| {
                let place = expert * rows + row;
                let weights = &operands[2 + layer][place * columns..][..columns];
                let sum: f32 = weights.iter().zip(x).map(|(w, x)| w * x).sum();
                if biased { sum + operands[2 + layers + layer][place] } else { sum }
            };
            (0..rows).map(row).collect()
        };
        let mut out = Vec::new();
        for (token, x) in operands[0].chunks(width).enumerate() {
            let mut sum = if with_residual { x.to_vec() } else { vec![0.0; width] };
            for n in token * CHOICES..(token + 1) * CHOICES {
                let expert = chosen[n] as usize;
                let up = product(layers - 2, expert, x);
                let features: Vec<f32> = match gated {
                    None => up.iter().map(|x| x.max(0.0).powi(2)).collect(),
                    Some(GatedActivation::Plain(_)) => {
                        let gate = product(0, expert, x);
                        gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect()
                    }
                    Some(GatedActivation::ClampedSwiglu { alpha, limit }) => {
                        let gate = product(0, expert, x);
                        let clamped = |(g, u): (&f32, f32)| {
                            let (g, u) = (g.min(limit), u.clamp(-limit, limit));
                            g / (1.0 + (-alpha * g).exp()) * (u + 1.0)
                        };
                        gate.iter().zip(up).map(clamped).collect()
                    }
                };
                let result = product(layers - 1, expert, &features);
                sum.iter_mut().zip(result).for_each(|(sum, y)| *sum += operands[1][n] * y);
            }
            out.extend(sum);
        }
        out
    }

    #[test]
    fn operands_are_those_of_the_composite() {
        let (shape @ [features, width], f32s) = ([3, 5], Storage::Dense(ElementType::F32));
        let silu = Some(GatedActivation::Plain(Activation::Silu));
        let clamped = Some(GatedActivation::ClampedSwiglu { alpha: 1.7, limit: 0.4 });
        for (gated, biased, residual) in
            [(silu, true, true), (silu, false, false), (clamped, false, true), (None, true, false)]
        {
            // Up is declared before gate; operands are in the order of the composite.
            let operation = operation(&module(gated, f32s, shape, biased, residual));
            let layers = if gated.is_some() { 3 } else { 2 };
            let mut sizes = vec![TOKENS * width, TOKENS * CHOICES];
            sizes.extend(vec![COUNT * features * width; layers]);
            if biased {
                sizes.extend(vec![COUNT * features; layers - 1]);
                sizes.push(COUNT * width);
            }
            let operands: Vec<Vec<f32>> =
                sizes.iter().enumerate().map(|(n, size)| numbers(n as u32, *size)).collect();
            let (live, chosen) = ([0, 1], [2, 0, 1, 1]);
            let mut out = vec![f32::NAN; TOKENS * width];
            let floats = |n: usize| Binding::Read(bytemuck::cast_slice(&operands[n]));
            let mut bindings = vec![
                floats(0),
                Binding::Read(bytemuck::cast_slice(&live)),
                Binding::Read(bytemuck::cast_slice(&chosen)),
            ];
            bindings.extend((1..operands.len()).map(floats));
            if residual {
                bindings.push(floats(0));
            }
            bindings.push(Binding::Write(bytemuck::cast_slice_mut(&mut out)));
            let kernels = Kernels::new(Isa::best(), 1, Activations::Exact);
            operation.run(&kernels, &mut bindings).unwrap();
            let expected = expected(gated, shape, &operands, &chosen, biased, residual);
            for (found, expected) in out.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-5, "{}: {out:?}", operation.describe());
            }
        }
    }

    #[test]
    fn packed_stacks_say_their_rows() {
        let storage = "q4 group 32 centred F16".parse().unwrap();
        let silu = Some(GatedActivation::Plain(Activation::Silu));
        let operation = operation(&module(silu, storage, [96, 64], false, false));
        assert_eq!(
            operation.describe(),
            format!("experts 3 of [96, 64] {storage}, {storage}, {storage}")
        );
    }
}
