//! How fast networks of experts in the shape of Qwen3.6-35B-A3B are, beside reading the weights of
//! the chosen experts and nothing else.
//!
//! `cargo run --release -p stablemate-kernels --example experts_speed -- [encoding] [int8] [isa]
//! [threads] [tokens …]`, where encodings are those of `linear_speed`.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use stablemate_kernels::{Activation, Activations, Experts, Inner, Isa, Kernels, Routing, Stack};
use support::{Line, Stored, encoding, read};

const LAYERS: usize = 3;
const WIDTH: usize = 2048;
const FEATURES: usize = 512;
const EXPERTS: usize = 256;
const CHOICES: usize = 8;

struct Layer {
    gate: Stored,
    up: Stored,
    down: Stored,
}

fn stack(stored: &Stored) -> Stack<'_> {
    let (rows, columns) = (stored.rows, stored.columns);
    Stack { weight: stored.weight(), count: EXPERTS, rows, columns }
}

impl Layer {
    fn all(&self) -> [&Stored; 3] {
        [&self.gate, &self.up, &self.down]
    }

    fn experts(&self) -> Experts<'_> {
        let [gate, up, down] = self.all().map(stack);
        let inner = Inner::Gated { gate, up, biases: None, activation: Activation::Silu.into() };
        Experts { inner, down, down_bias: None }
    }

    /// The weights of the chosen experts.
    fn chosen(&self, chosen: &[i32]) -> Vec<&[Line]> {
        let each = self.gate.lines.len() / EXPERTS;
        let of =
            |expert: i32| self.all().map(|stored| &stored.lines[expert as usize * each..][..each]);
        BTreeSet::from_iter(chosen).into_iter().flat_map(|expert| of(*expert)).collect()
    }

    /// Their bytes.
    fn bytes(&self, chosen: &[i32]) -> usize {
        self.chosen(chosen).iter().map(|lines| lines.len() * 64).sum()
    }
}

/// For each token, different experts.
fn choose(state: &mut u32, tokens: usize) -> Vec<i32> {
    let mut all: Vec<i32> = (0..EXPERTS as i32).collect();
    let mut chosen = Vec::new();
    for _ in 0..tokens {
        for n in 0..CHOICES {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            all.swap(n, n + (*state >> 8) as usize % (EXPERTS - n));
        }
        chosen.extend(&all[..CHOICES]);
    }
    chosen
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let encoding = arguments.iter().find_map(|name| encoding(name));
    let encoding = encoding.or_else(|| support::encoding("q4_0")).expect("it is known");
    let int8 = arguments.iter().any(|argument| argument == "int8");
    let numbers: Vec<usize> =
        arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let counts = if numbers.len() > 1 { numbers[1..].to_vec() } else { vec![1, 8, 128, 512] };
    let isa = Isa::ALL.into_iter().find(|isa| arguments.iter().any(|name| name == isa.name()));
    let activations = if int8 { Activations::Int8 } else { Activations::Exact };
    let kernels = Kernels::new(isa.unwrap_or(Isa::best()), threads, activations);
    let layer = |_| Layer {
        gate: Stored::new(encoding, EXPERTS, FEATURES, WIDTH),
        up: Stored::new(encoding, EXPERTS, FEATURES, WIDTH),
        down: Stored::new(encoding, EXPERTS, WIDTH, FEATURES),
    };
    let layers: Vec<Layer> = (0..LAYERS).map(layer).collect();
    let all = layers.iter().flat_map(Layer::all).map(|stored| stored.lines.len() * 64);
    let bytes = all.sum::<usize>() as f64 / 1e9;
    println!("{} on {threads} threads, {bytes:.2} GB in {LAYERS} layers", kernels.isa());
    let mut state = 1;
    for tokens in counts {
        let x = vec![0.1; tokens * WIDTH];
        let mut out = vec![0.0; tokens * WIDTH];
        let (live, weights) = (vec![0; tokens], vec![0.125; tokens * CHOICES]);
        let mut rates = [Vec::new(), Vec::new()];
        let start = Instant::now();
        while rates[0].len() < 24 || start.elapsed() < Duration::from_secs(3) {
            for layer in &layers {
                let chosen = choose(&mut state, tokens);
                let routing = Routing { live: &live, chosen: &chosen, weights: &weights };
                let bytes = layer.bytes(&chosen);
                rates[0].push(rate(bytes, || {
                    let experts = layer.experts();
                    kernels.experts(&experts, &routing, &x, Some(&x), &mut out).expect("sizes");
                }));
                // Other experts, which are in no cache.
                let chosen = choose(&mut state, tokens);
                let lines = layer.chosen(&chosen);
                rates[1].push(rate(layer.bytes(&chosen), || read(&kernels, &lines)));
            }
        }
        let [computed, reading] = rates.map(|mut rates| {
            rates.sort_unstable_by(f64::total_cmp);
            [rates.len() / 2, rates.len() * 9 / 10].map(|place| rates[place])
        });
        let bytes = layers[0].bytes(&choose(&mut state, tokens)) as f64 / 1e6;
        for (what, n) in [("median", 0), ("fastest tenth", 1)] {
            println!(
                "T={tokens}, {what}: a layer in {:.2} ms, {:.1} GB/s of {:.1} GB/s read, {:.0} %",
                bytes / computed[n],
                computed[n],
                reading[n],
                100.0 * computed[n] / reading[n],
            );
        }
    }
}

/// Gigabytes per second of a call that reads `bytes`.
fn rate(bytes: usize, call: impl FnOnce()) -> f64 {
    let start = Instant::now();
    call();
    bytes as f64 / start.elapsed().as_secs_f64() / 1e9
}
