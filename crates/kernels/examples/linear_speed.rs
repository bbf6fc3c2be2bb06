//! How fast products in the shape of Llama-3.2-1B are, beside reading the weights and nothing else.
//!
//! `cargo run --release -p stablemate-kernels --example linear_speed -- [encoding] [int8] [threads] [tokens …]`, where the
//! encoding is q4_0 (the default), q4_1, q8_0, q4_k, q6_k, mlx4, mxfp4, nf4, f16, bf16 or f32.

use std::hint::black_box;
use std::time::{Duration, Instant};

use stablemate_encodings::{Bits, Codebook, Float, Nested, Packing, Scales};
use stablemate_kernels::{Activation, Activations, Isa, Kernels, Matrix, Product, Weight};

const LAYERS: usize = 16;
const WIDTH: usize = 2048;
const HIDDEN: usize = 8192;
const VOCABULARY: usize = 128_256;

/// Words at addresses that are multiples of 64.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

#[derive(Clone, Copy)]
enum Encoding {
    Dense(Float),
    Packed(Packing),
}

struct Stored {
    encoding: Encoding,
    rows: usize,
    columns: usize,
    lines: Vec<Line>,
}

impl Stored {
    fn new(encoding: Encoding, rows: usize, columns: usize) -> Self {
        let words = match encoding {
            Encoding::Dense(float) => rows * columns * float.bytes() / 4,
            Encoding::Packed(packing) => packing.words(rows, columns),
        };
        // Neither large numbers nor subnormal ones in any encoding.
        let mut state = rows as u32;
        let mut word = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 3) & 0x0FFF_0FFF | 0x2000_2000
        };
        let lines =
            (0..words.div_ceil(16)).map(|_| Line(std::array::from_fn(|_| word()))).collect();
        Self { encoding, rows, columns, lines }
    }

    fn words(&self) -> &[u32] {
        // SAFETY: lines are arrays of words without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 16) }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: as above; words are bytes.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 64) }
    }

    fn matrix(&self) -> Matrix<'_> {
        let weight = match self.encoding {
            Encoding::Dense(float) => Weight::Dense { float, bytes: self.bytes() },
            Encoding::Packed(packing) => Weight::Packed { packing, words: self.words() },
        };
        Matrix { weight, rows: self.rows, columns: self.columns }
    }
}

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
            query: Stored::new(encoding, WIDTH, WIDTH),
            key: Stored::new(encoding, 512, WIDTH),
            value: Stored::new(encoding, 512, WIDTH),
            output: Stored::new(encoding, WIDTH, WIDTH),
            gate: Stored::new(encoding, HIDDEN, WIDTH),
            up: Stored::new(encoding, HIDDEN, WIDTH),
            down: Stored::new(encoding, WIDTH, HIDDEN),
        }
    }

    fn all(&self) -> [&Stored; 7] {
        [&self.query, &self.key, &self.value, &self.output, &self.gate, &self.up, &self.down]
    }
}

fn encoding(name: &str) -> Option<Encoding> {
    let packed = |bits, group, scales| Packing::new(bits, group, scales).ok().map(Encoding::Packed);
    match name {
        "q4_0" => packed(Bits::Four, 32, Scales::Centred(Float::F16)),
        "q8_0" => packed(Bits::Eight, 32, Scales::Centred(Float::F16)),
        "q4_1" => packed(Bits::Four, 32, Scales::Affine(Float::F16)),
        "q4_k" => packed(Bits::Four, 32, Scales::Nested(Nested::MinimumsSix)),
        "q6_k" => packed(Bits::Six, 16, Scales::Nested(Nested::CentredEight)),
        "mlx4" => packed(Bits::Four, 64, Scales::Affine(Float::Bf16)),
        "mxfp4" => packed(Bits::Four, 32, Scales::Codebook(Codebook::Mxfp4)),
        "nf4" => packed(Bits::Four, 64, Scales::Codebook(Codebook::Nf4(Float::F16))),
        "f16" => Some(Encoding::Dense(Float::F16)),
        "bf16" => Some(Encoding::Dense(Float::Bf16)),
        "f32" => Some(Encoding::Dense(Float::F32)),
        _ => None,
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

fn product<'a>(stored: &'a Stored, out: &'a mut [f32]) -> Product<'a> {
    Product { matrix: stored.matrix(), residual: None, out }
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
            let (gate, up) = (layer.gate.matrix(), layer.up.matrix());
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

/// Reads words, in the same pool.
fn read(kernels: &Kernels, stored: &Stored) {
    const PIECE: usize = 1 << 11;
    let pieces = stored.lines.len().div_ceil(PIECE);
    kernels.pool().run(pieces, &|piece| {
        let lines = &stored.lines[piece * PIECE..];
        let mut sums = [[0u32; 16]; 4];
        for four in lines[..PIECE.min(lines.len())].chunks_exact(4) {
            for (sums, line) in sums.iter_mut().zip(four) {
                for (sum, word) in sums.iter_mut().zip(&line.0) {
                    *sum |= *word;
                }
            }
        }
        black_box(sums);
    });
}

fn read_all(kernels: &Kernels, layers: &[Layer], head: &Stored, best: &mut Best) {
    for layer in layers {
        best.measure(0, || {
            [&layer.query, &layer.key, &layer.value].iter().for_each(|stored| read(kernels, stored))
        });
        best.measure(1, || read(kernels, &layer.output));
        best.measure(2, || {
            [&layer.gate, &layer.up].iter().for_each(|stored| read(kernels, stored))
        });
        best.measure(3, || read(kernels, &layer.down));
    }
    best.measure(4, || read(kernels, head));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let encoding = arguments.iter().find_map(|name| encoding(name));
    let encoding = encoding.or_else(|| self::encoding("q4_0")).expect("it is known");
    let int8 = arguments.iter().any(|argument| argument == "int8");
    let numbers: Vec<usize> =
        arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    let threads = numbers.first().copied().unwrap_or(2);
    let counts = if numbers.len() > 1 { numbers[1..].to_vec() } else { vec![1, 8, 16, 128, 512] };
    let isas = Isa::ALL.into_iter().find(|isa| arguments.iter().any(|name| name == isa.name()));
    let activations = if int8 { Activations::Int8 } else { Activations::Exact };
    let kernels = Kernels::new(isas.unwrap_or(Isa::best()), threads, activations);
    let layers: Vec<Layer> = (0..LAYERS).map(|_| Layer::new(encoding)).collect();
    let head = Stored::new(encoding, VOCABULARY, WIDTH);
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
