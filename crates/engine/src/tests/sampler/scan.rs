//! Passes over all logits.

use crate::first_not_finite;
use crate::sampling::exponential::exponential;
use crate::sampling::mass::{Ranked, last_needed};
use crate::sampling::scan::{Scale, larger, largest, largest_k};
use proptest::prelude::*;

#[test]
fn the_exponential_is_right_to_an_ulp_or_so() {
    let mut worst = 0f64;
    for n in 0..=870_000 {
        let x = -(n as f32) * 1e-4;
        let exact = f64::from(x).exp();
        worst = worst.max((f64::from(exponential(x)) - exact).abs() / exact);
    }
    assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
    assert_eq!(exponential(0.0), 1.0);
    assert_eq!(exponential(-0.0), 1.0);
    for x in [-87.1, -1e9, f32::MIN, f32::NEG_INFINITY, f32::NAN] {
        assert_eq!(exponential(x), 0.0, "{x}");
    }
}

#[test]
fn what_is_not_finite_is_found_wherever_it_is() {
    for length in [1, 15, 16, 17, 1024, 1025, 3000] {
        let fine = vec![-1.0f32; length];
        assert_eq!(first_not_finite(&fine), None);
        for place in [0, length / 2, length - 1] {
            for value in [f32::NAN, -f32::NAN, f32::INFINITY] {
                let mut logits = fine.clone();
                logits[length - 1] = f32::NAN;
                logits[place] = value;
                assert_eq!(first_not_finite(&logits), Some(place), "{value} in {length}");
            }
            let mut logits = fine.clone();
            logits[place] = f32::NEG_INFINITY;
            assert_eq!(first_not_finite(&logits), None);
        }
    }
}

#[test]
fn zeros_of_both_signs_are_equal() {
    assert_eq!(largest(&[-1.0, -0.0, 0.0]), Ok(Some(1)));
    assert_eq!(largest(&[-1.0, 0.0, -0.0]), Ok(Some(1)));
    assert_eq!(largest_k(&[-0.0, 0.0, 0.0, -0.0], 2), [(0, -0.0), (1, 0.0)]);
}

#[test]
fn draws_reach_both_ends() {
    let mut logits = vec![f32::NEG_INFINITY; 4000];
    (logits[1500], logits[2500], logits[2501]) = (0.0, 0.0, 0.0);
    let scale = Scale { largest: 0.0, temperature: 1.0 };
    assert_eq!(scale.draw(&logits, 0.0), Some(1500));
    assert_eq!(scale.draw(&logits, 0.34), Some(2500));
    assert_eq!(scale.draw(&logits, 1.0 - f64::EPSILON / 2.0), Some(2501));
    assert_eq!(scale.draw(&logits, 1.0), Some(2501), "a sliver belongs to the last");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_largest_is_the_first_of_equals(logits in prop::collection::vec(-9i32..9, 0..4000)) {
        let logits: Vec<f32> = logits.into_iter().map(|n| n as f32).collect();
        let mut best = None;
        for (n, logit) in logits.iter().enumerate() {
            if best.is_none_or(|best: usize| *logit > logits[best]) {
                best = Some(n);
            }
        }
        prop_assert_eq!(largest(&logits), Ok(best));
    }

    #[test]
    fn the_largest_k_are_those_of_a_sort(
        logits in prop::collection::vec(-300i32..300, 1..6000),
        k in 1usize..2000,
        ascending in any::<bool>(),
    ) {
        let mut logits: Vec<f32> = logits.into_iter().map(|n| n as f32).collect();
        if ascending {
            logits.sort_by(f32::total_cmp);
        }
        let mut expected: Vec<(u32, f32)> =
            logits.iter().enumerate().map(|(n, logit)| (n as u32, *logit)).collect();
        expected.sort_by(larger);
        expected.truncate(k);
        expected.sort_by_key(|(token, _)| *token);
        prop_assert_eq!(largest_k(&logits, k), expected);
    }

    #[test]
    fn the_fewest_that_reach_a_mass(
        weights in prop::collection::vec((0u8..20, 0u8..9), 0..300),
        target in 0f64..2000.0,
    ) {
        let ranked = |(n, (key, weight)): (usize, &(u8, u8))| {
            Ranked { key: f64::from(*key), token: n as u32, weight: f32::from(*weight) }
        };
        let mut entries: Vec<Ranked> = weights.iter().enumerate().map(ranked).collect();
        let mut sorted = entries.clone();
        sorted.sort_by(Ranked::order);
        let mut sum = 0.0;
        let reached = sorted.iter().find(|entry| {
            sum += f64::from(entry.weight);
            sum >= target
        });
        prop_assert_eq!(last_needed(&mut entries, target), reached.or(sorted.last()).copied());
    }
}
