//! Times attention in the shape of Llama-3.2-1B (8 key-value heads × 4 × 64, 16 layers).
//!
//! `cargo run --release -p stablemate-kernels --example attention_speed -- [threads] [isa] [part of a step's name, such as "at 4096 f16"]`

use std::time::Instant;

use stablemate_kernels::{
    Activations, Addresses, Attention, AttentionOperands, CacheElement, CacheShape, Isa, Kernels,
};

const LAYERS: usize = 16;
const HEADS: usize = 8;
const GROUP: usize = 4;
const WIDTH: usize = 64;
const BLOCK: usize = 16;
const CONTEXT: usize = 4096;

/// Positions of a step's tokens, and their sequences.
struct Step {
    name: &'static str,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    /// Most tokens of a sequence in the cache.
    context: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let isa = arguments.next().and_then(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name));
    let wanted = arguments.next().unwrap_or_default();
    let kernels = Kernels::new(isa.unwrap_or(Isa::best()), threads, Activations::Exact);
    let chunk = |from: usize, tokens: usize| (from as i32..(from + tokens) as i32).collect();
    let steps = [
        Step::new("decode, 1 at 64", vec![63], 1),
        Step::new("decode, 1 at 512", vec![511], 1),
        Step::new("decode, 1 at 4096", vec![4095], 1),
        Step::new("decode, 8 at 1024", vec![1023; 8], 8),
        Step::new("prefill of 512", chunk(0, 512), 1),
        Step::new("prefill of 512 at 3584", chunk(3584, 512), 1),
    ];
    println!("{:<24}{:>6}{:>12}{:>10}{:>12}", "", "", "ms (16 l.)", "GB/s", "GFLOP/s");
    for element in [CacheElement::F32, CacheElement::F16, CacheElement::Q8] {
        for step in &steps {
            if format!("{} {}", step.name, element.name()).contains(&wanted) {
                measure(&kernels, step, element)?;
            }
        }
    }
    Ok(())
}

impl Step {
    fn new(name: &'static str, positions: Vec<i32>, sequences: usize) -> Self {
        let context = positions.iter().max().map_or(0, |&last| last as usize + 1);
        let own = |token: usize| (token % sequences) as i32;
        let sequences = (0..positions.len()).map(own).collect();
        Self { name, positions, sequences, context }
    }

    fn sequences(&self) -> usize {
        self.sequences.iter().max().map_or(0, |&last| last as usize + 1)
    }
}

fn measure(
    kernels: &Kernels,
    step: &Step,
    element: CacheElement,
) -> Result<(), Box<dyn std::error::Error>> {
    let (count, pages) = (step.sequences(), CONTEXT / BLOCK);
    let blocks = count * pages;
    let row_bytes = element.row_bytes(WIDTH).ok_or("too wide")?;
    // Neighbours in a sequence are not neighbours in the pool.
    let tables: Vec<i32> = (0..blocks).map(|page| (page * 77 % blocks) as i32).collect();
    let layer = |seed: usize| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut pool = vec![0; blocks * BLOCK * HEADS * row_bytes];
        let shape = CacheShape { element, heads: HEADS, width: WIDTH, block_length: BLOCK };
        let slots = blocks * BLOCK;
        let update: Vec<f32> = (0..slots * HEADS * WIDTH).map(|i| number(i + seed)).collect();
        let slots: Vec<i32> =
            (0..slots as i32).flat_map(|s| [s / BLOCK as i32, s % BLOCK as i32]).collect();
        kernels.write_cache(shape, &mut pool, &slots, &update)?;
        Ok(pool)
    };
    let pools: Vec<(Vec<u8>, Vec<u8>)> = (0..LAYERS)
        .map(|index| Ok((layer(index)?, layer(index + 1000)?)))
        .collect::<Result<_, Box<dyn std::error::Error>>>()?;
    let query: Vec<f32> = (0..step.positions.len() * HEADS * GROUP * WIDTH).map(number).collect();
    let mut out = vec![0.0; query.len()];
    let attention = Attention {
        scale: 0.125,
        window: 0,
        softcap: 0.0,
        kv_heads: HEADS,
        group: GROUP,
        key_width: WIDTH,
        value_width: WIDTH,
        element,
    };
    let addresses = Addresses {
        positions: &step.positions,
        sequences: &step.sequences,
        block_tables: &tables,
        sequences_count: count,
        pages,
        block_length: BLOCK,
    };
    let mut times: Vec<f64> = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || begin.elapsed().as_millis() < 300 {
        let start = Instant::now();
        for (keys, values) in &pools {
            let operands = AttentionOperands { query: &query, keys, values, sinks: None };
            kernels.attention(&attention, &operands, &addresses, &mut out)?;
        }
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let pairs: usize = step.positions.iter().map(|&position| position as usize + 1).sum();
    let read = LAYERS * count * step.context * HEADS * 2 * row_bytes;
    let operations = LAYERS * pairs * HEADS * GROUP * 4 * WIDTH;
    println!(
        "{:<24}{:>6}{:>12.3}{:>10.1}{:>12.1}",
        step.name,
        element.name(),
        median * 1e3,
        read as f64 / median / 1e9,
        operations as f64 / median / 1e9,
    );
    Ok(())
}

/// Something between -1 and 1.
fn number(index: usize) -> f32 {
    let mixed = (index as u32).wrapping_mul(2_654_435_761);
    (mixed >> 8) as f32 / (1 << 23) as f32 - 1.0
}
