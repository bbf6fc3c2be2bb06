//! The tokens that filters leave.

use super::mass::{Ranked, last_needed};
use super::scan::{Scale, largest_k, pick};
use super::{Sampling, exponential::exponential};

/// A token that may be chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub token: u32,
    /// Its logit relative to the most probable one's and divided by the temperature.
    pub exponent: f32,
    /// `e` to that.
    pub weight: f32,
}

/// Tokens in the order of their ids, whatever the filters do: choices depend on nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidates {
    kept: Vec<Candidate>,
    /// The sum of all weights, those included that were left out because the first filter drops them.
    total: f64,
}

/// Whether any filter is on. XTC is given because chance decides about it.
pub fn filters(sampling: &Sampling, xtc: bool, vocabulary: usize) -> bool {
    let Sampling { top_k, top_p, min_p, typical_p, .. } = *sampling;
    let top_k = top_k > 0 && top_k < vocabulary;
    top_k || typical_p < 1.0 || top_p < 1.0 || min_p > 0.0 || xtc
}

impl Candidates {
    /// Filters the tokens whose logits are not `-∞`; some token always stays.
    pub fn of(logits: &[f32], scale: Scale, sampling: &Sampling, xtc: bool) -> Self {
        let Sampling { top_p, min_p, typical_p, xtc_threshold, .. } = *sampling;
        let mut candidates = Self::first(logits, scale, sampling);
        if typical_p < 1.0 {
            candidates.keep_typical(typical_p);
        }
        if top_p < 1.0 {
            candidates.keep_mass(top_p, |candidate| -f64::from(candidate.exponent));
        }
        if min_p > 0.0 {
            candidates.keep_min_p(min_p);
        }
        if xtc {
            candidates.exclude_top(xtc_threshold);
        }
        candidates
    }

    /// What the first of the filters may keep: for top-k exactly that, for top-p and min-p a little
    /// more, for the rest all.
    fn first(logits: &[f32], scale: Scale, sampling: &Sampling) -> Self {
        let Sampling { top_k, top_p, min_p, typical_p, .. } = *sampling;
        if top_k > 0 && top_k < logits.len() {
            return Self::with_total(largest_k(logits, top_k).into_iter(), scale, None);
        }
        let (floor, total) = if typical_p < 1.0 {
            (f64::NEG_INFINITY, None)
        } else if top_p < 1.0 {
            let total = scale.sum(logits);
            // Tokens of less than the V-th part of what may be left out cannot make it up together. Half
            // of that, so that rounding is no matter.
            let left_out = (1.0 - f64::from(top_p)) * total;
            ((0.5 * left_out / logits.len() as f64).ln(), Some(total))
        } else if min_p > 0.0 {
            (f64::from(min_p).ln() - 0.5, None)
        } else {
            (f64::NEG_INFINITY, None)
        };
        let floor = floor as f32;
        let tokens = logits.iter().enumerate().map(|(token, logit)| (token as u32, *logit));
        let above = tokens.filter(|(_, logit)| scale.exponent(*logit) >= floor);
        Self::with_total(above, scale, total)
    }

    /// Impossible tokens are left out here.
    fn with_total(
        found: impl Iterator<Item = (u32, f32)>,
        scale: Scale,
        total: Option<f64>,
    ) -> Self {
        let candidate = |(token, logit)| {
            let exponent = scale.exponent(logit);
            Candidate { token, exponent, weight: exponential(exponent) }
        };
        let possible = |candidate: &Candidate| candidate.weight > 0.0;
        let kept: Vec<Candidate> = found.map(candidate).filter(possible).collect();
        let total = total.unwrap_or_else(|| sum(&kept));
        Self { kept, total }
    }

    /// Locally typical sampling. A token's surprise is `ln Z - exponent`, the expected one
    /// `ln Z - mean exponent`: `Z` cancels out.
    fn keep_typical(&mut self, mass: f32) {
        let weighted =
            |candidate: &Candidate| f64::from(candidate.weight) * f64::from(candidate.exponent);
        let mean = self.kept.iter().map(weighted).sum::<f64>() / self.total;
        self.keep_mass(mass, |candidate| (f64::from(candidate.exponent) - mean).abs());
    }

    /// Keeps the fewest candidates, smallest keys first, whose weights reach a fraction of all.
    fn keep_mass(&mut self, fraction: f32, key: impl Fn(&Candidate) -> f64) {
        let ranked = |candidate: &Candidate| {
            let Candidate { token, weight, .. } = *candidate;
            Ranked { key: key(candidate), token, weight }
        };
        let mut entries: Vec<Ranked> = self.kept.iter().map(ranked).collect();
        if let Some(last) = last_needed(&mut entries, f64::from(fraction) * self.total) {
            self.retain(|candidate| ranked(candidate).order(&last).is_le());
        }
    }

    fn keep_min_p(&mut self, fraction: f32) {
        let largest = self.kept.iter().map(|candidate| candidate.weight).fold(0.0, f32::max);
        let least = f64::from(fraction) * f64::from(largest);
        self.retain(|candidate| f64::from(candidate.weight) >= least);
    }

    /// Exclude top choices: of those at least as probable as the threshold, only the last in rank stays.
    fn exclude_top(&mut self, threshold: f32) {
        let least = f64::from(threshold) * self.total;
        let is_top = |candidate: &Candidate| f64::from(candidate.weight) >= least;
        let rank = |candidate: &Candidate| {
            let Candidate { token, exponent, weight } = *candidate;
            Ranked { key: -f64::from(exponent), token, weight }
        };
        let top = self.kept.iter().copied().filter(is_top);
        let Some(last) = top.max_by(|a, b| rank(a).order(&rank(b))) else { return };
        self.retain(|candidate| !is_top(candidate) || candidate.token == last.token);
    }

    fn retain(&mut self, keep: impl Fn(&Candidate) -> bool) {
        self.kept.retain(keep);
        self.total = sum(&self.kept);
    }

    /// The candidate at which the running sum of weights passes `fraction` of the whole.
    pub fn draw(&self, fraction: f64) -> Option<u32> {
        let weights = self.kept.iter().map(|candidate| f64::from(candidate.weight));
        let (n, _) = pick(weights, fraction * self.total)?;
        Some(self.kept.get(n)?.token)
    }

    /// Those that are left, in the order of their ids.
    #[cfg(test)]
    pub fn kept(&self) -> &[Candidate] {
        &self.kept
    }
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}
