//! Passes over all logits, written so that the compiler can use wide instructions.

use super::exponential::exponential;

/// Logits that are looked at together before it is decided whether to look closer.
const BLOCK: usize = 1024;
/// Logits side by side. A fixed number, so that sums do not depend on the machine's instructions.
const LANES: usize = 16;

/// The first logit that is not a number or is `+∞`.
pub fn first_not_finite(logits: &[f32]) -> Option<usize> {
    largest(logits).err()
}

/// Index of the largest logit, the first of equals; `None` if all are `-∞` or there are none.
///
/// # Errors
/// The index of the first logit that is not a number or is `+∞`.
pub fn largest(logits: &[f32]) -> Result<Option<usize>, usize> {
    let (mut best, mut place) = (f32::NEG_INFINITY, None);
    for (n, block) in logits.chunks(BLOCK).enumerate() {
        let (maximum, fine) = maximum(block);
        if !fine {
            let inside = block.iter().position(|logit| !is_fine(*logit)).unwrap_or(0);
            return Err(n * BLOCK + inside);
        }
        if maximum > best {
            (best, place) = (maximum, Some(n));
        }
    }
    Ok(place.and_then(|n| {
        let start = n * BLOCK;
        Some(start + logits[start..].iter().position(|logit| *logit == best)?)
    }))
}

/// A number below `+∞`.
fn is_fine(logit: f32) -> bool {
    logit < f32::INFINITY
}

/// The largest of a block, and whether all are numbers below `+∞`.
fn maximum(block: &[f32]) -> (f32, bool) {
    let (groups, rest) = block.as_chunks::<LANES>();
    let (mut lanes, mut fine) = ([f32::NEG_INFINITY; LANES], [true; LANES]);
    for group in groups {
        for n in 0..LANES {
            fine[n] &= is_fine(group[n]);
            lanes[n] = if group[n] > lanes[n] { group[n] } else { lanes[n] };
        }
    }
    let largest = lanes.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, fine.iter().all(|fine| *fine) && rest.iter().all(|logit| is_fine(*logit)))
}

/// Logits relative to the most probable one and divided by the temperature: `ln` of weights, at most 0.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// The largest logit.
    pub largest: f32,
    /// Above 0.
    pub temperature: f32,
}

impl Scale {
    /// A division, not a multiplication by the inverse: that may be infinite.
    pub fn exponent(self, logit: f32) -> f32 {
        (logit - self.largest) / self.temperature
    }

    /// A probability relative to the largest one. Exactly 0 below `e^-87`.
    pub fn weight(self, logit: f32) -> f32 {
        exponential(self.exponent(logit))
    }

    /// The sum of weights.
    pub fn sum(self, logits: &[f32]) -> f64 {
        logits.chunks(BLOCK).map(|block| self.sum_block(block)).sum()
    }

    /// The sum of at most a block of weights. They are computed first and added then: two simple loops.
    fn sum_block(self, block: &[f32]) -> f64 {
        let mut weights = [0f32; BLOCK];
        for (weight, logit) in weights.iter_mut().zip(block) {
            *weight = self.weight(*logit);
        }
        let mut lanes = [0f64; LANES];
        for group in weights.as_chunks::<LANES>().0 {
            for (lane, weight) in lanes.iter_mut().zip(group) {
                *lane += f64::from(*weight);
            }
        }
        lanes.iter().sum()
    }

    /// The token at which the running sum of weights passes `fraction` of the whole, for a fraction in
    /// `[0, 1)`. Sums blocks first, and goes through one.
    pub fn draw(self, logits: &[f32], fraction: f64) -> Option<usize> {
        let sums: Vec<f64> = logits.chunks(BLOCK).map(|block| self.sum_block(block)).collect();
        let point = fraction * sums.iter().sum::<f64>();
        let (n, point) = pick(sums, point)?;
        let block = logits.chunks(BLOCK).nth(n)?;
        let weights = block.iter().map(|logit| f64::from(self.weight(*logit)));
        let (inside, _) = pick(weights, point)?;
        Some(n * BLOCK + inside)
    }
}

/// The first at which the running sum passes `point`, and how far into it the point lies. Rounding may
/// leave a sliver beyond the last: it belongs to the last whose weight is not 0.
pub fn pick(weights: impl IntoIterator<Item = f64>, mut point: f64) -> Option<(usize, f64)> {
    let mut last = None;
    for (n, weight) in weights.into_iter().enumerate() {
        if weight > 0.0 {
            last = Some((n, point));
            if point < weight {
                break;
            }
            point -= weight;
        }
    }
    last
}

/// The `k` largest logits with their ids, in the order of ids; of equals those with smaller ids.
/// `-∞` is not among them.
pub fn largest_k(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let room = k.saturating_mul(2).saturating_add(BLOCK).min(logits.len());
    let (mut found, mut cut) = (Vec::with_capacity(room), f32::NEG_INFINITY);
    for (n, group) in logits.chunks(LANES).enumerate() {
        // Later tokens lose against equal earlier ones.
        if !group.iter().fold(false, |any, logit| any | (*logit > cut)) {
            continue;
        }
        let start = n * LANES;
        let above = group.iter().enumerate().filter(|(_, logit)| **logit > cut);
        found.extend(above.map(|(inside, logit)| ((start + inside) as u32, *logit)));
        if found.len() >= room.saturating_sub(LANES) && found.len() > k {
            cut = keep_largest(&mut found, k);
        }
    }
    if found.len() > k {
        keep_largest(&mut found, k);
    }
    found
}

/// Keeps the `k` largest in their order; returns the smallest of them.
fn keep_largest(found: &mut Vec<(u32, f32)>, k: usize) -> f32 {
    let mut order = found.clone();
    let (_, (token, cut), _) = order.select_nth_unstable_by(k - 1, larger);
    let last = (*token, *cut);
    found.retain(|entry| larger(entry, &last).is_le());
    last.1
}

/// Larger logits first, then smaller ids.
pub fn larger(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal).then(a.0.cmp(&b.0))
}
