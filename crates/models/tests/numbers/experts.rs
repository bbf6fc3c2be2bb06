//! Networks of experts, against plain loops.

use crate::evaluate::{Random, assert_near, evaluate, floats, integers, live};
use crate::interpreter::Data;
use crate::weights::{Stored, weight};
use stablemate_encodings::{Float, Scales};
use stablemate_graph::TensorType;
use stablemate_models::Storage;
use stablemate_models::dimensions::{CHOICE, EXPERT, FEATURE, MODEL, TOKEN};
use stablemate_models::kernels::{self, Experts, Inner, Routing, Weight};
use stablemate_models::parts::{Activation, GatedActivation};

/// A step of some tokens through experts.
struct Step {
    /// Gate (if there is one), up and down.
    stacks: Vec<Stored>,
    biases: Vec<(TensorType, Data)>,
    activation: GatedActivation,
    x: (TensorType, Data),
    chosen: Vec<i32>,
    weights: (TensorType, Data),
    residual: (TensorType, Data),
    choices: usize,
}

impl Step {
    fn random(
        random: &mut Random,
        storages: &[&str],
        activation: GatedActivation,
        [experts, tokens, choices]: [usize; 3],
    ) -> Self {
        let storages: Vec<Storage> = storages.iter().map(|name| name.parse().unwrap()).collect();
        let (width, features) = (MODEL.of(256), FEATURE.of(storages.last().map_or(0, granularity)));
        let stack = EXPERT.of(experts);
        let mut stacks = Vec::new();
        for (n, storage) in storages.iter().enumerate() {
            let down = n + 1 == storages.len();
            let (rows, columns) = if down { (width, features) } else { (features, width) };
            stacks.push(Stored::stack(random, *storage, stack, rows, columns));
        }
        let biases = stacks.iter().map(|stored| random.floats(&[stack, stored.rows])).collect();
        let choose = |n: usize| match n % 7 {
            // More than once, and beyond the ends.
            0 => -1,
            3 => experts as i32,
            n => (random.word() as usize + n) as i32 % experts as i32,
        };
        let chosen = (0..tokens * choices).map(choose).collect();
        Self {
            stacks,
            biases,
            activation,
            x: random.floats(&[TOKEN.of(tokens), width]),
            chosen,
            weights: random.floats(&[TOKEN.of(tokens), CHOICE.of(choices)]),
            residual: random.floats(&[TOKEN.of(tokens), width]),
            choices,
        }
    }

    fn tokens(&self) -> usize {
        self.chosen.len() / self.choices
    }

    fn evaluate(&self, biased: bool, residual: bool) -> Vec<f32> {
        let dimensions = [TOKEN.of(self.tokens()), CHOICE.of(self.choices)];
        let mut arguments = vec![
            self.x.clone(),
            live(TOKEN, self.tokens()),
            integers(&dimensions, self.chosen.clone()),
            self.weights.clone(),
            self.residual.clone(),
        ];
        arguments.extend(self.stacks.iter().map(|stored| stored.argument.clone()));
        arguments.extend(self.biases.iter().cloned());
        let results = evaluate(arguments, |_, x| {
            let stacks: Vec<Weight<'_>> =
                self.stacks.iter().zip(&x[5..]).map(|(stored, x)| weight!(stored, *x)).collect();
            let inner = match (&stacks[..], self.activation) {
                ([gate, up, _], activation) => Inner::Gated { gate: *gate, up: *up, activation },
                ([up, _], GatedActivation::Plain(activation)) => {
                    Inner::Plain { up: *up, activation }
                }
                _ => panic!("no such network"),
            };
            let biases = if biased { x[5 + stacks.len()..].to_vec() } else { Vec::new() };
            let experts = Experts { inner, down: stacks[stacks.len() - 1], biases };
            let routing = Routing { chosen: x[2], weights: x[3] };
            let result = kernels::experts(x[0], x[1], routing, &experts, residual.then_some(x[4]));
            assert_eq!(result.ty().dimensions, [TOKEN.of(self.tokens()), MODEL.of(256)]);
            vec![result]
        });
        results[0].clone()
    }

    /// The results, and the largest sum of magnitudes that one of them is the sum of.
    fn expected(&self, biased: bool, residual: bool) -> (Vec<f64>, f64) {
        let width = 256;
        let (mut out, mut largest) = (Vec::new(), 1.0_f64);
        for token in 0..self.tokens() {
            let row = |data: &Data| -> Vec<f64> {
                floats(data)[token * width..][..width].iter().map(|x| f64::from(*x)).collect()
            };
            let x = row(&self.x.1);
            let mut sum = if residual { row(&self.residual.1) } else { vec![0.0; width] };
            for n in token * self.choices..(token + 1) * self.choices {
                let factor = f64::from(floats(&self.weights.1)[n]);
                let (result, magnitudes) = self.expert(self.chosen[n], &x, biased);
                sum.iter_mut().zip(result).for_each(|(sum, y)| *sum += factor * y);
                largest = magnitudes.into_iter().fold(largest, f64::max);
            }
            out.extend(sum);
        }
        (out, largest)
    }

