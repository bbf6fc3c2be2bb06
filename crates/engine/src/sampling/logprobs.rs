//! Log-probabilities of tokens.

use super::scan::{Scale, larger, largest, largest_k};
use crate::Logprobs;

/// The natural log-probability of a token by logits `[V]` as the model gave them, and the `top` most
/// probable tokens (all, if there are not as many; impossible ones left out). The sum over the vocabulary
/// is in 64 bits. A token whose logit is `-∞` or that is beyond the vocabulary has `-∞`.
///
/// Logits that are not finite make no distribution: the log-probability is not a number then, and no
/// tokens are the most probable. [`crate::first_not_finite`] tells before.
pub fn logprobs(logits: &[f32], chosen: u32, top: usize) -> Logprobs {
    let best = match largest(logits) {
        Ok(best) => best.and_then(|best| logits.get(best)),
        Err(_) => return Logprobs { logprob: f32::NAN, top: Vec::new() },
    };
    let Some(&largest) = best else {
        return Logprobs { logprob: f32::NEG_INFINITY, top: Vec::new() };
    };
    let sum = Scale { largest, temperature: 1.0 }.sum(logits).ln();
    let of = |logit: f32| (f64::from(logit) - f64::from(largest) - sum) as f32;
    let mut tokens = if top == 0 { Vec::new() } else { largest_k(logits, top) };
    tokens.sort_unstable_by(larger);
    Logprobs {
        logprob: logits.get(chosen as usize).map_or(f32::NEG_INFINITY, |logit| of(*logit)),
        top: tokens.into_iter().map(|(token, logit)| (token, of(logit))).collect(),
    }
}
