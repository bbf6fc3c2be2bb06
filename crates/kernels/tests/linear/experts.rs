//! Networks of experts: against plain loops, and each token against itself alone.

use crate::support::{Random, Stored, isas, packings};
use crate::{bits, packed_shape, which};
use proptest::prelude::*;
use stablemate_encodings::Float;
use stablemate_kernels::{
    Activation, Activations, Experts, Gate, Inner, Isa, Kernels, Routing, Stack, Weight,
};

/// Matrices of one shape, and their values one after the other.
struct Stacked {
    experts: Vec<Stored>,
    words: Vec<u32>,
    bytes: Vec<u8>,
}

impl Stacked {
    fn new(experts: Vec<Stored>) -> Self {
        let (mut words, mut bytes) = (Vec::new(), Vec::new());
        for expert in &experts {
            match expert.matrix().weight {
                Weight::Dense { bytes: own, .. } => bytes.extend(own),
                Weight::Packed { words: own, .. } => words.extend(own),
            }
        }
        Self { experts, words, bytes }
    }

    fn stack(&self) -> Stack<'_> {
        let first = self.experts[0].matrix();
        let weight = match first.weight {
            Weight::Dense { float, .. } => Weight::Dense { float, bytes: &self.bytes },
            Weight::Packed { packing, .. } => Weight::Packed { packing, words: &self.words },
        };
        Stack { weight, count: self.experts.len(), rows: first.rows, columns: first.columns }
    }
}

/// How an expert's features come about.
#[derive(Clone, Copy, Debug)]
enum Form {
    Gated(Gate),
    Plain(Activation),
}

struct Network {
    form: Form,
    gate: Stacked,
    up: Stacked,
    down: Stacked,
    /// Of gate, up and down.
    biases: Option<[Vec<f32>; 3]>,
}

/// The storage of a weight: the number of a packing and whether it is dense instead.
type Kind = (usize, bool);

impl Network {
    fn random(random: &mut Random, count: usize, kinds: [Kind; 3], form: Form) -> Self {
        let [gate, up, down] = kinds;
        let step = |(which, dense): Kind| if dense { 1 } else { packed_shape(which, 0).1 };
        // Columns that suit both; of nested scales, one super-block.
        let columns = step(gate).max(step(up)) * if step(gate).max(step(up)) < 128 { 2 } else { 1 };
        let features = step(down) * if step(down) < 33 { 3 } else { 1 };
        let mut stacked = |(which, dense): Kind, rows: usize, columns: usize| {
            let mut one = |_| match dense {
                true => Stored::dense(
                    [Float::F32, Float::F16, Float::Bf16][which % 3],
                    rows,
                    columns,
                    random,
                ),
                false => Stored::packed(packed_shape(which, 0).0, rows, columns, random),
            };
            Stacked::new((0..count).map(&mut one).collect())
        };
        let gate = stacked(gate, features, columns);
        let up = stacked(up, features, columns);
        let down = stacked(down, columns, features);
        let biases = (random.below(2) == 0)
            .then(|| [features, features, columns].map(|rows| random.floats(count * rows)));
        Self { form, gate, up, down, biases }
    }

    fn experts(&self) -> Experts<'_> {
        let bias = |n: usize| self.biases.as_ref().map(|biases| &biases[n][..]);
        let (gate, up) = (self.gate.stack(), self.up.stack());
        let inner = match self.form {
            Form::Gated(activation) => {
                let biases = bias(0).zip(bias(1)).map(|(gate, up)| [gate, up]);
                Inner::Gated { gate, up, biases, activation }
            }
            Form::Plain(activation) => Inner::Plain { up, bias: bias(1), activation },
        };
        Experts { inner, down: self.down.stack(), down_bias: bias(2) }
    }

    fn width(&self) -> usize {
        self.up.stack().columns
    }

    /// An expert's result for a token, with bounds of the errors that rounding activations to
    /// integers of at most `limit` and sums in f32 may have.
    fn result(&self, expert: usize, x: &[f32], limit: f64) -> Vec<Bounded> {
        let x: Vec<Bounded> = x.iter().map(|x| Bounded::exact(f64::from(*x))).collect();
        let product = |n: usize, stack: &Stacked, x: &[Bounded]| {
            let stored = &stack.experts[expert];
            let mut products = products(stored, x, limit);
            if let Some(biases) = &self.biases {
                let biases = &biases[n][expert * stored.rows..][..stored.rows];
                for (product, bias) in products.iter_mut().zip(biases) {
                    product.value += f64::from(*bias);
                    product.error += 1e-7 * product.value.abs();
                }
            }
            products
        };
        let up = product(1, &self.up, &x);
        let features: Vec<Bounded> = match self.form {
            Form::Plain(activation) => up.into_iter().map(|up| up.activate(activation)).collect(),
            Form::Gated(gate) => {
                let gates = product(0, &self.gate, &x);
                gates.into_iter().zip(up).map(|(g, u)| g.gate(gate, u)).collect()
            }
        };
        product(2, &self.down, &features)
    }
}

