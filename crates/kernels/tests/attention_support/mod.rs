//! Steps over a paged cache with known content, and attention in f64.

#![allow(dead_code, reason = "each test uses some of it")]

use half::f16;
use stablemate_kernels::{
    Addresses, Attention, AttentionOperands, CacheElement, Isa, KernelError, Kernels,
};

/// Numbers that look random (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Between -1 and 1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    }
}

/// What a step is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    pub seed: u64,
    pub attention: Attention,
    pub sinks: bool,
    pub sequences: usize,
    pub block_length: usize,
    /// Longest context.
    pub context: usize,
    pub tokens: usize,
}

/// A step and its cache. Slots that no token sees hold what decodes to NaN.
#[derive(Clone)]
pub struct Step {
    pub attention: Attention,
    pub query: Vec<f32>,
    pub keys: Vec<u8>,
    pub values: Vec<u8>,
    pub sinks: Option<Vec<f32>>,
    pub positions: Vec<i32>,
    pub sequences: Vec<i32>,
    pub block_tables: Vec<i32>,
    pub sequences_count: usize,
    pub pages: usize,
    pub block_length: usize,
}

impl Step {
    pub fn new(shape: &Shape) -> Self {
        let numbers = &mut Numbers(shape.seed);
        let Shape { attention, block_length, .. } = *shape;
        let pages = shape.context.div_ceil(block_length) + numbers.below(3);
        let blocks = shape.sequences * pages + 1 + numbers.below(3);
        let (positions, sequences) = tokens(shape, numbers);
        let block_tables = tables(shape, &positions, &sequences, pages, blocks, numbers);
        let rows = attention.kv_heads * attention.group;
        let row_bytes = |width| attention.element.row_bytes(width).expect("small");
        let pool =
            |width| vec![0xFF; blocks * block_length * attention.kv_heads * row_bytes(width)];
        let mut step = Self {
            attention,
            query: floats(positions.len() * rows * attention.key_width, numbers),
            keys: pool(attention.key_width),
            values: pool(attention.value_width),
            sinks: shape.sinks.then(|| floats(rows, numbers).iter().map(|x| 4.0 * x).collect()),
            positions,
            sequences,
            block_tables,
            sequences_count: shape.sequences,
            pages,
            block_length,
        };
        for token in 0..step.positions.len() {
            for slot in step.visible(token).collect::<Vec<_>>() {
                for head in 0..attention.kv_heads {
                    let row = slot * attention.kv_heads + head;
                    write(attention.element, attention.key_width, row, &mut step.keys, numbers);
                    write(attention.element, attention.value_width, row, &mut step.values, numbers);
                }
            }
        }
        step
    }

    /// Slots (block · length + offset) that a token sees, in order.
    pub fn visible(&self, token: usize) -> impl Iterator<Item = usize> + '_ {
        let (position, sequence) = (self.positions[token], self.sequences[token]);
        let first = match self.attention.window {
            0 => 0,
            window => (position - window as i32 + 1).max(0),
        };
        (first..=position).map(move |position| {
            let (page, offset) =
                (position as usize / self.block_length, position as usize % self.block_length);
            let block = self.block_tables[sequence as usize * self.pages + page];
            block as usize * self.block_length + offset
        })
    }

    /// The step of one of the tokens, with what it does not see made NaN.
    pub fn alone(&self, token: usize) -> Self {
        let Attention { kv_heads, group, key_width, value_width, element, .. } = self.attention;
        let width = kv_heads * group * key_width;
        let mut step = self.clone();
        step.query = self.query[token * width..][..width].to_vec();
        step.positions = vec![self.positions[token]];
        step.sequences = vec![self.sequences[token]];
        let seen: std::collections::HashSet<usize> = step.visible(0).collect();
        for (pool, width) in [(&mut step.keys, key_width), (&mut step.values, value_width)] {
            let bytes = kv_heads * element.row_bytes(width).expect("small");
            for (slot, rows) in pool.chunks_exact_mut(bytes).enumerate() {
                if !seen.contains(&slot) {
                    rows.fill(0xFF);
                }
            }
        }
        step
    }

    pub fn addresses(&self) -> Addresses<'_> {
        Addresses {
            positions: &self.positions,
            sequences: &self.sequences,
            block_tables: &self.block_tables,
            sequences_count: self.sequences_count,
            pages: self.pages,
            block_length: self.block_length,
        }
    }

    pub fn operands(&self) -> AttentionOperands<'_> {
        let Self { query, keys, values, .. } = self;
        AttentionOperands { query, keys, values, sinks: self.sinks.as_deref() }
    }

    pub fn token_width(&self) -> usize {
        self.attention.kv_heads * self.attention.group * self.attention.value_width
    }

    pub fn try_run(&self, kernels: &Kernels) -> Result<Vec<f32>, KernelError> {
        // Every result must be written.
        let mut out = vec![f32::NAN; self.positions.len() * self.token_width()];
        kernels.attention(&self.attention, &self.operands(), &self.addresses(), &mut out)?;
        Ok(out)
    }

    pub fn run(&self, kernels: &Kernels) -> Vec<f32> {
        self.try_run(kernels).expect("sizes fit")
    }

    /// In f64, from the decoded cache.
    pub fn reference(&self) -> Vec<f64> {
        let Attention { kv_heads, group, key_width, value_width, element, .. } = self.attention;
        let mut out = Vec::new();
        for token in 0..self.positions.len() {
            for row in 0..kv_heads * group {
                let query =
                    &self.query[(token * kv_heads * group + row) * key_width..][..key_width];
                let head = row / group;
                let mut scores = Vec::new();
                for slot in self.visible(token) {
                    let key = read(element, key_width, slot * kv_heads + head, &self.keys);
                    let product: f64 = query.iter().zip(&key).map(|(&q, k)| f64::from(q) * k).sum();
                    scores.push(self.score(product));
                }
                let sink = self.sinks.as_ref().map(|sinks| f64::from(sinks[row]));
                let largest = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> =
                    scores.iter().map(|score| (score - largest).exp()).collect();
                let total =
                    weights.iter().sum::<f64>() + sink.map_or(0.0, |sink| (sink - largest).exp());
                let mut mean = vec![0.0; value_width];
                for (slot, weight) in self.visible(token).zip(weights) {
                    let value = read(element, value_width, slot * kv_heads + head, &self.values);
                    for (mean, value) in mean.iter_mut().zip(value) {
                        *mean += weight / total * value;
                    }
                }
                out.extend(mean);
            }
        }
        out
    }

    fn score(&self, product: f64) -> f64 {
        let (score, cap) =
            (product * f64::from(self.attention.scale), f64::from(self.attention.softcap));
        if cap == 0.0 { score } else { cap * (score / cap).tanh() }
    }
}

