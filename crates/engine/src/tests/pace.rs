//! Learning how long steps take.

use crate::pace::Pace;

/// A step takes 10 ms and 1 ms per token.
fn linear(tokens: usize) -> f64 {
    0.010 + 0.001 * tokens as f64
}

fn learned(factor: f64, sizes: &[usize]) -> Pace {
    let mut pace = Pace::new(factor);
    for &tokens in sizes {
        pace.record(tokens, linear(tokens));
    }
    pace
}

#[test]
fn prompts_alone_are_not_held_back() {
    assert_eq!(learned(2.0, &[4, 100]).budget(0, 512), 512);
    assert_eq!(Pace::new(2.0).budget(0, 512), 512);
}

#[test]
fn the_budget_keeps_the_pace() {
    let pace = learned(2.5, &[4, 20, 100, 512]);
    // 14 ms alone, at most 35 ms: 25 tokens, 4 of them continue.
    assert_eq!(pace.budget(4, 512), 21);
    let pace = learned(5.0, &[4, 20, 100, 512]);
    assert_eq!(pace.budget(4, 512), 56);
    assert_eq!(pace.budget(4, 40), 36, "a step holds no more");
    assert_eq!(learned(1e9, &[4, 512]).budget(4, 512), 508);
}

#[test]
fn prompts_get_the_least_in_any_case() {
    assert_eq!(Pace::new(2.0).budget(4, 512), 4);
    assert_eq!(learned(1.0, &[4, 100]).budget(4, 512), 4);
    assert_eq!(learned(f64::NAN, &[4, 100]).budget(4, 512), 4);
    assert_eq!(learned(0.0, &[4, 100]).budget(4, 7), 3);
    assert_eq!(learned(2.0, &[4, 100]).budget(20, 10), 0);
}

#[test]
fn predictions_reach_only_a_little_beyond_what_was_measured() {
    let mut pace = Pace::new(2.0);
    pace.record(4, 0.010);
    assert_eq!(pace.budget(4, 512), 4, "proportional, as long as there is but one");
    pace.record(20, 0.010);
    assert_eq!(pace.budget(4, 512), 76, "four times the largest");
    pace.record(80, 0.012);
    assert!(pace.budget(4, 512) > 200);
}

#[test]
fn single_disturbances_do_not_count_and_changes_do() {
    let mut pace = learned(3.0, &[4, 4, 4, 100, 100, 100]);
    let before = pace.budget(4, 512);
    pace.record(4, 60.0);
    pace.record(100, 0.0);
    pace.record(100, f64::NAN);
    pace.record(0, 1.0);
    assert_eq!(pace.budget(4, 512), before);
    // Sequences grow longer: everything takes 20 ms more.
    for _ in 0..9 {
        pace.record(4, linear(4) + 0.020);
        pace.record(100, linear(100) + 0.020);
    }
    // 34 ms alone, at most 102 ms: 72 tokens.
    assert_eq!(pace.budget(4, 512), 68);
}

#[test]
fn the_first_step_of_a_size_may_be_slow() {
    let mut pace = learned(3.0, &[4, 4]);
    pace.record(100, 90.0);
    pace.record(100, linear(100));
    assert_eq!(pace.budget(4, 512), learned(3.0, &[4, 100]).budget(4, 512));
}
