//! How fast products in the shape of Llama-3.2-1B are, beside reading the weights and nothing else.
//!
//! `cargo run --release -p stablemate-kernels --example linear_speed -- [encoding] [int8] [threads] [tokens …]`, where the
//! encoding is q4_0 (the default), q4_1, q8_0, q4_k, q6_k, mlx4, mxfp4, nf4, f16, bf16 or f32.

mod support;

use std::time::{Duration, Instant};

use stablemate_kernels::{Activation, Activations, Isa, Kernels, Matrix, Product};
use support::{Encoding, Stored, encoding, read};

const LAYERS: usize = 16;
const WIDTH: usize = 2048;
const HIDDEN: usize = 8192;
const VOCABULARY: usize = 128_256;

struct Layer {
    query: Stored,
    key: Stored,
    value: Stored,
    output: Stored,
    gate: Stored,
    up: Stored,
    down: Stored,
}

impl Layer {
    fn new(encoding: Encoding) -> Self {
        Self {
            query: Stored::new(encoding, 1, WIDTH, WIDTH),
            key: Stored::new(encoding, 1, 512, WIDTH),
            value: Stored::new(encoding, 1, 512, WIDTH),
            output: Stored::new(encoding, 1, WIDTH, WIDTH),
            gate: Stored::new(encoding, 1, HIDDEN, WIDTH),
            up: Stored::new(encoding, 1, HIDDEN, WIDTH),
            down: Stored::new(encoding, 1, WIDTH, HIDDEN),
        }
    }

    fn all(&self) -> [&Stored; 7] {
        [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down]
    }
}

/// The shortest time of each kind of call: a busy machine makes whole steps slow, seldom all calls of a kind.
#[derive(Clone, Copy)]
struct Best([Duration; 5]);

impl Best {
    fn measure(&mut self, kind: usize, call: impl FnOnce()) {
        let start = Instant::now();
        call();
        self.0[kind] = self.0[kind].min(start.elapsed());
    }

    /// Of a step.
    fn seconds(&self) -> f64 {
        let [attention @ .., head] = self.0.map(|time| time.as_secs_f64());
        attention.iter().sum::<f64>() * LAYERS as f64 + head
    }
}

fn matrix(stored: &Stored) -> Matrix<'_> {
    Matrix { weight: stored.weight(), rows: stored.rows, columns: stored.columns }
}

fn product<'a>(stored: &'a Stored, out: &'a mut [f32]) -> Product<'a> {
    Product { matrix: matrix(stored), residual: None, out }
}

/// All products of a step of as many tokens as `live`. The head's is for at most 16 of them.
fn step(
    kernels: &Kernels,
    layers: &[Layer],
    head: &Stored,
    live: &[i32],
    buffers: &mut [Vec<f32>; 6],
    best: &mut Best,
) {
    let tokens = live.len();
    let [x, query, key, value, hidden, logits] = buffers;
    let query = &mut query[..tokens * WIDTH];
    let hidden = &mut hidden[..tokens * HIDDEN];
    let x = &x[..tokens * WIDTH];
    for layer in layers {
        best.measure(0, || {
            let products = &mut [
                product(&layer.query, query),
                product(&layer.key, &mut key[..tokens * 512]),
                product(&layer.value, &mut value[..tokens * 512]),
            ];
            kernels.linear(x, live, products).expect("sizes");
        });
        best.measure(1, || {
            kernels.linear(x, live, &mut [product(&layer.output, query)]).expect("sizes");
        });
        best.measure(2, || {
            let (gate, up) = (matrix(&layer.gate), matrix(&layer.up));
            kernels.gated(x, live, gate, up, Activation::Silu, hidden).expect("sizes");
        });
        best.measure(3, || {
            kernels.linear(hidden, live, &mut [product(&layer.down, query)]).expect("sizes");
        });
    }
    let rows = tokens.min(16);
    best.measure(4, || {
        let out = &mut logits[..rows * VOCABULARY];
        let (x, live) = (&x[..rows * WIDTH], &live[..rows]);
        kernels.linear(x, live, &mut [product(head, out)]).expect("sizes");
    });
}

fn read_all(kernels: &Kernels, layers: &[Layer], head: &Stored, best: &mut Best) {
    for layer in layers {
        best.measure(0, || {
            let all = [&layer.query, &layer.key, &layer.value];
            all.iter().for_each(|stored| read(kernels, &[&stored.lines]));
        });
        best.measure(1, || read(kernels, &[&layer.output.lines]));
        best.measure(2, || {
            [&layer.gate, &layer.up].iter().for_each(|stored| read(kernels, &[&stored.lines]));
        });
        best.measure(3, || read(kernels, &[&layer.down.lines]));
    }
    best.measure(4, || read(kernels, &[&head.lines]));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let encoding = arguments.iter().find_map(|name| encoding(name));
    let encoding = encoding.or_else(|| support::encoding("q4_0")).expect("it is known");
    let int8 = arguments.iter().any(|argument| argument == "int8");
    let numbers: Vec<usize> =
        arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let counts = if numbers.len() > 1 { numbers[1..].to_vec() } else { vec![1, 8, 16, 128, 512] };
    let isas = Isa::ALL.into_iter().find(|isa| arguments.iter().any(|name| name == isa.name()));
    let activations = if int8 { Activations::Int8 } else { Activations::Exact };
    let kernels = Kernels::new(isas.unwrap_or(Isa::best()), threads, activations);
    let layers: Vec<Layer> = (0..LAYERS).map(|_| Layer::new(encoding)).collect();
    let head = Stored::new(encoding, 1, VOCABULARY, WIDTH);
    let mut all: Vec<&Stored> = layers.iter().flat_map(Layer::all).collect();
    all.push(&head);
    let bytes: usize = all.iter().map(|stored| stored.lines.len() * 64).sum();
    println!("{} on {threads} threads, {:.2} GB", kernels.isa(), bytes as f64 / 1e9);
    for tokens in counts {
        let sizes = [HIDDEN * tokens, HIDDEN * tokens, 512 * tokens, 512 * tokens, HIDDEN * tokens];
        let [x, query, key, value, hidden] = sizes.map(|count| vec![0.1; count]);
        let logits = vec![0.0; tokens.min(16) * VOCABULARY];
        let mut buffers = [x, query, key, value, hidden, logits];
        let live = vec![0; tokens];
        let mut best = [Best([Duration::MAX; 5]); 2];
        let start = Instant::now();
        let mut whole = Vec::new();
        while whole.len() < 2 || start.elapsed() < Duration::from_secs(3) {
            read_all(&kernels, &layers, &head, &mut best[0]);
            let start = Instant::now();
            step(&kernels, &layers, &head, &live, &mut buffers, &mut best[1]);
            whole.push(start.elapsed());
        }
        whole.sort_unstable();
        let median = whole[whole.len() / 2].as_secs_f64();
        println!(
            "T={tokens}: {:.1} tokens/s, {:.1} GB/s (median of whole steps)",
            tokens as f64 / median,
            bytes as f64 / median / 1e9,
        );
        let [reading, step] = best.map(|best| best.seconds());
        println!(
            "    best of each call: {:.1} tokens/s, {:.1} GB/s; reading alone {:.1} GB/s; share {:.0} %",
            tokens as f64 / step,
            bytes as f64 / step / 1e9,
            bytes as f64 / reading / 1e9,
            100.0 * reading / step,
        );
        let times = best[1].0.map(|time| time.as_micros());
        println!("    microseconds of qkv, o, gated, down, head: {times:?}");
    }
}
