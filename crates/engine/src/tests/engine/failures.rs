//! Failures, and callers that go away.

use super::super::support::{Bench, Ear, generate, plan, prompt, request};
use super::hand;
use crate::testing::{Fake, FakeSettings};
use crate::{Event, Failure, Limits, Sampling};

fn failing_at(step: usize) -> Bench {
    let settings = FakeSettings { fail_at: [step].into(), ..FakeSettings::default() };
    Bench::of(Fake::new(settings), &plan(2, 12))
}

#[test]
fn a_failed_step_fails_its_sequences_and_nothing_else() {
    let mut bench = failing_at(3);
    let ears: Vec<Ear> = (0..3).map(|n| bench.ask(&prompt(n, 5), generate(4))).collect();
    let again = bench.ask(&prompt(0, 5), generate(4));
    bench.run();
    for ear in &ears[..2] {
        let message = "step 3 was told to fail".into();
        assert_eq!(ear.last(), Some(Event::Failed(Failure::Runner { message })));
        assert!(!ear.tokens().is_empty());
    }
    assert_eq!(ears[2].tokens(), hand(&prompt(2, 5), 4));
    assert_eq!(again.tokens(), hand(&prompt(0, 5), 4));
    assert_eq!(again.cached(), Some(0), "nobody knows what the failed step left in the cache");
}

#[test]
fn a_panic_of_the_runner_is_a_failure() {
    let settings = FakeSettings { panic_at: [2].into(), ..FakeSettings::default() };
    let mut bench = Bench::of(Fake::new(settings), &plan(2, 12));
    let ear = bench.ask(&[1, 2], generate(4));
    bench.run();
    let message = "panicked: step 2 was told to panic".into();
    assert_eq!(ear.last(), Some(Event::Failed(Failure::Runner { message })));
    let next = bench.ask(&[1, 2], generate(4));
    bench.run();
    assert_eq!(next.tokens(), hand(&[1, 2], 4));
}

#[test]
fn logits_must_be_as_many_as_wanted_and_finite() {
    let runner = |logits: fn(&[u32]) -> Vec<f32>| {
        Bench::of(Fake::with_logits(FakeSettings::default(), logits), &plan(2, 12))
    };
    let mut bench = runner(|_| vec![0.0; 49]);
    let ear = bench.ask(&[1], generate(4));
    bench.run();
    let message = "49 numbers for 1 rows of 50".into();
    assert_eq!(ear.last(), Some(Event::Failed(Failure::Runner { message })));

    let mut bench = runner(|tokens| {
        let mut logits = vec![0.0; 50];
        logits[9] = if tokens.len() == 3 { f32::NAN } else { 1.0 };
        logits
    });
    let ear = bench.ask(&[1], generate(4));
    let echo = crate::Generate { prompt_logprobs: Some(0), ..generate(0) };
    let echo = bench.ask(&[1, 2, 3, 4, 5], echo);
    bench.run();
    assert_eq!(ear.tokens(), [9, 9]);
    for ear in [ear, echo] {
        let failure = Failure::NotFinite { tokens: 3, id: 9 };
        assert_eq!(ear.last(), Some(Event::Failed(failure)));
    }
}

#[test]
fn nothing_to_choose_is_a_failure() {
    let mut bench = Bench::new(2, 12);
    let limits = Limits { max_tokens: Some(3), min_tokens: 3, end_ids: (0..50).collect() };
    let ear = bench.ask(&[1], crate::Generate { limits, ..generate(3) });
    let logit_bias = (0..50).map(|id| (id, f32::NEG_INFINITY)).collect();
    let sampling = Sampling { logit_bias, ..Sampling::default() };
    let biased = bench.ask(&[1], crate::Generate { sampling, ..generate(3) });
    bench.run();
    for ear in [ear, biased] {
        assert!(matches!(ear.last(), Some(Event::Failed(Failure::Constraint { .. }))));
    }
}

#[test]
fn who_goes_away_is_gone_before_the_next_step() {
    let mut bench = Bench::new(2, 20);
    let prefilling = bench.ask(&prompt(1, 30), generate(4));
    let decoding = bench.ask(&prompt(2, 3), generate(9));
    let waiting = bench.ask(&prompt(3, 3), generate(4));
    let stays = bench.ask(&prompt(4, 3), generate(4));
    bench.turn();
    waiting.close();
    bench.turn();
    assert_eq!(bench.engine.statistics().waiting, 1);
    prefilling.close();
    let steps = bench.journal.steps().len();
    bench.turn();
    assert_eq!(bench.journal.steps().len(), steps + 1);
    assert_eq!(bench.engine.statistics().running, 2);
    assert!(prefilling.tokens().is_empty() && prefilling.last().is_some());
    bench.turn();
    decoding.close();
    bench.run();
    assert!(!decoding.tokens().is_empty() && !decoding.has_ended());
    assert_eq!(waiting.events(), []);
    assert_eq!(stays.tokens(), hand(&prompt(4, 3), 4));
    assert_eq!(bench.engine.statistics().cancelled, 3);
    // What was computed of the prompt is known.
    let again = bench.ask(&prompt(1, 30), generate(1));
    bench.run();
    assert_eq!(again.cached(), Some(16));
    assert_eq!(again.tokens(), hand(&prompt(1, 30), 1));
}

#[test]
fn a_caller_that_panics_concerns_nobody_else() {
    let mut bench = Bench::new(2, 20);
    let broken = Ear::panicking();
    bench.engine.submit(request(&[1, 2], generate(9), &broken));
    let other = bench.ask(&[3, 4], generate(9));
    bench.run();
    assert_eq!(other.tokens(), hand(&[3, 4], 9));
    assert_eq!(broken.tokens().len(), 1);
    assert!(matches!(broken.last(), Some(Event::Failed(_))), "it is told why");
}

#[test]
fn after_an_unexpected_panic_everything_begins_anew() {
    let mut bench = Bench::new(2, 20);
    let ears: Vec<Ear> = (0..3).map(|n| bench.ask(&prompt(n, 5), generate(9))).collect();
    bench.turn();
    bench.engine.reset("by a mistake");
    bench.engine.farewell();
    let message = "by a mistake".into();
    let failure = Event::Failed(Failure::Runner { message });
    assert!(ears.iter().all(|ear| ear.last().as_ref() == Some(&failure)));
    assert!(bench.engine.is_idle());
    let next = bench.ask(&prompt(0, 5), generate(9));
    bench.run();
    assert_eq!(next.tokens(), hand(&prompt(0, 5), 9));
    assert!(bench.engine.statistics().prompt_tokens > 5, "counters only grow");
}
