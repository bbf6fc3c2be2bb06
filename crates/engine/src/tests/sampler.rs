//! Samplers against their definitions.

use crate::{Sampler, Sampling};
use proptest::prelude::*;
use std::collections::HashMap;

/// Draws `n` tokens and counts them.
fn draw(sampling: Sampling, logits: &[f32], n: usize) -> HashMap<u32, usize> {
    let mut sampler = Sampler::new(sampling);
    let mut counts = HashMap::new();
    for _ in 0..n {
        *counts.entry(sampler.choose(logits).unwrap()).or_default() += 1;
    }
    counts
}

/// The probabilities of the filtered distribution, from its definition, by sorting everything.
fn expected(sampling: &Sampling, logits: &[f32]) -> HashMap<u32, f64> {
    let mut all: Vec<(u32, f64)> = logits
        .iter()
        .enumerate()
        .map(|(n, l)| (n as u32, (f64::from(*l) / f64::from(sampling.temperature)).exp()))
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if sampling.top_k > 0 {
        all.truncate(sampling.top_k);
    }
    let total: f64 = all.iter().map(|(_, w)| w).sum();
    let mut mass = 0.0;
    let kept = all.iter().take_while(|(_, w)| {
        let before = mass;
        mass += w / total;
        before < f64::from(sampling.top_p)
    });
    let mut kept: Vec<(u32, f64)> = kept.copied().collect();
    let best = kept[0].1;
    kept.retain(|(_, w)| *w >= f64::from(sampling.min_p) * best);
    let total: f64 = kept.iter().map(|(_, w)| w).sum();
    kept.into_iter().map(|(n, w)| (n, w / total)).collect()
}

fn close(sampling: Sampling, logits: &[f32]) {
    const DRAWS: usize = 40_000;
    let expected = expected(&sampling, logits);
    let counts = draw(sampling.clone(), logits, DRAWS);
    for token in counts.keys() {
        assert!(expected.contains_key(token), "{sampling:?} drew the filtered token {token}");
    }
    for (token, probability) in expected {
        let seen = *counts.get(&token).unwrap_or(&0) as f64 / DRAWS as f64;
        // Five standard deviations of a binomial share.
        let bound = 5.0 * (probability * (1.0 - probability) / DRAWS as f64).sqrt() + 1e-4;
        assert!((seen - probability).abs() < bound, "{sampling:?}: {token} {seen} {probability}");
    }
}

#[test]
fn each_filter_gives_its_distribution() {
    let logits = [1.0, 3.0, -2.0, 2.5, 0.0, 2.9, -1.0, f32::NEG_INFINITY];
    let base = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
    close(base.clone(), &logits);
    close(Sampling { temperature: 0.5, ..base.clone() }, &logits);
    close(Sampling { temperature: 3.0, ..base.clone() }, &logits);
    close(Sampling { top_k: 3, ..base.clone() }, &logits);
    close(Sampling { top_p: 0.7, ..base.clone() }, &logits);
    close(Sampling { min_p: 0.2, ..base.clone() }, &logits);
    close(Sampling { top_k: 5, top_p: 0.9, min_p: 0.1, temperature: 1.7, ..base }, &logits);
}

#[test]
fn greedy_takes_the_first_of_equals_and_ignores_the_seed() {
    for seed in 0..20 {
        let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() });
        assert_eq!(sampler.choose(&[0.0, 2.0, 2.0, 1.0]), Ok(1));
    }
}

#[test]
fn logits_that_are_no_numbers_are_reported() {
    let mut sampler = Sampler::new(Sampling::default());
    assert_eq!(sampler.choose(&[0.0, f32::NAN]), Err(1));
    assert_eq!(sampler.choose(&[f32::INFINITY, 1.0]), Err(0));
    assert_eq!(sampler.choose(&[f32::NEG_INFINITY; 3]), Err(0));
    assert_eq!(sampler.choose(&[f32::NEG_INFINITY, -5.0]), Ok(1));
}

#[test]
fn seeds_repeat_and_differ() {
    let logits = vec![0.0; 100];
    let tokens = |seed| {
        let mut sampler = Sampler::new(Sampling { temperature: 1.0, seed, ..Sampling::default() });
        (0..50).map(|_| sampler.choose(&logits).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(tokens(1), tokens(1));
    assert_ne!(tokens(1), tokens(2));
}

#[test]
fn parameters_outside_their_ranges_are_named() {
    let check = |sampling: Sampling| {
        sampling.validate::<std::io::Error>().map_err(|error| error.to_string())
    };
    let base = Sampling::default();
    assert_eq!(check(base.clone()), Ok(()));
    for (sampling, name) in [
        (Sampling { temperature: -0.1, ..base.clone() }, "temperature"),
        (Sampling { temperature: f32::NAN, ..base.clone() }, "temperature"),
        (Sampling { top_p: 0.0, ..base.clone() }, "top_p"),
        (Sampling { top_p: 1.5, ..base.clone() }, "top_p"),
        (Sampling { min_p: -1.0, ..base.clone() }, "min_p"),
    ] {
        let message = check(sampling).unwrap_err();
        assert!(message.starts_with(name), "{message}");
    }
}

proptest! {
    /// The partial sort keeps what a full sort keeps, on vocabularies larger than its first part.
    #[test]
    fn filters_keep_what_their_definition_keeps(
        logits in prop::collection::vec(-8f32..8.0, 1..700),
        top_k in 0usize..300,
        top_p in 0.05f32..1.0,
        min_p in 0f32..0.5,
        seed in any::<u64>(),
    ) {
        let sampling = Sampling { temperature: 1.3, top_k, top_p, min_p, seed };
        let allowed = expected(&sampling, &logits);
        let mut sampler = Sampler::new(sampling);
        for _ in 0..20 {
            let token = sampler.choose(&logits).unwrap();
            prop_assert!(allowed.contains_key(&token), "{token} of {allowed:?}");
        }
    }
}
