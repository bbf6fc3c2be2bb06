//! In which order weights are read for a single token, where nothing but memory counts.
//!
//! Machines differ, and not by their instruction set: some read one stretch fastest, others two side by side, up to a third faster. So the
//! first large products of a token are computed in both ways in turn, and then it is known. Results are the same bits either way.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::isa::Isa;

/// An order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// As they lie in memory; what comes next is fetched into the innermost cache.
    InOrder,
    /// From two places at a time, if weights are packed; what comes next is fetched into the second-level cache, well before it is needed.
    SideBySide,
}

impl Way {
    /// Whether what comes next is fetched into the second-level cache only.
    pub(crate) fn far(self) -> bool {
        self == Self::SideBySide
    }
}

/// Products in each way after which it is known.
const SAMPLES: usize = 32;

/// Bytes of a product from which it says something.
const LEAST_BYTES: usize = 1 << 20;

/// Which way has been faster.
pub(crate) struct Reading {
    /// The way to go as long as that is not known.
    first: Way,
    known: OnceLock<Way>,
    trials: Mutex<Trials>,
}

/// Picoseconds per byte, of each way.
#[derive(Default)]
struct Trials {
    begun: u32,
    in_order: Vec<u64>,
    side_by_side: Vec<u64>,
}

impl Reading {
    /// Nothing is known yet, except that without instructions for it nothing is fetched ahead.
    pub(crate) fn new(isa: Isa) -> Self {
        let known = OnceLock::new();
        // What was faster on most of the machines that were measured.
        let first = match isa {
            Isa::Portable | Isa::Avx512 => Way::InOrder,
            Isa::Avx2 | Isa::Amx => Way::SideBySide,
        };
        if isa == Isa::Portable {
            known.get_or_init(|| first);
        }
        Self { first, known, trials: Mutex::default() }
    }

    /// The way to go, and whether how long it takes is worth knowing: `bytes` are read for a single token, or for several.
    pub(crate) fn next(&self, bytes: usize, single: bool) -> (Way, bool) {
        if let Some(&way) = self.known.get() {
            return (way, false);
        }
        if !single || bytes < LEAST_BYTES {
            return (self.first, false);
        }
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        // Thue and Morse's sequence: products come in periods (of layers), each place of which is to be read in both ways equally often.
        let way = match trials.begun.count_ones() % 2 {
            0 => Way::SideBySide,
            _ => Way::InOrder,
        };
        trials.begun += 1;
        (way, true)
    }

    /// So long it took.
    pub(crate) fn learn(&self, way: Way, bytes: usize, time: Duration) {
        let picoseconds = time.as_nanos() as u64 * 1000 / bytes.max(1) as u64;
        let mut trials = self.trials.lock().unwrap_or_else(PoisonError::into_inner);
        match way {
            Way::InOrder => trials.in_order.push(picoseconds),
            Way::SideBySide => trials.side_by_side.push(picoseconds),
        }
        let Trials { in_order, side_by_side, .. } = &mut *trials;
        if in_order.len() < SAMPLES || side_by_side.len() < SAMPLES {
            return;
        }
        // Medians: a disturbed product says nothing.
        let (in_order, side_by_side) = (median(in_order), median(side_by_side));
        let way = if in_order < side_by_side { Way::InOrder } else { Way::SideBySide };
        self.known.get_or_init(|| way);
    }
}

fn median(times: &mut [u64]) -> u64 {
    let middle = times.len() / 2;
    *times.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goes through products of these bytes, each way taking so many nanoseconds per KiB; how often each way was taken.
    fn learn(reading: &Reading, sizes: &[usize], rates: [u64; 2], rounds: usize) -> [usize; 2] {
        let mut taken = [0; 2];
        for n in 0..rounds {
            let bytes = sizes[n % sizes.len()];
            let (way, worth_knowing) = reading.next(bytes, true);
            taken[way as usize] += 1;
            if worth_knowing {
                // Each fifth is disturbed.
                let slow = if n % 5 == 0 { 20 } else { 1 };
                let time = bytes as u64 / 1024 * rates[way as usize] * slow;
                reading.learn(way, bytes, Duration::from_nanos(time));
            }
        }
        taken
    }

    #[test]
    fn the_faster_way_is_found() {
        for (rates, faster) in [([40, 30], Way::SideBySide), ([30, 40], Way::InOrder)] {
            for sizes in [&[4 << 20][..], &[2 << 20, 9 << 20, 3 << 20, 3 << 20], &[1 << 20; 3]] {
                let reading = Reading::new(Isa::Avx2);
                let taken = learn(&reading, sizes, rates, 2 * SAMPLES);
                assert_eq!(taken, [SAMPLES; 2]);
                assert_eq!(reading.next(4 << 20, true), (faster, false));
                assert_eq!(reading.next(4 << 20, false), (faster, false));
            }
        }
    }

    #[test]
    fn only_large_products_of_single_tokens_are_tried() {
        let reading = Reading::new(Isa::Avx512);
        for (bytes, single) in [(LEAST_BYTES, false), (LEAST_BYTES - 1, true)] {
            assert_eq!(reading.next(bytes, single), (Way::InOrder, false));
        }
        assert!(reading.next(LEAST_BYTES, true).1);
        assert_eq!(Reading::new(Isa::Portable).next(LEAST_BYTES, true), (Way::InOrder, false));
    }
}
