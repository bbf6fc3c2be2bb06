//! Sequences that may not end yet.

use crate::testing::{Fake, FakeSettings, by_hand};
use crate::{EngineError, FinishReason, Generator, Limits, Sampling};

#[test]
fn end_tokens_wait_for_the_least_length() {
    let settings = FakeSettings::default();
    let vocabulary = settings.vocabulary;
    // Token 3 follows everything, and ends the text.
    let mut generator = Generator::new(Fake::scripted(settings, |_| 3));
    let limits =
        Limits { max_tokens: Some(9), min_tokens: 2, end_ids: vec![3, vocabulary as u32 + 5] };
    let mut generation = generator.generate(&[1], &Sampling::default(), limits).unwrap();
    let made: Vec<u32> = generation.by_ref().map(Result::unwrap).collect();
    assert_eq!(made, [0, 0, 3], "the first of the others until then");
    assert_eq!(generation.finish_reason(), Some(FinishReason::Stop));
}

#[test]
fn where_nothing_may_follow_the_engine_says_so() {
    let settings = FakeSettings::default();
    let vocabulary = settings.vocabulary as u32;
    let first = by_hand(&[1, 2], 1, settings.vocabulary)[0];
    let mut generator = Generator::new(Fake::new(settings));
    let limits =
        |min_tokens| Limits { max_tokens: Some(3), min_tokens, end_ids: (0..vocabulary).collect() };
    let mut run = |min_tokens| {
        let generation = generator.generate(&[1, 2], &Sampling::default(), limits(min_tokens));
        generation.unwrap().next().unwrap()
    };
    assert!(matches!(run(1), Err(EngineError::NothingAllowed { tokens: 2 })));
    assert!(matches!(run(0), Ok(token) if token == first));
}
