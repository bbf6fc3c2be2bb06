//! Times the kernels with a state per sequence, in the shapes of Qwen3.5-0.8B (18 layers),
//! Mamba2-130M and Mamba-130M (24 layers).
//!
//! `cargo run --release -p stablemate-kernels --example recurrent_speed -- [threads] [isa] [part of
//! a line's name, such as "delta"]`

use std::ops::Range;
use std::time::Instant;

use stablemate_kernels::{
    Activations, Convolution, DeltaRule, DeltaRuleOperands, Isa, KernelError, Kernels, Scan,
    ScanOperands, StateAddresses,
};

/// Sequences, and the tokens of each.
const STEPS: [(usize, usize); 4] = [(1, 1), (8, 1), (1, 16), (1, 512)];

const RULE: DeltaRule =
    DeltaRule { key_heads: 16, group: 1, key_width: 128, value_width: 128, per_channel: false };

const LAYERS: [Layer; 5] = [
    Layer {
        name: "delta rule",
        count: 18,
        kernel: Kernel::DeltaRule(RULE),
        state: 16 * 128 * 128,
        width: 16 * 128,
        operations: 7,
    },
    Layer {
        name: "delta rule, channels",
        count: 18,
        kernel: Kernel::DeltaRule(DeltaRule { per_channel: true, ..RULE }),
        state: 16 * 128 * 128,
        width: 16 * 128,
        operations: 7,
    },
    Layer {
        name: "convolution",
        count: 18,
        kernel: Kernel::Convolve(Convolution { channels: 6144, taps: 4 }),
        state: 3 * 6144,
        width: 6144,
        operations: 3,
    },
    Layer {
        name: "scan, Mamba 2",
        count: 24,
        kernel: Kernel::Scan(Scan {
            heads: 24,
            width: 64,
            groups: 1,
            states: 128,
            per_state: false,
        }),
        state: 24 * 64 * 128,
        width: 24 * 64,
        operations: 5,
    },
    Layer {
        name: "scan, Mamba 1",
        count: 24,
        kernel: Kernel::Scan(Scan {
            heads: 1536,
            width: 1,
            groups: 1,
            states: 16,
            per_state: true,
        }),
        state: 1536 * 16,
        width: 1536,
        operations: 5,
    },
];

/// Values at an address that is a multiple of 64, as the runtime has them.
struct Values {
    memory: Vec<f32>,
    range: Range<usize>,
}

impl Values {
    fn new(count: usize, value: impl Fn(usize) -> f32) -> Self {
        let mut memory = vec![0.0; count + 16];
        let first = memory.as_ptr().align_offset(64);
        let range = first..first + count;
        for (index, place) in memory[range.clone()].iter_mut().enumerate() {
            *place = value(index);
        }
        Self { memory, range }
    }

    fn get(&self) -> &[f32] {
        &self.memory[self.range.clone()]
    }

    fn get_mut(&mut self) -> &mut [f32] {
        &mut self.memory[self.range.clone()]
    }
}

/// Numbers between -scale and scale.
fn numbers(count: usize, scale: f32) -> Values {
    Values::new(count, |index| {
        let mixed = (index as u32).wrapping_mul(2_654_435_761);
        scale * ((mixed >> 8) as f32 / (1 << 23) as f32 - 1.0)
    })
}

/// Numbers between 0 and scale.
fn magnitudes(count: usize, scale: f32) -> Values {
    let numbers = numbers(count, 1.0);
    Values::new(count, |index| scale * numbers.get()[index].abs())
}

#[derive(Clone, Copy)]
enum Kernel {
    Convolve(Convolution),
    DeltaRule(DeltaRule),
    Scan(Scan),
}

/// A kernel, and how many layers have it.
struct Layer {
    name: &'static str,
    count: usize,
    kernel: Kernel,
    /// Values of a sequence's state.
    state: usize,
    /// Values of a token's result.
    width: usize,
    /// Floating-point operations per token and value of a state, exponentials left out.
    operations: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let isa = arguments.next().and_then(|name| Isa::ALL.into_iter().find(|isa| isa.name() == name));
    let wanted = arguments.next().unwrap_or_default();
    let kernels = Kernels::new(isa.unwrap_or(Isa::best()), threads, Activations::Exact);
    let [name, median, best, token] = ["", "ms, all layers", "the best", "µs/token"];
    println!("{name:<30}{median:>15}{best:>10}{token:>10}{:>8}{:>10}", "GB/s", "GFLOP/s");
    for (sequences, tokens) in STEPS {
        for layer in &LAYERS {
            let name = format!("{sequences} × {tokens} {}", layer.name);
            if name.contains(&wanted) {
                measure(&kernels, &name, layer, sequences, tokens)?;
            }
        }
    }
    Ok(())
}

