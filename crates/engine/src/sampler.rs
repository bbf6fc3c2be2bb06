//! From logits to a token.

use crate::EngineError;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// How to choose the next token. The filters apply in this order: temperature, top-k, top-p, min-p,
/// as in Hugging Face's `generate`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 chooses the largest, the first of equals.
    pub temperature: f32,
    /// Keep the `k` most probable tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most probable tokens whose probabilities reach this sum; 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as probable as the most probable; 0 keeps all.
    pub min_p: f32,
    /// The same seed gives the same choices.
    pub seed: u64,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self { temperature: 0.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 }
    }
}

impl Sampling {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first parameter outside its range.
    pub fn validate<E: std::error::Error>(&self) -> Result<(), EngineError<E>> {
        let check = |holds: bool, parameter, value: f32, expected| {
            if holds {
                return Ok(());
            }
            let value = value.to_string();
            Err(EngineError::InvalidParameter { parameter, value, expected })
        };
        let Self { temperature: t, top_p, min_p, .. } = *self;
        check(t.is_finite() && t >= 0.0, "temperature", t, "a finite number, 0 or more")?;
        check(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, "above 0 and at most 1")?;
        check((0.0..=1.0).contains(&min_p), "min_p", min_p, "between 0 and 1")
    }
}

/// Chooses tokens by a [`Sampling`]; holds the state of its random numbers.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
}

impl Sampler {
    /// A sampler whose parameters have been validated.
    pub fn new(sampling: Sampling) -> Self {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        Self { sampling, random }
    }

    /// Chooses a token.
    ///
    /// # Errors
    /// The index of the first logit that is not a number or is `+∞`. `-∞` means impossible.
    pub fn choose(&mut self, logits: &[f32]) -> Result<u32, usize> {
        let largest = largest(logits)?;
        if self.sampling.temperature == 0.0 || self.sampling.top_k == 1 {
            return Ok(largest as u32);
        }
        let candidates = self.candidates(logits, logits[largest]);
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let mut point = self.uniform() * total;
        for (token, weight) in &candidates {
            point -= weight;
            if point < 0.0 {
                return Ok(*token);
            }
        }
        // Rounding may leave a sliver beyond the last candidate.
        Ok(candidates.last().map_or(largest as u32, |(token, _)| *token))
    }

    /// Tokens that pass all filters with their weights relative to the most probable.
    fn candidates(&self, logits: &[f32], largest: f32) -> Vec<(u32, f64)> {
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.sampling;
        let mut candidates: Vec<(u32, f64)> = logits
            .iter()
            .enumerate()
            .map(|(token, logit)| {
                let weight = (f64::from(logit - largest) / f64::from(temperature)).exp();
                (token as u32, weight)
            })
            .filter(|(_, weight)| *weight > 0.0)
            .collect();
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, more_probable);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            keep_mass(&mut candidates, f64::from(top_p));
        }
        // The most probable token weighs 1.
        candidates.retain(|(_, weight)| *weight >= f64::from(min_p));
        // An order that does not depend on how the filters went about it.
        candidates.sort_unstable_by_key(|(token, _)| *token);
        candidates
    }

    /// Uniform in `[0, 1)` with 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Index of the largest logit, the first of equals.
fn largest(logits: &[f32]) -> Result<usize, usize> {
    let mut best = 0;
    for (n, logit) in logits.iter().enumerate() {
        if logit.is_nan() || *logit == f32::INFINITY {
            return Err(n);
        }
        if *logit > logits[best] {
            best = n;
        }
    }
    if logits.get(best).is_none_or(|logit| *logit == f32::NEG_INFINITY) {
        Err(best)
    } else {
        Ok(best)
    }
}

/// Larger weights first, then smaller ids.
fn more_probable(a: &(u32, f64), b: &(u32, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the fewest most probable candidates whose weights reach `fraction` of all. Sorts only as far
/// as needed: in ever larger leading parts.
fn keep_mass(candidates: &mut Vec<(u32, f64)>, fraction: f64) {
    let target = fraction * candidates.iter().map(|(_, weight)| weight).sum::<f64>();
    let (mut sorted, mut mass, mut part) = (0, 0.0, 64);
    while sorted < candidates.len() {
        let end = (sorted + part).min(candidates.len());
        if end < candidates.len() {
            candidates[sorted..].select_nth_unstable_by(end - 1 - sorted, more_probable);
        }
        candidates[sorted..end].sort_unstable_by(more_probable);
        for (n, (_, weight)) in candidates[sorted..end].iter().enumerate() {
            mass += weight;
            if mass >= target {
                candidates.truncate(sorted + n + 1);
                return;
            }
        }
        (sorted, part) = (end, part * 4);
    }
}