/// A number, and how far off it may be.
#[derive(Clone, Copy)]
struct Bounded {
    value: f64,
    error: f64,
}

impl Bounded {
    fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }

    fn times(self, other: Self) -> Self {
        let (a, b) = (self.value.abs() + self.error, other.value.abs() + other.error);
        let value = self.value * other.value;
        Self { value, error: a * other.error + b * self.error + 1e-7 * value.abs() }
    }

    /// Steepness: 2 x for the square, at most 1.13 for the others.
    fn activate(self, activation: Activation) -> Self {
        let x = self.value;
        let (value, slope) = match activation {
            Activation::Silu => (x / (1.0 + (-x).exp()), 1.13),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                (0.5 * x * (1.0 + inner.tanh()), 1.13)
            }
            Activation::Gelu => (x * normal(x), 1.13),
            Activation::Relu => (x.max(0.0), 1.0),
            Activation::Relu2 => (x.max(0.0).powi(2), 2.0 * (x.abs() + self.error)),
        };
        Self { value, error: slope * self.error + 1e-6 * x.abs().min(value.abs() + 1e-3) }
    }

    fn gate(self, gate: Gate, up: Self) -> Self {
        match gate {
            Gate::Plain(activation) => self.activate(activation).times(up),
            Gate::ClampedSwiglu { alpha, limit } => {
                let (alpha, limit) = (f64::from(alpha), f64::from(limit));
                let (g, u) = (self.value.min(limit), up.value.clamp(-limit, limit));
                let value = g / (1.0 + (-alpha * g).exp());
                let gate = Self { value, error: 1.13 * self.error + 1e-6 * g.abs() };
                let up = Self { value: u + 1.0, error: up.error + 1e-7 * (u.abs() + 1.0) };
                gate.times(up)
            }
        }
    }
}

/// The normal distribution's share below x, by its continued fraction or its series.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let magnitude = x.abs();
    let above = if magnitude > 3.0 {
        density / (1..200).rev().fold(magnitude, |below, n| magnitude + f64::from(n) / below)
    } else {
        let (mut term, mut sum) = (magnitude, magnitude);
        for n in 1..200 {
            term *= magnitude * magnitude / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - density * sum
    };
    if x < 0.0 { above } else { 1.0 - above }
}

/// `W · x`. Packed weights round x to integers, in groups.
fn products(stored: &Stored, x: &[Bounded], limit: f64) -> Vec<Bounded> {
    let group = match stored.matrix().weight {
        Weight::Packed { packing, .. } => Some(packing.group()),
        Weight::Dense { .. } => None,
    };
    let rounding: Vec<f64> = match group {
        Some(group) => x.chunks(group).flat_map(|x| {
            let largest = x.iter().map(|x| x.value.abs() + x.error).fold(0.0, f64::max);
            vec![0.505 * largest / limit; x.len()]
        }),
        None => return rows(stored, x, &vec![0.0; x.len()]),
    }
    .collect();
    rows(stored, x, &rounding)
}

fn rows(stored: &Stored, x: &[Bounded], rounding: &[f64]) -> Vec<Bounded> {
    let row = |row: &[f32]| {
        let mut sum = Bounded::exact(0.0);
        for ((w, x), rounding) in row.iter().zip(x).zip(rounding) {
            let w = f64::from(*w);
            sum.value += w * x.value;
            sum.error += w.abs() * (x.error + rounding + 3e-6 * x.value.abs());
        }
        sum
    };
    stored.values.chunks_exact(stored.columns).map(row).collect()
}