fn measure(
    kernels: &Kernels,
    name: &str,
    layer: &Layer,
    sequences: usize,
    tokens: usize,
) -> Result<(), KernelError> {
    // Not the first tokens of their sequences, which need no state.
    let every = || (0..sequences).flat_map(|sequence| (0..tokens).map(move |n| (sequence, n)));
    let positions: Vec<i32> = every().map(|(_, n)| 100 + n as i32).collect();
    let rows: Vec<i32> = every().map(|(sequence, _)| sequence as i32).collect();
    let slots: Vec<i32> = (1..=sequences as i32).collect();
    let addresses = StateAddresses { positions: &positions, sequences: &rows, slots: &slots };
    let operands = layer.kernel.operands(positions.len());
    let mut pools: Vec<Values> =
        (0..layer.count).map(|_| numbers((sequences + 1) * layer.state, 0.1)).collect();
    let mut out = numbers(positions.len() * layer.width, 0.0);
    let mut times: Vec<f64> = Vec::new();
    let begin = Instant::now();
    while times.len() < 5 || begin.elapsed().as_millis() < 500 {
        let start = Instant::now();
        for pool in &mut pools {
            layer.kernel.call(kernels, pool.get_mut(), &operands, &addresses, out.get_mut())?;
        }
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    // The states are read and written.
    let bytes = 2 * size_of::<f32>() * layer.count * layer.state * sequences;
    let operations = layer.operations * layer.count * layer.state * positions.len();
    println!(
        "{name:<30}{:>15.3}{:>10.3}{:>10.1}{:>8.1}{:>10.1}",
        median * 1e3,
        times[0] * 1e3,
        median * 1e6 / positions.len() as f64,
        bytes as f64 / median / 1e9,
        operations as f64 / median / 1e9,
    );
    Ok(())
}

impl Kernel {
    fn operands(&self, tokens: usize) -> Vec<Values> {
        match *self {
            Self::Convolve(Convolution { channels, taps }) => {
                vec![numbers(tokens * channels, 1.0), numbers(channels * taps, 1.0)]
            }
            Self::DeltaRule(DeltaRule {
                key_heads,
                group,
                key_width,
                value_width,
                per_channel,
            }) => {
                let (keys, heads) = (tokens * key_heads * key_width, tokens * key_heads * group);
                let decays = heads * if per_channel { key_width } else { 1 };
                vec![
                    numbers(keys, 0.15),
                    numbers(keys, 0.15),
                    numbers(heads * value_width, 1.0),
                    magnitudes(decays, -0.1),
                    magnitudes(heads, 1.0),
                ]
            }
            Self::Scan(Scan { heads, width, groups, states, per_state }) => {
                let grouped = || numbers(tokens * groups * states, 1.0);
                vec![
                    numbers(tokens * heads * width, 1.0),
                    magnitudes(tokens * heads, 0.1),
                    magnitudes(heads * if per_state { states } else { 1 }, -4.0),
                    grouped(),
                    grouped(),
                ]
            }
        }
    }

    fn call(
        &self,
        kernels: &Kernels,
        pool: &mut [f32],
        operands: &[Values],
        addresses: &StateAddresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let operands: Vec<&[f32]> = operands.iter().map(Values::get).collect();
        match (self, &operands[..]) {
            (Self::Convolve(convolution), [x, weight]) => {
                kernels.convolve(convolution, pool, x, weight, addresses, out)
            }
            (Self::DeltaRule(rule), [query, key, value, decay, beta]) => {
                let operands = DeltaRuleOperands { query, key, value, decay, beta };
                kernels.delta_rule(rule, pool, &operands, addresses, out)
            }
            (Self::Scan(scan), [x, dt, a, b, c]) => {
                let operands = ScanOperands { x, dt, a, b, c };
                kernels.scan(scan, pool, &operands, addresses, out)
            }
            _ => unreachable!("operands are made by `operands`"),
        }
    }
}
