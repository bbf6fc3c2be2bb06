//! Biases, penalties and DRY.

use super::definition::adjusted;
use super::{continued, dry, plain};
use crate::sampling::penalties::History;
use crate::{Dry, Sampler, Sampling};
use proptest::prelude::*;
use std::sync::Arc;

const VOCABULARY: usize = 12;

/// What our adjustments make of logits.
fn ours(sampling: &Sampling, prompt: &[u32], continuation: &[u32], logits: &[f32]) -> Vec<f32> {
    let mut history = History::new(sampling, prompt);
    continuation.iter().for_each(|token| history.push(sampling, *token));
    let mut logits = logits.to_vec();
    history.adjust(sampling, &mut logits);
    logits
}

/// What DRY takes from each token's logit of 0.
fn losses(dry: Dry, text: &[u32]) -> Vec<f32> {
    let sampling = Sampling { dry: Some(dry), ..plain() };
    ours(&sampling, text, &[], &[0.0; VOCABULARY]).iter().map(|logit| 0.0 - logit).collect()
}

fn texts() -> impl Strategy<Value = (Vec<u32>, Vec<u32>)> {
    let token = 0..4u32;
    (prop::collection::vec(token.clone(), 0..40), prop::collection::vec(token, 0..20))
}

proptest! {
    #[test]
    fn penalties_and_biases_are_their_definitions(
        logits in prop::collection::vec(-8f32..8.0, VOCABULARY),
        (prompt, continuation) in texts(),
        (repetition_penalty, frequency_penalty) in (0.5f32..2.0, -2f32..2.0),
        presence_penalty in -2f32..2.0,
        logit_bias in prop::collection::vec((0..VOCABULARY as u32, -3f32..3.0), 0..4),
    ) {
        let sampling = Sampling {
            repetition_penalty, frequency_penalty, presence_penalty, logit_bias, ..plain()
        };
        let expected = adjusted(&sampling, &prompt, &continuation, &logits);
        let found = ours(&sampling, &prompt, &continuation, &logits);
        for (ours, exact) in found.iter().zip(expected) {
            prop_assert!((f64::from(*ours) - exact).abs() < 1e-4, "{} {}", ours, exact);
        }
    }

    #[test]
    fn dry_is_its_definition(
        (prompt, continuation) in texts(),
        allowed_length in 0usize..5,
        range in prop::option::of(0usize..70),
        breakers in prop::collection::btree_set(0..4u32, 0..2),
        base in 1f32..1.4,
    ) {
        let dry = Dry { multiplier: 0.3, base, allowed_length, range, breakers: Arc::new(breakers) };
        let sampling = Sampling { dry: Some(dry), ..plain() };
        let logits = [0f32; VOCABULARY];
        let expected = adjusted(&sampling, &prompt, &continuation, &logits);
        let found = ours(&sampling, &prompt, &continuation, &logits);
        for (ours, exact) in found.iter().zip(expected) {
            let bound = 1e-5 * (1.0 + exact.abs());
            prop_assert!((f64::from(*ours) - exact).abs() < bound, "{} {}", ours, exact);
        }
    }
}

#[test]
fn dry_by_hand() {
    // "1 2 3" came before; after "1 2", 3 would extend a repetition of two.
    assert_eq!(losses(dry(2, &[]), &[1, 2, 3, 9, 1, 2])[3], 0.5);
    // Of three: one more than allowed.
    assert_eq!(losses(dry(2, &[]), &[7, 1, 2, 3, 9, 7, 1, 2])[3], 1.0);
    // Of one: free.
    assert_eq!(losses(dry(2, &[]), &[2, 3, 9, 2]), [0.0; VOCABULARY]);
    // Two places: the longer repetition counts, not both.
    assert_eq!(losses(dry(1, &[]), &[2, 3, 1, 2, 3, 9, 1, 2])[3], 1.0);
    // Places may overlap: "5 5 5" repeats "5 5".
    assert_eq!(losses(dry(2, &[]), &[5, 5, 5])[5], 0.5);
}

#[test]
fn dry_respects_breakers_and_range() {
    let text = [7, 1, 2, 3, 9, 7, 1, 2];
    // Only "2" follows the breaker 1; the breaker 2 ends the text; a breaker is never penalised.
    assert_eq!(losses(dry(1, &[1]), &text)[3], 0.5);
    assert_eq!(losses(dry(1, &[2]), &text), [0.0; VOCABULARY]);
    assert_eq!(losses(dry(1, &[3]), &text), [0.0; VOCABULARY]);
    let within = |range| losses(Dry { range: Some(range), ..dry(1, &[]) }, &text)[3];
    // The search sees "2 3 9 7 1 2", then "1 2 3 …", then all; and not so far.
    assert_eq!([within(6), within(7), within(8), within(99)], [0.5, 1.0, 2.0, 2.0]);
    assert_eq!([within(0), within(1), within(5)], [0.0; 3]);
}

#[test]
fn dry_takes_linear_time() {
    // A quadratic search would take minutes.
    let text = vec![5; 300_000];
    assert_eq!(losses(Dry { base: 1.0, ..dry(2, &[]) }, &text)[5], 0.5);
}

#[test]
fn possible_tokens_stay_possible_and_impossible_ones_impossible() {
    let strong = Dry { multiplier: f32::MAX, base: f32::MAX, ..dry(0, &[]) };
    let sampling = Sampling {
        dry: Some(strong),
        repetition_penalty: f32::MAX,
        frequency_penalty: f32::MAX,
        presence_penalty: f32::MAX,
        logit_bias: vec![(0, f32::MAX), (1, f32::MIN), (2, f32::MAX)],
        ..plain()
    };
    let text = [0, 1, 2].repeat(20);
    let logits = [f32::MAX, f32::MIN, f32::NEG_INFINITY];
    let adjusted = ours(&sampling, &text, &text, &logits);
    assert!(adjusted[0].is_finite() && adjusted[1].is_finite(), "{adjusted:?}");
    assert_eq!(adjusted[2], f32::NEG_INFINITY);
    let mut sampler = continued(sampling, &text, &[0, 1, 0, 1], 3);
    assert!(sampler.choose(&logits, None, &[]).is_ok());
}

#[test]
fn the_prompt_counts_for_repetition_only() {
    let base = Sampling::default();
    let choose = |sampling: &Sampling, prompt: &[u32]| {
        Sampler::new(sampling.clone(), prompt).choose(&[1.0, 2.0, 1.5], None, &[])
    };
    assert_eq!(choose(&Sampling { repetition_penalty: 2.0, ..base.clone() }, &[1]), Ok(2));
    assert_eq!(choose(&Sampling { frequency_penalty: 2.0, ..base.clone() }, &[1]), Ok(1));
    assert_eq!(choose(&Sampling { presence_penalty: 2.0, ..base.clone() }, &[1]), Ok(1));
}

#[test]
fn greedy_choices_are_remembered() {
    let sampling = Sampling { frequency_penalty: 0.4, ..Sampling::default() };
    let mut sampler = Sampler::new(sampling, &[]);
    let mut chosen = Vec::new();
    for _ in 0..5 {
        chosen.push(sampler.choose(&[0.0, 1.0, 0.9], None, &[]).unwrap());
    }
    assert_eq!(chosen, [1, 2, 1, 2, 1]);
}