/// A step's operands.
struct Step {
    x: Vec<f32>,
    live: Vec<i32>,
    chosen: Vec<i32>,
    weights: Vec<f32>,
    residual: Vec<f32>,
    choices: usize,
}

impl Step {
    /// Some experts are chosen often, others never; some more than once by a token, some by numbers
    /// beyond the ends.
    fn random(
        random: &mut Random,
        tokens: usize,
        choices: usize,
        experts: usize,
        width: usize,
    ) -> Self {
        let favourite = random.below(experts) as i32;
        let only = random.below(4) == 0;
        let mut choose = || match random.below(8) {
            _ if only => favourite,
            0..3 => favourite,
            3 => -(random.below(3) as i32),
            4 => (experts + random.below(3)) as i32 - 1,
            _ => random.below(experts) as i32,
        };
        let chosen = (0..tokens * choices).map(|_| choose()).collect();
        Self {
            x: random.activations(tokens * width),
            live: random.live(tokens),
            chosen,
            weights: random.floats(tokens * choices),
            residual: random.floats(tokens * width),
            choices,
        }
    }

    fn run(&self, kernels: &Kernels, network: &Network, residual: bool) -> Vec<f32> {
        let mut out = vec![f32::NAN; self.x.len()];
        let routing = Routing { live: &self.live, chosen: &self.chosen, weights: &self.weights };
        let residual = residual.then_some(&self.residual[..]);
        kernels.experts(&network.experts(), &routing, &self.x, residual, &mut out).unwrap();
        out
    }

    /// One of the tokens.
    fn token(&self, token: usize) -> Self {
        let width = self.x.len() / self.live.len();
        let row = |values: &[f32]| values[token * width..][..width].to_vec();
        let choices = token * self.choices..(token + 1) * self.choices;
        Self {
            x: row(&self.x),
            live: vec![self.live[token]],
            chosen: self.chosen[choices.clone()].to_vec(),
            weights: self.weights[choices].to_vec(),
            residual: row(&self.residual),
            choices: self.choices,
        }
    }

    /// A token's results in f64.
    fn expected(&self, network: &Network, token: usize, limit: f64) -> Vec<Bounded> {
        let one = self.token(token);
        let experts = network.down.experts.len() as i32;
        let mut sums: Vec<Bounded> =
            one.residual.iter().map(|value| Bounded::exact(f64::from(*value))).collect();
        for (chosen, weight) in one.chosen.iter().zip(&one.weights) {
            let expert = (*chosen).clamp(0, experts - 1) as usize;
            let results = network.result(expert, &one.x, limit);
            for (sum, result) in sums.iter_mut().zip(results) {
                let part = result.times(Bounded::exact(f64::from(*weight)));
                sum.value += part.value;
                sum.error += part.error + 2e-7 * (part.value.abs() + sum.value.abs());
            }
        }
        sums
    }
}

/// A packing, or floats.
fn kind() -> impl Strategy<Value = Kind> {
    (which(), prop::bool::weighted(0.2))
}

fn kinds() -> impl Strategy<Value = [Kind; 3]> {
    // Gate and up mostly are stored alike.
    (kind(), kind(), kind(), any::<bool>())
        .prop_map(|(gate, up, down, alike)| [gate, if alike { gate } else { up }, down])
}

