//! Samplers against their definitions.

mod definition;
mod distributions;
mod ends;
mod filters;
mod hostile;
mod logprobs;
mod parameters;
mod penalties;
mod scan;

use crate::{Dry, Sampler, Sampling};
use std::sync::Arc;

/// Temperature 1, no filter.
fn plain() -> Sampling {
    Sampling { temperature: 1.0, seed: 7, ..Sampling::default() }
}

/// DRY with numbers that are easy to follow.
fn dry(allowed_length: usize, breakers: &[u32]) -> Dry {
    let breakers = Arc::new(breakers.iter().copied().collect());
    Dry { multiplier: 0.5, base: 2.0, allowed_length, range: None, breakers }
}

/// Logits that leave nothing but one token.
fn only(token: u32, vocabulary: usize) -> Vec<f32> {
    let mut logits = vec![f32::NEG_INFINITY; vocabulary];
    logits[token as usize] = 0.0;
    logits
}

/// A sampler that has chosen a continuation already.
fn continued(
    sampling: Sampling,
    prompt: &[u32],
    continuation: &[u32],
    vocabulary: usize,
) -> Sampler {
    let mut sampler = Sampler::new(sampling, prompt);
    for token in continuation {
        assert_eq!(sampler.choose(&only(*token, vocabulary), None, &[]), Ok(*token));
    }
    sampler
}
