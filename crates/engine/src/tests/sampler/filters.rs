//! The tokens that filters keep are those of the definition.

use super::definition::{adjusted, filtered};
use super::plain;
use crate::Sampling;
use crate::sampling::candidates::{Candidates, filters};
use crate::sampling::scan::Scale;
use proptest::prelude::*;

/// Tokens and probabilities that our filters leave.
fn kept(sampling: &Sampling, logits: &[f32], xtc: bool) -> Vec<(u32, f64)> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scale = Scale { largest, temperature: sampling.temperature };
    let candidates = Candidates::of(logits, scale, sampling, xtc);
    let total: f64 = candidates.kept().iter().map(|candidate| f64::from(candidate.weight)).sum();
    let share = |weight: f32| f64::from(weight) / total;
    candidates.kept().iter().map(|candidate| (candidate.token, share(candidate.weight))).collect()
}

fn compare(sampling: &Sampling, logits: &[f32], xtc: bool) -> Result<(), TestCaseError> {
    let exact = adjusted(sampling, &[], &[], logits);
    let defined = filtered(sampling, &exact, xtc);
    prop_assume!(defined.margin > 1e-6);
    let kept = kept(sampling, logits, xtc);
    let tokens: Vec<u32> = kept.iter().map(|(token, _)| *token).collect();
    let expected: Vec<u32> = defined.probabilities.keys().copied().collect();
    prop_assert_eq!(tokens, expected);
    for ((_, ours), theirs) in kept.iter().zip(defined.probabilities.values()) {
        prop_assert!((ours - theirs).abs() < 1e-5 * theirs + 1e-12, "{} {}", ours, theirs);
    }
    Ok(())
}

/// Few distinct values, so that there are equals, or many.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let coarse = prop::collection::vec((-8i32..8).prop_map(|n| n as f32 * 0.7), 1..700);
    let fine = prop::collection::vec(-8f32..8.0, 1..3000);
    let holes = prop_oneof![4 => -8f32..8.0, 1 => Just(f32::NEG_INFINITY)];
    let holes = prop::collection::vec(holes, 1..200).prop_map(|mut logits| {
        logits.push(1.0);
        logits
    });
    prop_oneof![coarse, fine, holes]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn top_k(logits in logits(), top_k in 1usize..400, temperature in 0.2f32..4.0) {
        compare(&Sampling { top_k, temperature, ..plain() }, &logits, false)?;
    }

    #[test]
    fn top_p(logits in logits(), top_p in 0.02f32..0.995, temperature in 0.2f32..4.0) {
        compare(&Sampling { top_p, temperature, ..plain() }, &logits, false)?;
    }

    #[test]
    fn min_p(logits in logits(), min_p in 0.0f32..0.9, temperature in 0.2f32..4.0) {
        compare(&Sampling { min_p, temperature, ..plain() }, &logits, false)?;
    }

    #[test]
    fn typical_p(logits in logits(), typical_p in 0.02f32..0.99, temperature in 0.2f32..2.0) {
        compare(&Sampling { typical_p, temperature, ..plain() }, &logits, false)?;
    }

    #[test]
    fn xtc(logits in logits(), xtc_threshold in 0.0f32..0.5, temperature in 0.2f32..2.0) {
        compare(&Sampling { xtc_threshold, temperature, ..plain() }, &logits, true)?;
    }

    #[test]
    fn together(
        logits in logits(),
        top_k in 0usize..300,
        (top_p, typical_p) in (0.3f32..0.99, 0.3f32..0.99),
        (min_p, xtc_threshold) in (0.0f32..0.3, 0.02f32..0.4),
        (temperature, xtc) in (0.3f32..2.0, any::<bool>()),
    ) {
        let sampling = Sampling {
            top_k, top_p, typical_p, min_p, xtc_threshold, temperature, ..plain()
        };
        compare(&sampling, &logits, xtc)?;
    }
}

#[test]
fn equals_at_the_border_are_kept_by_smaller_ids() {
    let logits = [1.0, 2.0, 1.0, 2.0, 1.0];
    let tokens = |sampling: Sampling| -> Vec<u32> {
        kept(&sampling, &logits, false).into_iter().map(|(token, _)| token).collect()
    };
    assert_eq!(tokens(Sampling { top_k: 3, ..plain() }), [0, 1, 3]);
    assert_eq!(tokens(Sampling { top_k: 1, ..plain() }), [1]);
    // The two of logit 2 have 0.32 each, the others 0.12.
    assert_eq!(tokens(Sampling { top_p: 0.3, ..plain() }), [1]);
    assert_eq!(tokens(Sampling { top_p: 0.7, ..plain() }), [0, 1, 3]);
    assert_eq!(tokens(Sampling { min_p: 1.0, ..plain() }), [1, 3]);
}

#[test]
fn what_changes_nothing_is_no_filter() {
    assert!(!filters(&plain(), false, 100));
    assert!(!filters(&Sampling { top_k: 100, ..plain() }, false, 100));
    assert!(filters(&Sampling { top_k: 99, ..plain() }, false, 100));
    assert!(filters(&plain(), true, 100));
}
