//! How many tokens of prompts a step may take beside the sequences that are being continued.

use std::collections::VecDeque;

/// Measurements kept of each size: enough for a median that ignores a disturbed step or two, few
/// enough to follow sequences that grow longer.
const KEPT: usize = 5;
/// Prompts get so many tokens of each step in any case, so that they end.
const LEAST: usize = 4;
/// Predictions reach so far beyond the largest step that has been measured.
const REACH: usize = 4;

/// Learns how long steps take from measurements it is given; it owns no clock.
///
/// Steps are sorted into sizes by powers of two. Each size is known by the median of its last
/// measurements; between sizes, time is taken to be linear.
#[derive(Debug)]
pub(crate) struct Pace {
    /// A step with prompts may take so many times what it takes without.
    factor: f64,
    /// Of steps with `2^(n-1)` to `2^n` tokens at `n`.
    sizes: Vec<VecDeque<Point>>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    tokens: f64,
    seconds: f64,
}

impl Pace {
    /// Knows nothing yet. A factor below 1, or none at all, leaves prompts the least.
    pub fn new(factor: f64) -> Self {
        Self { factor, sizes: Vec::new() }
    }

    /// A step over so many tokens took so long.
    pub fn record(&mut self, tokens: usize, seconds: f64) {
        if tokens == 0 || !seconds.is_finite() || seconds < 0.0 {
            return;
        }
        let size = tokens.next_power_of_two().ilog2() as usize;
        if self.sizes.len() <= size {
            self.sizes.resize_with(size + 1, VecDeque::new);
        }
        let measurements = &mut self.sizes[size];
        if measurements.len() == KEPT {
            measurements.pop_front();
        }
        measurements.push_back(Point { tokens: tokens as f64, seconds });
    }

    /// The most tokens of prompts beside `continuing` sequences in a step of at most `step_tokens`.
    pub fn budget(&self, continuing: usize, step_tokens: usize) -> usize {
        let room = step_tokens.saturating_sub(continuing);
        if continuing == 0 {
            return room;
        }
        let points = self.points();
        let Some(last) = points.last() else { return LEAST.min(room) };
        let bound = self.factor * seconds(&points, continuing as f64);
        let reach = ((last.tokens as usize).saturating_mul(REACH)).saturating_sub(continuing);
        // The largest that is not too slow lies between these.
        let (mut least, mut most) = (LEAST.min(room), reach.min(room));
        while least < most {
            let middle = least + (most - least).div_ceil(2);
            if seconds(&points, (continuing + middle) as f64) <= bound {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        least
    }

    /// One point of each measured size. More tokens never take less time.
    fn points(&self) -> Vec<Point> {
        let mut points: Vec<Point> = self.sizes.iter().filter_map(median).collect();
        for n in 1..points.len() {
            points[n].seconds = points[n].seconds.max(points[n - 1].seconds);
        }
        points
    }
}

/// The lower median by time: of two, the one that was not the first of its size to be run, which
/// may have had to be compiled.
fn median(measurements: &VecDeque<Point>) -> Option<Point> {
    let mut sorted: Vec<Point> = measurements.iter().copied().collect();
    sorted.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

/// Time of a step: linear between points, constant before the first, and behind the last one as
/// steep as before, or proportional if there is but one.
fn seconds(points: &[Point], tokens: f64) -> f64 {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.0 };
    if tokens <= first.tokens {
        return first.seconds;
    }
    let pair = points.windows(2).find(|pair| tokens <= pair[1].tokens);
    let (a, b) = match pair.or_else(|| points.windows(2).last()) {
        Some(pair) => (pair[0], pair[1]),
        None => (Point { tokens: 0.0, seconds: 0.0 }, *last),
    };
    a.seconds + (b.seconds - a.seconds) * (tokens - a.tokens) / (b.tokens - a.tokens)
}
