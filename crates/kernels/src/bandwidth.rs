//! How fast this machine reads memory: what decoding is measured against.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::kernels::Kernels;

/// Bytes of one pass: far more than caches hold.
const BYTES: usize = 256 << 20;

/// Values of one task: small enough that tasks end at the same time.
const VALUES: usize = 1 << 17;

/// Passes, of which the fastest counts: the others were disturbed.
const PASSES: usize = 3;

impl Kernels {
    /// Bytes per second that the threads of these kernels read from memory, each its own part, in order,
    /// and nothing else.
    pub fn read_bandwidth(&self) -> f64 {
        let memory = vec![1u64; BYTES / size_of::<u64>()];
        let tasks: Vec<&[u64]> = memory.chunks(VALUES).collect();
        let total = AtomicU64::new(0);
        let mut fastest = f64::INFINITY;
        for _ in 0..PASSES {
            let begin = Instant::now();
            self.pool().run(tasks.len(), &|task| {
                total.fetch_add(sum(tasks.get(task).unwrap_or(&&[][..])), Ordering::Relaxed);
            });
            fastest = fastest.min(begin.elapsed().as_secs_f64());
        }
        // The sum is needed, so that reading is.
        std::hint::black_box(total.into_inner());
        BYTES as f64 / fastest
    }
}

/// The sum, in as many chains as registers hold.
fn sum(values: &[u64]) -> u64 {
    const CHAINS: usize = 64;
    let mut sums = [0u64; CHAINS];
    for chunk in values.as_chunks::<CHAINS>().0 {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*value);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use crate::{Activations, Isa, Kernels};

    #[test]
    fn memory_is_read_at_a_believable_speed() {
        let rate = Kernels::new(Isa::Portable, 2, Activations::Exact).read_bandwidth();
        assert!(rate > 1e8 && rate < 1e13, "{rate}");
    }
}