/// Segments of consecutive positions of random sequences, and padding anywhere.
fn tokens(shape: &Shape, numbers: &mut Numbers) -> (Vec<i32>, Vec<i32>) {
    let (mut positions, mut sequences) = (Vec::new(), Vec::new());
    while positions.len() < shape.tokens {
        let sequence = numbers.below(shape.sequences) as i32;
        let start = numbers.below(shape.context);
        let length = 1 + numbers.below(20);
        let padding = numbers.below(5) == 0;
        for position in start..(start + length).min(shape.context) {
            positions.push(if padding { -1 } else { position as i32 });
            sequences.push(if padding { 0 } else { sequence });
        }
    }
    positions.truncate(shape.tokens);
    sequences.truncate(shape.tokens);
    (positions, sequences)
}

/// Blocks in random order; block 0 is nobody's and stands where a block is not needed.
fn tables(
    shape: &Shape,
    positions: &[i32],
    sequences: &[i32],
    pages: usize,
    blocks: usize,
    numbers: &mut Numbers,
) -> Vec<i32> {
    let mut free: Vec<i32> = (1..blocks as i32).collect();
    let mut table = Vec::new();
    for sequence in 0..shape.sequences {
        let own = positions.iter().zip(sequences).filter(|(_, s)| **s == sequence as i32);
        let last = own.map(|(position, _)| *position).max().unwrap_or(-1);
        for page in 0..pages {
            let needed = page as i32 * shape.block_length as i32 <= last;
            let block = free.swap_remove(numbers.below(free.len()));
            table.push(if needed { block } else { 0 });
        }
    }
    table
}

fn floats(count: usize, numbers: &mut Numbers) -> Vec<f32> {
    (0..count).map(|_| 2.0 * numbers.float()).collect()
}

/// Fills a row of a pool, unless it is filled.
fn write(element: CacheElement, width: usize, row: usize, pool: &mut [u8], numbers: &mut Numbers) {
    let bytes = element.row_bytes(width).expect("small");
    let row = &mut pool[row * bytes..][..bytes];
    if !row.iter().all(|&byte| byte == 0xFF) {
        return;
    }
    match element {
        CacheElement::F32 => {
            for value in row.chunks_exact_mut(4) {
                value.copy_from_slice(&numbers.float().to_le_bytes());
            }
        }
        CacheElement::F16 => {
            for value in row.chunks_exact_mut(2) {
                value.copy_from_slice(&f16::from_f32(numbers.float()).to_le_bytes());
            }
        }
        CacheElement::Q8 => {
            let (values, scale) = row.split_at_mut(width);
            values.fill_with(|| (numbers.below(255) as i32 - 127) as i8 as u8);
            scale.copy_from_slice(&((0.5 + numbers.float().abs()) / 127.0).to_le_bytes());
        }
    }
}

/// The values of a row of a pool.
pub fn read(element: CacheElement, width: usize, row: usize, pool: &[u8]) -> Vec<f64> {
    let bytes = element.row_bytes(width).expect("small");
    let row = &pool[row * bytes..][..bytes];
    let f32_of = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().expect("four")));
    match element {
        CacheElement::F32 => row.chunks_exact(4).map(f32_of).collect(),
        CacheElement::F16 => row
            .chunks_exact(2)
            .map(|bytes| f16::from_le_bytes(bytes.try_into().expect("two")).to_f64())
            .collect(),
        CacheElement::Q8 => {
            let (values, scale) = row.split_at(width);
            values.iter().map(|&value| f64::from(value as i8) * f32_of(scale)).collect()
        }
    }
}

/// The instruction sets of this machine.
pub fn instruction_sets() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}