    /// An expert's results, and the magnitudes that they are sums of.
    fn expert(&self, chosen: i32, x: &[f64], biased: bool) -> (Vec<f64>, Vec<f64>) {
        let product = |layer: usize, x: &[f64]| -> Vec<f64> {
            let stored = &self.stacks[layer];
            let (rows, columns) = (stored.rows.size, stored.columns.size);
            let last = stored.values.len() / rows / columns - 1;
            let expert = (chosen.max(0) as usize).min(last);
            let row = |row: usize| {
                let place = expert * rows + row;
                let bias = f64::from(floats(&self.biases[layer].1)[place]);
                let weights = &stored.values[place * columns..][..columns];
                let product: f64 = x.iter().zip(weights).map(|(x, w)| x * f64::from(*w)).sum();
                if biased { product + bias } else { product }
            };
            (0..rows).map(row).collect()
        };
        let layers = self.stacks.len();
        let up = product(layers - 2, x);
        let features: Vec<f64> = match (self.activation, layers) {
            (GatedActivation::Plain(activation), 2) => {
                up.iter().map(|x| activated(activation, *x)).collect()
            }
            (GatedActivation::Plain(activation), _) => {
                let gate = product(0, x);
                gate.iter().zip(up).map(|(g, u)| activated(activation, *g) * u).collect()
            }
            (GatedActivation::ClampedSwiglu { alpha, limit }, _) => {
                let (alpha, limit) = (f64::from(alpha), f64::from(limit));
                let gate = product(0, x);
                let gated = gate.iter().zip(up).map(|(g, u)| {
                    let (g, u) = (g.min(limit), u.clamp(-limit, limit));
                    (u + 1.0) * g / (1.0 + (-alpha * g).exp())
                });
                gated.collect()
            }
        };
        let down = &self.stacks[layers - 1];
        let magnitude = |row: &[f32]| -> f64 {
            features.iter().zip(row).map(|(x, w)| (x * f64::from(*w)).abs()).sum()
        };
        let magnitudes = down.values.chunks(down.columns.size).map(magnitude).collect();
        (product(layers - 1, &features), magnitudes)
    }

    #[track_caller]
    fn check(&self, what: &str) {
        for (biased, residual) in [(false, false), (true, true), (false, true)] {
            self.check_with(&format!("{what}, bias {biased}"), biased, residual);
        }
    }

    #[track_caller]
    fn check_with(&self, what: &str, biased: bool, residual: bool) {
        let (expected, largest) = self.expected(biased, residual);
        assert_near(what, &self.evaluate(biased, residual), &expected, 2e-6 * largest);
    }
}

/// A number of columns that the storage can have.
fn granularity(storage: &Storage) -> usize {
    match storage {
        Storage::Dense(_) => 24,
        Storage::Packed(packing) => packing.granularity(),
    }
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu2 => x.max(0.0).powi(2),
        _ => panic!("it has a test of its own"),
    }
}

const Q4: &str = "q4 group 32 centred F16";

#[test]
fn each_token_is_computed_by_its_experts() {
    let mut random = Random(7);
    let silu = GatedActivation::Plain(Activation::Silu);
    let clamped = GatedActivation::ClampedSwiglu { alpha: 1.702, limit: 1.5 };
    // As many choices as experts, or fewer: copies of weights. More of them: all experts.
    for shape in [[5, 1, 4], [6, 3, 2], [5, 3, 2], [2, 4, 3], [1, 1, 1]] {
        let what = format!("experts, tokens, choices {shape:?}");
        let f32s = Step::random(&mut random, &["f32"; 3], silu, shape);
        f32s.check(&what);
        let halves = ["f16", "bf16", Q4];
        Step::random(&mut random, &halves, clamped, shape).check(&what);
        let plain = GatedActivation::Plain(Activation::Relu2);
        Step::random(&mut random, &["bf16", "f16"], plain, shape).check(&what);
    }
}

/// Of the many packings, one group of each form of scales and codes: how they are unpacked has
/// tests of its own.
#[test]
fn experts_in_every_form_of_storage() {
    let mut random = Random(8);
    let telling = |storage: &Storage| match storage {
        Storage::Dense(_) => true,
        Storage::Packed(packing) => match packing.scales() {
            Scales::Centred(float) | Scales::Affine(float) => {
                float == Float::F16 && packing.group() == 32
            }
            Scales::Codebook(_) => packing.group() == 32,
            Scales::Nested(_) => true,
        },
    };
    for storage in Storage::all().filter(telling) {
        let name = storage.to_string();
        let silu = GatedActivation::Plain(Activation::Silu);
        for shape in [[2, 1, 2], [2, 3, 1]] {
            let step = Step::random(&mut random, &[&name, &name, Q4], silu, shape);
            step.check_with(&name, false, false);
            let step = Step::random(&mut random, &[Q4, Q4, &name], silu, shape);
            step.check_with(&name, true, false);
        }
    }
}

#[test]
fn what_was_not_asked_for_leaves_nothing_behind() {
    let mut random = Random(9);
    let silu = GatedActivation::Plain(Activation::Silu);
    for shape in [[3, 1, 2], [3, 2, 2]] {
        let mut step = Step::random(&mut random, &["f32"; 3], silu, shape);
        step.chosen.iter_mut().for_each(|expert| *expert = (*expert).clamp(0, 1));
        // The last expert's results are infinite.
        let Data::Float(values) = &mut step.stacks[1].argument.1 else { panic!("f32") };
        let each = values.len() / 3;
        values[2 * each..].fill(f32::INFINITY);
        step.check("an infinite expert");
    }
}
