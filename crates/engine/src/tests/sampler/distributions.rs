//! Draws follow the distribution that the parameters define.

use super::definition::{adjusted, distribution};
use super::{continued, dry, plain};
use crate::{Sampler, Sampling, TokenMask};
use std::collections::BTreeMap;

const DRAWS: usize = 20_000;
const LOGITS: [f32; 10] = [1.0, 3.0, -2.0, 2.5, 0.0, 2.9, -1.0, f32::NEG_INFINITY, 2.2, 1.7];

/// Pearson's chi-square test; tokens that are expected less than five times count together.
fn assert_drawn(counts: &BTreeMap<u32, usize>, expected: &BTreeMap<u32, f64>, what: &str) {
    let draws = counts.values().sum::<usize>() as f64;
    for token in counts.keys() {
        assert!(expected.contains_key(token), "{what}: the filtered token {token} was drawn");
    }
    let (mut statistic, mut cells, mut rare) = (0.0, 0.0, (0.0, 0.0));
    for (token, probability) in expected {
        let (seen, wanted) = (counts.get(token).map_or(0.0, |n| *n as f64), probability * draws);
        if wanted < 5.0 {
            rare = (rare.0 + seen, rare.1 + wanted);
        } else {
            statistic += (seen - wanted).powi(2) / wanted;
            cells += 1.0;
        }
    }
    if rare.1 > 0.0 {
        statistic += (rare.0 - rare.1).powi(2) / rare.1.max(1.0);
        cells += 1.0;
    }
    // The mean of a chi-square distribution is its degrees of freedom, the variance twice that.
    let freedom: f64 = (cells - 1.0f64).max(0.0);
    let bound = freedom + 4.0 * (2.0 * freedom).sqrt() + 1e-9;
    assert!(statistic <= bound, "{what}: {statistic} > {bound}: {counts:?} of {expected:?}");
}

/// Draws from one sampler, where its history changes nothing.
fn draw(sampling: &Sampling, logits: &[f32]) -> BTreeMap<u32, usize> {
    let mut sampler = Sampler::new(sampling.clone(), &[]);
    let mut counts = BTreeMap::new();
    for _ in 0..DRAWS {
        *counts.entry(sampler.choose(logits, None, &[]).unwrap()).or_default() += 1;
    }
    counts
}

fn follows_its_definition(sampling: Sampling) {
    let exact: Vec<f64> = LOGITS.iter().copied().map(f64::from).collect();
    let expected = distribution(&sampling, &exact);
    assert_drawn(&draw(&sampling, &LOGITS), &expected, &format!("{sampling:?}"));
}

#[test]
fn temperature() {
    for temperature in [0.3, 1.0, 3.0, 50.0] {
        follows_its_definition(Sampling { temperature, ..plain() });
    }
}

#[test]
fn top_k() {
    for top_k in [2, 3, 9, 10, 11] {
        follows_its_definition(Sampling { top_k, ..plain() });
    }
}

#[test]
fn top_p() {
    for top_p in [0.1, 0.5, 0.7, 0.95] {
        follows_its_definition(Sampling { top_p, ..plain() });
    }
}

#[test]
fn min_p() {
    for min_p in [0.05, 0.2, 0.7, 1.0] {
        follows_its_definition(Sampling { min_p, ..plain() });
    }
}

#[test]
fn typical() {
    for typical_p in [0.1, 0.5, 0.9] {
        follows_its_definition(Sampling { typical_p, ..plain() });
        follows_its_definition(Sampling { typical_p, temperature: 0.4, ..plain() });
    }
}

#[test]
fn xtc() {
    for (xtc_probability, xtc_threshold) in [(1.0, 0.1), (0.5, 0.15), (0.3, 0.0), (1.0, 0.6)] {
        follows_its_definition(Sampling { xtc_probability, xtc_threshold, ..plain() });
    }
}

#[test]
fn all_filters_together() {
    let some = Sampling { top_k: 8, top_p: 0.93, min_p: 0.1, temperature: 1.7, ..plain() };
    follows_its_definition(some.clone());
    let xtc_probability = 0.5;
    follows_its_definition(Sampling { typical_p: 0.95, xtc_probability, ..some });
}

#[test]
fn a_large_vocabulary_is_drawn_from_in_proportion() {
    // Several blocks, and a part of one. Ten groups of tokens, the later ones more probable.
    let logits: Vec<f32> = (0..5003).map(|token| (token / 501) as f32 * 0.3).collect();
    let exact: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    let mut expected = BTreeMap::new();
    for (token, probability) in distribution(&plain(), &exact) {
        *expected.entry(token / 501).or_default() += probability;
    }
    let mut counts = BTreeMap::new();
    for (token, count) in draw(&plain(), &logits) {
        *counts.entry(token / 501).or_default() += count;
    }
    assert_drawn(&counts, &expected, "groups");
}

/// Draws after a text, each by another seed.
fn follows_after(sampling: Sampling, prompt: &[u32], continuation: &[u32]) {
    let expected = distribution(&sampling, &adjusted(&sampling, prompt, continuation, &LOGITS));
    let mut counts = BTreeMap::new();
    for seed in 0..5000 {
        let sampling = Sampling { seed, ..sampling.clone() };
        let mut sampler = continued(sampling, prompt, continuation, LOGITS.len());
        *counts.entry(sampler.choose(&LOGITS, None, &[]).unwrap()).or_default() += 1;
    }
    assert_drawn(&counts, &expected, &format!("{sampling:?}"));
}

#[test]
fn penalties_and_biases() {
    let (prompt, continuation) = ([1, 2, 1, 3, 4], [5, 5, 6]);
    let base = plain();
    follows_after(Sampling { repetition_penalty: 1.5, ..base.clone() }, &prompt, &continuation);
    follows_after(Sampling { frequency_penalty: 0.7, ..base.clone() }, &prompt, &continuation);
    follows_after(Sampling { presence_penalty: -0.9, ..base.clone() }, &prompt, &continuation);
    let logit_bias = vec![(0, 2.0), (1, f32::NEG_INFINITY), (0, -0.5)];
    follows_after(Sampling { logit_bias, ..base }, &prompt, &continuation);
}

#[test]
fn dry_after_a_repetition() {
    let sampling = Sampling { dry: Some(dry(2, &[])), ..plain() };
    follows_after(sampling.clone(), &[5, 3, 1, 8, 5, 3], &[1]);
    follows_after(sampling, &[5, 3, 1, 8, 4, 3, 5], &[5, 3]);
}

#[test]
fn masks_cut_before_the_filters() {
    let mut mask = TokenMask::none(LOGITS.len());
    [0, 2, 4, 6, 8].into_iter().for_each(|token| mask.allow(token));
    let sampling = Sampling { top_p: 0.9, ..plain() };
    let exact = LOGITS.iter().enumerate().map(|(token, logit)| {
        let kept = mask.allows(token as u32) && token != 8;
        if kept { f64::from(*logit) } else { f64::NEG_INFINITY }
    });
    let expected = distribution(&sampling, &exact.collect::<Vec<f64>>());
    let mut sampler = Sampler::new(sampling, &[]);
    let mut counts = BTreeMap::new();
    for _ in 0..DRAWS {
        *counts.entry(sampler.choose(&LOGITS, Some(&mask), &[8]).unwrap()).or_default() += 1;
    }
    assert_drawn(&counts, &expected, "masked");
}
