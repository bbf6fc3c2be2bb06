//! Generation over a runner whose arithmetic can be done by hand.

use crate::testing::{Fake, FakeError, FakeSettings, by_hand};
use crate::{EngineError, FinishReason, Generator, Limits, Sampling};

fn runner() -> Fake {
    Fake::new(FakeSettings::default())
}

fn hand(prompt: &[u32], count: usize) -> Vec<u32> {
    by_hand(prompt, count, FakeSettings::default().vocabulary)
}

fn limits(max_tokens: usize) -> Limits {
    Limits { max_tokens: Some(max_tokens), ..Limits::default() }
}

fn tokens(generator: &mut Generator<Fake>, prompt: &[u32], limits: Limits) -> Vec<u32> {
    let generation = generator.generate(prompt, &Sampling::default(), limits).unwrap();
    generation.map(Result::unwrap).collect()
}

#[test]
fn prompts_are_split_into_steps_and_continued() {
    let prompt: Vec<u32> = (0..19).collect();
    let mut generator = Generator::new(runner());
    assert_eq!(tokens(&mut generator, &prompt, limits(5)), hand(&prompt, 5));
    assert_eq!(generator.runner().journal().steps(), [8, 8, 3, 1, 1, 1, 1]);
    let mut lengths = vec![19; 19];
    lengths.extend([20, 21, 22, 23]);
    assert_eq!(
        generator.runner().journal().lengths(),
        lengths,
        "a prompt's tokens carry its whole length"
    );
}

#[test]
fn ends_are_reported() {
    let prompt = [3, 4];
    let all = hand(&prompt, 10);
    let mut generator = Generator::new(runner());
    let ends = Limits { max_tokens: Some(10), end_ids: vec![all[3]], min_tokens: 0 };
    let mut generation = generator.generate(&prompt, &Sampling::default(), ends).unwrap();
    let made: Vec<u32> = generation.by_ref().map(Result::unwrap).collect();
    assert_eq!(made, all[..4], "the token that ends the text is the last");
    assert_eq!(generation.finish_reason(), Some(FinishReason::Stop));

    let mut generation = generator.generate(&prompt, &Sampling::default(), limits(2)).unwrap();
    assert_eq!(generation.by_ref().count(), 2);
    assert_eq!(generation.finish_reason(), Some(FinishReason::Length));

    let mut generation = generator.generate(&prompt, &Sampling::default(), limits(0)).unwrap();
    assert!(generation.next().is_none());
    assert_eq!(generation.finish_reason(), Some(FinishReason::Length));
}

#[test]
fn the_context_bounds_prompt_and_answer() {
    let mut generator = Generator::new(runner());
    let full: Vec<u32> = (0..40).collect();
    // The last token needs no place in the cache.
    assert_eq!(tokens(&mut generator, &full, Limits::default()), hand(&full, 1));
    assert_eq!(tokens(&mut generator, &full[..37], Limits::default()), hand(&full[..37], 4));
    let long: Vec<u32> = (0..41).collect();
    let error = generator.generate(&long, &Sampling::default(), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "the prompt has 41 tokens, but the context holds 40");
}

#[test]
fn bad_prompts_are_refused() {
    let mut generator = Generator::new(runner());
    let mut refuse = |prompt: &[u32]| {
        generator.generate(prompt, &Sampling::default(), Limits::default()).unwrap_err().to_string()
    };
    assert!(refuse(&[]).contains("empty"));
    assert!(refuse(&[1, 50]).contains("token id 50 at position 1"));
}

#[test]
fn a_shared_prefix_is_not_run_again() {
    let mut generator = Generator::new(runner());
    let prompt: Vec<u32> = (0..10).collect();
    let answer = tokens(&mut generator, &prompt, limits(3));
    let longer = [&prompt[..], &answer, &[7, 7]].concat();
    generator.runner().journal().clear();
    assert_eq!(tokens(&mut generator, &longer, limits(2)), hand(&longer, 2));
    // 15 tokens, of which 10 + 2 are cached: the third of the answer never had to run.
    assert_eq!(generator.runner().journal().steps(), [3, 1]);
    // The same prompt again: its last token runs for its logits.
    generator.runner().journal().clear();
    assert_eq!(tokens(&mut generator, &longer, limits(1)), hand(&longer, 1));
    assert_eq!(generator.runner().journal().steps(), [1]);
    // Another beginning.
    let other = [9, 8, 7];
    assert_eq!(tokens(&mut generator, &other, limits(3)), hand(&other, 3));
}

#[test]
fn prefixes_are_run_again_where_they_cannot_be_reused() {
    let settings = FakeSettings { reuses_prefixes: false, ..FakeSettings::default() };
    let mut generator = Generator::new(Fake::new(settings));
    let prompt = [1, 2, 3];
    tokens(&mut generator, &prompt, limits(1));
    generator.runner().journal().clear();
    tokens(&mut generator, &prompt, limits(1));
    assert_eq!(generator.runner().journal().steps(), [3]);
}

#[test]
fn after_a_failure_nothing_of_the_cache_is_trusted() {
    let settings = FakeSettings { fail_at: [2].into(), ..FakeSettings::default() };
    let mut generator = Generator::new(Fake::new(settings));
    let prompt = [1, 2, 3];
    let results: Vec<_> =
        generator.generate(&prompt, &Sampling::default(), limits(5)).unwrap().collect();
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(EngineError::Runner(FakeError::Told(2)))));
    assert_eq!(results.len(), 2, "a failed generation has ended");
    generator.runner().journal().clear();
    assert_eq!(tokens(&mut generator, &prompt, limits(2)), hand(&prompt, 2));
    assert_eq!(generator.runner().journal().steps(), [3, 1]);
}

#[test]
fn logits_are_those_of_the_last_position() {
    let mut generator = Generator::new(runner());
    let prompt: Vec<u32> = (5..16).collect();
    let logits = generator.logits(&prompt).unwrap();
    let largest = logits.iter().position(|logit| *logit == 1.0).unwrap();
    assert_eq!(largest as u32, hand(&prompt, 1)[0]);
    // Again, of what the cache holds all but the last of, and of what it holds the beginning of.
    generator.runner().journal().clear();
    assert_eq!(generator.logits(&prompt).unwrap(), logits);
    let mut other = prompt[..9].to_vec();
    other.extend([1, 2, 3, 4]);
    let logits = generator.logits(&other).unwrap();
    assert_eq!(generator.runner().journal().steps(), [1, 4]);
    let mut fresh = Generator::new(runner());
    assert_eq!(fresh.logits(&other).unwrap(), logits);
}
