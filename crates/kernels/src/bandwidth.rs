//! How fast this machine reads memory: what decoding is measured against.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::kernels::Kernels;

/// Values of one task: small enough that tasks end at the same time.
const VALUES: usize = 1 << 17;

/// Passes in each way, of which the fastest counts: the others were disturbed.
const PASSES: usize = 3;

/// From how many places of its part a task reads at a time. Which is faster is the machine's: some follow several streams and get a third
/// more from them than from one, others less.
const PLACES: [usize; 2] = [1, 4];

impl Kernels {
    /// Bytes per second that the threads of these kernels read of `memory`, each its own part, in the order that suits the machine best,
    /// and nothing else. To tell how fast the machine is, it must be far more than caches hold, and written before.
    pub fn read_bandwidth(&self, memory: &[u64]) -> f64 {
        let tasks: Vec<&[u64]> = memory.chunks_exact(VALUES).collect();
        let total = AtomicU64::new(0);
        let mut fastest = f64::INFINITY;
        // In turns, so that both ways are disturbed alike.
        for places in PLACES.repeat(PASSES) {
            let begin = Instant::now();
            self.pool().run(tasks.len(), &|task| {
                let sum = match places {
                    1 => sum::<1>(tasks[task]),
                    _ => sum::<4>(tasks[task]),
                };
                total.fetch_add(sum, Ordering::Relaxed);
            });
            fastest = fastest.min(begin.elapsed().as_secs_f64());
        }
        // The sum is needed, so that reading is.
        std::hint::black_box(total.into_inner());
        (tasks.len() * VALUES * size_of::<u64>()) as f64 / fastest
    }
}

/// The sum, in as many chains as registers hold, of values from `P` places at a time. (What is left over when they are divided among the
/// places is not read: nothing, where there are [`VALUES`].)
fn sum<const P: usize>(values: &[u64]) -> u64 {
    const CHAINS: usize = 64;
    let mut sums = [0u64; CHAINS];
    let mut places = values.chunks_exact((values.len() / P).max(1));
    let places: [&[[u64; CHAINS]]; P] =
        std::array::from_fn(|_| places.next().unwrap_or_default().as_chunks().0);
    for index in 0..places[0].len() {
        for chunks in places {
            let Some(chunk) = chunks.get(index) else { continue };
            for (sum, value) in sums.iter_mut().zip(chunk) {
                *sum = sum.wrapping_add(*value);
            }
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

#[cfg(test)]
mod tests {
    use super::{VALUES, sum};
    use crate::{Activations, Isa, Kernels};

    #[test]
    fn everything_is_read() {
        let values: Vec<u64> = (0..VALUES as u64).collect();
        let expected = (VALUES as u64 - 1) * VALUES as u64 / 2;
        assert_eq!([sum::<1>(&values), sum::<4>(&values), sum::<4>(&[])], [expected, expected, 0]);
    }

    #[test]
    fn memory_is_read_at_a_believable_speed() {
        let kernels = Kernels::new(Isa::Portable, 2, Activations::Exact);
        let rate = kernels.read_bandwidth(&vec![1; 64 * VALUES]);
        assert!(rate > 1e8 && rate < 1e13, "{rate}");
    }
}
