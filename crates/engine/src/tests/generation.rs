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
fn a_sequence_that_outgrows_its_cache_is_computed_again() {
    let settings = FakeSettings {
        reuses_prefixes: false,
        recomputed_beyond: Some(5),
        ..FakeSettings::default()
    };
    let mut generator = Generator::new(Fake::new(settings));
    let prompt = [1, 2, 3];
    assert_eq!(tokens(&mut generator, &prompt, limits(5)), hand(&prompt, 5));
    // The third token's step is that of all six tokens, with the length that they have then.
    assert_eq!(generator.runner().journal().steps(), [3, 1, 1, 6, 1]);
    assert_eq!(generator.runner().journal().lengths()[5..], [6, 6, 6, 6, 6, 6, 7]);
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

fn with_state(settings: FakeSettings) -> Generator<Fake> {
    Generator::new(Fake::new(FakeSettings { keeps_state: true, ..settings }))
}

/// Tokens of each step of a generation.
fn steps(generator: &mut Generator<Fake>, prompt: &[u32], count: usize) -> Vec<usize> {
    generator.runner().journal().clear();
    assert_eq!(tokens(generator, prompt, limits(count)), hand(prompt, count));
    assert_eq!(generator.runner().journal().misuses(), [] as [String; 0]);
    generator.runner().journal().steps()
}

#[test]
fn a_state_is_continued_from_its_end_or_from_the_last_border_of_its_prompt() {
    let mut generator = with_state(FakeSettings::default());
    let prompt: Vec<u32> = (0..11).collect();
    assert_eq!(steps(&mut generator, &prompt, 3), [8, 3, 1, 1], "8 is the last border");
    // All 13 tokens that were computed go on.
    let longer = [&prompt[..], &hand(&prompt, 3), &[7, 7]].concat();
    assert_eq!(steps(&mut generator, &longer, 2), [3, 1], "its last border, 12, is behind it");
    // Both leave the cached tokens behind the border 8.
    let other = [&prompt[..9], &[40, 41]].concat();
    assert_eq!(steps(&mut generator, &other, 2), [3, 1]);
    assert_eq!(steps(&mut generator, &prompt, 2), [3, 1]);
    // A snapshot is of no use to a prompt that leaves its tokens.
    assert_eq!(steps(&mut generator, &prompt[..8], 1), [4, 4]);
    assert_eq!(steps(&mut generator, &prompt, 1), [3], "8 tokens of it are the state's");
    assert_eq!(steps(&mut generator, &[9, 8, 7], 2), [3, 1]);
    assert_eq!(steps(&mut generator, &prompt, 1), [8, 3]);
}

#[test]
fn without_prefixes_no_state_is_copied() {
    let settings = FakeSettings { reuses_prefixes: false, ..FakeSettings::default() };
    let mut generator = with_state(settings);
    let prompt: Vec<u32> = (0..11).collect();
    for _ in 0..2 {
        assert_eq!(steps(&mut generator, &prompt, 2), [8, 3, 1]);
    }
    assert_eq!(generator.runner().journal().copies(), []);
}

#[test]
fn after_a_failed_copy_nothing_of_the_state_is_trusted() {
    for failing in [1, 2] {
        let settings = FakeSettings { fail_copies: [failing].into(), ..FakeSettings::default() };
        let mut generator = with_state(settings);
        let prompt: Vec<u32> = (0..11).collect();
        // The first copy makes the snapshot, the second one continues from it.
        let failed = (0..2).any(|_| generator.logits(&prompt).is_err());
        assert!(failed);
        let wanted = if failing == 1 { vec![3, 1] } else { vec![8, 3, 1] };
        assert_eq!(steps(&mut generator, &prompt, 2), wanted);
    }
}