fn form() -> impl Strategy<Value = Form> {
    let activation = prop_oneof![
        Just(Activation::Silu),
        Just(Activation::GeluTanh),
        Just(Activation::Gelu),
        Just(Activation::Relu),
        Just(Activation::Relu2),
    ];
    prop_oneof![
        activation.clone().prop_map(|activation| Form::Gated(activation.into())),
        Just(Form::Gated(Gate::ClampedSwiglu { alpha: 1.702, limit: 0.7 })),
        activation.prop_map(Form::Plain),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn networks_of_experts(
        seed: u64, kinds in kinds(), form in form(), int8: bool, tokens in 1usize..7, choices in 1usize..4,
        experts in 1usize..6,
    ) {
        let random = &mut Random::new(seed);
        let network = Network::random(random, experts, kinds, form);
        let width = network.width();
        let step = Step::random(random, tokens, choices, experts, width);
        let (activations, limit) =
            if int8 { (Activations::Int8, 127.0) } else { (Activations::Exact, 32767.0) };
        let expected: Vec<_> =
            (0..tokens).map(|token| step.expected(&network, token, limit)).collect();
        for isa in isas() {
            let kernels = Kernels::new(isa, 1 + tokens % 3, activations);
            let out = step.run(&kernels, &network, true);
            for (n, got) in out.iter().enumerate() {
                if step.live[n / width] < 0 {
                    prop_assert_eq!(got.to_bits(), 0);
                    continue;
                }
                let Bounded { value, error } = expected[n / width][n % width];
                let off = (f64::from(*got) - value).abs();
                prop_assert!(off <= error + 1e-9, "{isa} {kinds:?}: {got}, not {value}, {off} > {error}");
            }
        }
    }

    /// A token's bits depend on nothing beside it: tokens, threads, padding, who else has its
    /// experts.
    #[test]
    fn tokens_stand_alone(
        seed: u64, kinds in kinds(), form in form(), int8: bool, tokens in 2usize..70, choices in 1usize..4,
        experts in 1usize..9, residual: bool,
    ) {
        let random = &mut Random::new(seed);
        let network = Network::random(random, experts, kinds, form);
        let step = Step::random(random, tokens, choices, experts, network.width());
        let activations = if int8 { Activations::Int8 } else { Activations::Exact };
        for isa in isas() {
            let (one, three) = (Kernels::new(isa, 1, activations), Kernels::new(isa, 3, activations));
            let all = step.run(&three, &network, residual);
            prop_assert_eq!(bits(&step.run(&one, &network, residual)), bits(&all));
            for (token, all) in all.chunks_exact(network.width()).enumerate() {
                let alone = step.token(token).run(&one, &network, residual);
                prop_assert_eq!(bits(&alone), bits(all), "{} {} {:?}", isa, token, kinds);
            }
        }
    }

    /// Whatever the sizes are, the answer is an error or a result.
    #[test]
    fn sizes_of_experts_that_do_not_fit(
        which in which(), dense: bool, shapes in prop::array::uniform3(prop::array::uniform3(0usize..5)),
        sizes in prop::array::uniform6(0usize..17), words in prop::array::uniform3(0usize..300), biased: bool,
    ) {
        let (packing, step) = packed_shape(which, 0);
        let stores = words.map(|words| vec![0u32; words]);
        let bytes = words.map(|words| vec![0u8; words]);
        let stack = |n: usize| {
            let [count, rows, columns] = shapes[n];
            let columns = if dense { columns } else { columns * step };
            let weight = match dense {
                true => Weight::Dense { float: Float::F32, bytes: &bytes[n] },
                false => Weight::Packed { packing, words: &stores[n] },
            };
            Stack { weight, count, rows, columns }
        };
        let floats = sizes.map(|size| vec![0.0f32; size]);
        let [x, live, chosen, weights, bias, result] = sizes;
        let inner = match biased {
            true => Inner::Gated {
                gate: stack(0), up: stack(1), biases: Some([&floats[4], &floats[4]]),
                activation: Activation::Silu.into(),
            },
            false => Inner::Plain { up: stack(1), bias: None, activation: Activation::Relu },
        };
        let down_bias = biased.then_some(&floats[4][..]);
        let experts = Experts { inner, down: stack(2), down_bias };
        let (live, chosen) = (vec![0; live], vec![1; chosen]);
        let routing = Routing { live: &live, chosen: &chosen, weights: &floats[3] };
        let kernels = Kernels::new(Isa::best(), 1, Activations::Exact);
        let mut out = vec![0.0; result];
        let done = kernels.experts(&experts, &routing, &floats[0], None, &mut out);
        let tokens = live.len();
        let width = stack(2).rows;
        let fit = x == tokens * width && result == tokens * width && chosen.len() == weights
            && (!biased || bias == stack(2).count * width);
        prop_assert!(fit || done.is_err());
    }
}

/// All kinds of weights, also where a property test seldom comes: one expert by one is what gates
/// and products are.
#[test]
fn one_expert_is_a_gate_and_a_product() {
    let random = &mut Random::new(31);
    let mut kinds: Vec<Kind> = (0..packings().len()).map(|which| (which, false)).collect();
    kinds.extend((0..3).map(|which| (which, true)));
    for (which, dense) in kinds {
        let form = Form::Gated(Activation::Silu.into());
        let mut network = Network::random(random, 3, [(which, dense); 3], form);
        network.biases = None;
        let width = network.width();
        for tokens in [1, 3, 20] {
            let mut step = Step::random(random, tokens, 1, 3, width);
            step.live.fill(0);
            step.weights.fill(1.0);
            for isa in isas() {
                let kernels = Kernels::new(isa, 2, Activations::Exact);
                let out = step.run(&kernels, &network, false);
                for token in 0..tokens {
                    let expert = step.chosen[token].clamp(0, 2) as usize;
                    let [gate, up] =
                        [&network.gate, &network.up].map(|stack| stack.experts[expert].matrix());
                    let mut features = vec![0.0; gate.rows];
                    let x = &step.x[token * width..][..width];
                    kernels.gated(x, &[0], gate, up, Activation::Silu, &mut features).unwrap();
                    let down = &network.down.experts[expert];
                    let expected = crate::linear(&kernels, &features, &[0], down);
                    // The sum begins with 0, to which −0 is added.
                    assert_eq!(out[token * width..][..width], expected, "{isa} {which} {dense}");
                }
            }
        }
    }
}

/// More activations than are multiplied at once, more results than are there at a time.
#[test]
fn many_routes() {
    let random = &mut Random::new(37);
    let which = packings().iter().position(|packing| packing.group() == 32).unwrap();
    let (packing, _) = packed_shape(which, 0);
    let (experts, features, width, choices) = (5, 32, 1024, 8);
    let mut stacked = |rows: usize, columns: usize| {
        Stacked::new((0..experts).map(|_| Stored::packed(packing, rows, columns, random)).collect())
    };
    let up = stacked(features, width);
    let down = stacked(width, features);
    let gate = stacked(features, width);
    let network = Network { form: Form::Plain(Activation::Relu2), gate, up, down, biases: None };
    let step = Step::random(random, 1100, choices, experts, width);
    let kernels = Kernels::new(Isa::best(), 3, Activations::Exact);
    let out = step.run(&kernels, &network, true);
    for token in (0..1100).step_by(7) {
        let alone = step.token(token).run(&kernels, &network, true);
        assert_eq!(bits(&alone), bits(&out[token * width..][..width]), "{token}");
    }
}

#[test]
fn experts_of_nothing() {
    let kernels = Kernels::new(Isa::best(), 2, Activations::Exact);
    let form = Form::Gated(Activation::Silu.into());
    let network = Network::random(&mut Random::new(3), 2, [(0, true); 3], form);
    let width = network.width();
    let run = |live: &[i32], choices: usize, residual: Option<&[f32]>| {
        let (chosen, weights) = (vec![1; live.len() * choices], vec![1.0; live.len() * choices]);
        let routing = Routing { live, chosen: &chosen, weights: &weights };
        let mut out = vec![f32::NAN; live.len() * width];
        let x = vec![0.5; live.len() * width];
        kernels.experts(&network.experts(), &routing, &x, residual, &mut out).unwrap();
        out
    };
    assert_eq!(run(&[], 3, None), vec![]);
    assert_eq!(run(&[-1, -1], 3, None), vec![0.0; 2 * width]);
    let ones = vec![1.0; 2 * width];
    assert_eq!(run(&[0, 0], 0, Some(&ones)), ones);
    // Among no experts nothing can be chosen.
    let weight = Weight::Dense { float: Float::F32, bytes: &[] };
    let stack = |rows, columns| Stack { weight, count: 0, rows, columns };
    let inner = Inner::Plain { up: stack(3, 2), bias: None, activation: Activation::Relu };
    let experts = Experts { inner, down: stack(2, 3), down_bias: None };
    let routing = Routing { live: &[0], chosen: &[0], weights: &[1.0] };
    let error = kernels.experts(&experts, &routing, &[1.0; 2], None, &mut [0.0; 2]).unwrap_err();
    assert!(error.to_string().contains("no experts"), "{error}");
    let routing = Routing { live: &[0], chosen: &[], weights: &[] };
    let mut out = [1.0; 2];
    kernels.experts(&experts, &routing, &[1.0; 2], None, &mut out).unwrap();
    assert_eq!(out, [0.0; 2]);
}
