//! Generation over a runner whose arithmetic can be done by hand.

use crate::{EngineError, FinishReason, Generator, Limits, Runner, Sampling, StepInput};
use std::collections::HashMap;

const VOCABULARY: usize = 50;
const BLOCK: usize = 4;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

/// The next token is (sum of the sequence's tokens, as found in the cache, plus its length) mod 50.
/// The cache is addressed through the block table, like a real one.
#[derive(Debug, Default)]
struct Arithmetic {
    cache: HashMap<usize, u32>,
    reserved: usize,
    steps: Vec<usize>,
    lengths: Vec<u32>,
    fail_at: Option<usize>,
    reuses: bool,
}

impl Runner for Arithmetic {
    type Error = Broken;

    fn vocabulary(&self) -> usize {
        VOCABULARY
    }

    fn context(&self) -> usize {
        40
    }

    fn block_length(&self) -> usize {
        BLOCK
    }

    fn step_tokens(&self) -> usize {
        8
    }

    fn reuses_prefixes(&self) -> bool {
        self.reuses
    }

    fn reserve(&mut self, sequences: usize, tokens: usize) -> Result<(), Broken> {
        self.reserved = self.reserved.max(sequences * tokens.div_ceil(BLOCK));
        Ok(())
    }

    fn step(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, Broken> {
        self.steps.push(step.tokens.len());
        self.lengths.extend(step.lengths);
        if self.fail_at == Some(self.steps.len()) {
            return Err(Broken("the device is gone"));
        }
        let slot = |sequence: usize, position: usize| {
            let block = step.block_tables[sequence][position / BLOCK] as usize;
            assert!(block >= 1 && block <= self.reserved, "block {block} of {}", self.reserved);
            block * BLOCK + position % BLOCK
        };
        for n in 0..step.tokens.len() {
            let place = slot(step.sequences[n] as usize, step.positions[n] as usize);
            self.cache.insert(place, step.tokens[n]);
        }
        let mut logits = Vec::new();
        for row in step.rows {
            let (sequence, last) = (step.sequences[*row as usize], step.positions[*row as usize]);
            let sum: u32 =
                (0..=last as usize).map(|p| self.cache[&slot(sequence as usize, p)]).sum();
            let next = (sum as usize + last as usize + 1) % VOCABULARY;
            logits.extend((0..VOCABULARY).map(|n| if n == next { 1.0 } else { 0.0 }));
        }
        Ok(logits)
    }
}

/// What [`Arithmetic`] means, without a cache.
fn by_hand(prompt: &[u32], n: usize) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..n {
        let sum: u32 = tokens.iter().sum();
        tokens.push((sum + tokens.len() as u32) % VOCABULARY as u32);
    }
    tokens.split_off(prompt.len())
}

fn limits(max_tokens: usize) -> Limits {
    Limits { max_tokens: Some(max_tokens), ..Limits::default() }
}

fn tokens(generator: &mut Generator<Arithmetic>, prompt: &[u32], limits: Limits) -> Vec<u32> {
    let generation = generator.generate(prompt, &Sampling::default(), limits).unwrap();
    generation.map(Result::unwrap).collect()
}

#[test]
fn prompts_are_split_into_steps_and_continued() {
    let prompt: Vec<u32> = (0..19).collect();
    let mut generator = Generator::new(Arithmetic::default());
    assert_eq!(tokens(&mut generator, &prompt, limits(5)), by_hand(&prompt, 5));
    assert_eq!(generator.runner().steps, [8, 8, 3, 1, 1, 1, 1]);
    let mut lengths = vec![19; 19];
    lengths.extend([20, 21, 22, 23]);
    assert_eq!(generator.runner().lengths, lengths, "a prompt's tokens carry its whole length");
}

#[test]
fn ends_are_reported() {
    let prompt = [3, 4];
    let all = by_hand(&prompt, 10);
    let mut generator = Generator::new(Arithmetic::default());
    let ends = Limits { max_tokens: Some(10), end_ids: vec![all[3]] };
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
    let mut generator = Generator::new(Arithmetic::default());
    let full: Vec<u32> = (0..40).collect();
    // The last token needs no place in the cache.
    assert_eq!(tokens(&mut generator, &full, Limits::default()), by_hand(&full, 1));
    assert_eq!(tokens(&mut generator, &full[..37], Limits::default()), by_hand(&full[..37], 4));
    let long: Vec<u32> = (0..41).collect();
    let error = generator.generate(&long, &Sampling::default(), Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "the prompt has 41 tokens, but the context holds 40");
}

#[test]
fn bad_prompts_are_refused() {
    let mut generator = Generator::new(Arithmetic::default());
    let mut refuse = |prompt: &[u32]| {
        generator.generate(prompt, &Sampling::default(), Limits::default()).unwrap_err().to_string()
    };
    assert!(refuse(&[]).contains("empty"));
    assert!(refuse(&[1, 50]).contains("token id 50 at position 1"));
}

#[test]
fn a_shared_prefix_is_not_run_again() {
    let mut generator = Generator::new(Arithmetic { reuses: true, ..Arithmetic::default() });
    let prompt: Vec<u32> = (0..10).collect();
    let answer = tokens(&mut generator, &prompt, limits(3));
    let longer = [&prompt[..], &answer, &[7, 7]].concat();
    generator.runner_mut().steps.clear();
    assert_eq!(tokens(&mut generator, &longer, limits(2)), by_hand(&longer, 2));
    // 15 tokens, of which 10 + 2 are cached: the third of the answer never had to run.
    assert_eq!(generator.runner().steps, [3, 1]);
    // The same prompt again: its last token runs for its logits.
    generator.runner_mut().steps.clear();
    assert_eq!(tokens(&mut generator, &longer, limits(1)), by_hand(&longer, 1));
    assert_eq!(generator.runner().steps, [1]);
    // Another beginning.
    let other = [9, 8, 7];
    assert_eq!(tokens(&mut generator, &other, limits(3)), by_hand(&other, 3));
}

#[test]
fn prefixes_are_run_again_where_they_cannot_be_reused() {
    let mut generator = Generator::new(Arithmetic::default());
    let prompt = [1, 2, 3];
    tokens(&mut generator, &prompt, limits(1));
    generator.runner_mut().steps.clear();
    tokens(&mut generator, &prompt, limits(1));
    assert_eq!(generator.runner().steps, [3]);
}

#[test]
fn after_a_failure_nothing_of_the_cache_is_trusted() {
    let runner = Arithmetic { reuses: true, fail_at: Some(2), ..Arithmetic::default() };
    let mut generator = Generator::new(runner);
    let prompt = [1, 2, 3];
    let results: Vec<_> =
        generator.generate(&prompt, &Sampling::default(), limits(5)).unwrap().collect();
    assert!(results[0].is_ok());
    assert!(matches!(results[1], Err(EngineError::Runner(Broken(_)))));
    assert_eq!(results.len(), 2, "a failed generation has ended");
    generator.runner_mut().steps.clear();
    generator.runner_mut().fail_at = None;
    assert_eq!(tokens(&mut generator, &prompt, limits(2)), by_hand(&prompt, 2));
    assert_eq!(generator.runner().steps, [3, 1]);
}

#[test]
fn logits_are_those_of_the_last_position() {
    let mut generator = Generator::new(Arithmetic::default());
    let prompt: Vec<u32> = (5..16).collect();
    let logits = generator.logits(&prompt).unwrap();
    let largest = logits.iter().position(|logit| *logit == 1.0).unwrap();
    assert_eq!(largest as u32, by_hand(&prompt, 1)[0]);
}
