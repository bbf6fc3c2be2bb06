//! The synchronous engine over a runner whose arithmetic can be done by hand.

mod constraints;
mod failures;

use super::support::{Bench, Ear, generate, plan, prompt, request};
use crate::testing::{Fake, FakeSettings, by_hand, vector};
use crate::{Event, FinishReason, Generate, Limits, Logprobs, Pooling, Sampling, Task, logprobs};

fn hand(prompt: &[u32], count: usize) -> Vec<u32> {
    by_hand(prompt, count, 50)
}

#[test]
fn a_request_hears_of_its_admission_its_tokens_and_its_end() {
    let mut bench = Bench::new(4, 20);
    let ear = bench.ask(&[1, 2, 3], generate(2));
    bench.run();
    let token = |id| Event::Token { id, logprobs: None };
    let made = hand(&[1, 2, 3], 2);
    let admitted = Event::Admitted { cached_tokens: 0 };
    let finished = Event::Finished(FinishReason::Length);
    assert_eq!(ear.events(), [admitted, token(made[0]), token(made[1]), finished]);
    let statistics = bench.engine.statistics();
    assert_eq!(
        (statistics.steps, statistics.prompt_tokens, statistics.generated_tokens),
        (2, 3, 2)
    );
}

#[test]
fn tokens_are_the_same_alone_and_among_others() {
    let ask = |bench: &mut Bench, n: usize| {
        let sampling = Sampling { temperature: 0.7, seed: n as u64, ..Sampling::default() };
        bench.ask(&prompt(n as u32, 3 + n * 3), Generate { sampling, ..generate(12) })
    };
    // 12 blocks are by far too few for all: sequences lose theirs.
    let mut crowded = Bench::new(5, 12);
    let together: Vec<Ear> = (0..7).map(|n| ask(&mut crowded, n)).collect();
    crowded.run();
    assert!(crowded.engine.statistics().preemptions > 0);
    for (n, ear) in together.iter().enumerate() {
        let mut alone = Bench::new(1, 10);
        let solo = ask(&mut alone, n);
        alone.run();
        assert_eq!(ear.tokens(), solo.tokens(), "request {n}");
        assert_eq!(ear.tokens().len(), 12);
    }
}

#[test]
fn the_same_beginning_is_reported_as_cached() {
    let mut bench = Bench::new(4, 20);
    let first = bench.ask(&prompt(1, 10), generate(3));
    bench.run();
    let second = bench.ask(&prompt(1, 10), generate(3));
    bench.run();
    assert_eq!((first.cached(), second.cached()), (Some(0), Some(8)));
    assert_eq!(first.tokens(), second.tokens());
    let statistics = bench.engine.statistics();
    assert_eq!((statistics.prefix_queries, statistics.prefix_hits), (20, 8));
    assert_eq!(statistics.prompt_tokens, 12);
    // The continuation is known as well, as far as it was computed.
    let longer = [prompt(1, 10), first.tokens(), vec![9; 4]].concat();
    let third = bench.ask(&longer, generate(1));
    bench.run();
    assert_eq!(third.cached(), Some(12));
    assert_eq!(third.tokens(), hand(&longer, 1));
}

#[test]
fn no_prefix_is_taken_where_it_would_be_wrong() {
    for (reuses_prefixes, prefix_cache) in [(false, true), (true, false)] {
        let settings = FakeSettings { reuses_prefixes, ..FakeSettings::default() };
        let plan = crate::Plan { prefix_cache, ..plan(4, 20) };
        let mut bench = Bench::of(Fake::new(settings), &plan);
        let ears: Vec<Ear> = (0..3).map(|_| bench.ask(&prompt(1, 10), generate(3))).collect();
        bench.run();
        assert!(ears.iter().all(|ear| ear.cached() == Some(0)));
        let statistics = bench.engine.statistics();
        assert_eq!((statistics.prefix_queries, statistics.blocks_cached), (0, 0));
    }
}

#[test]
fn sequences_end_at_end_tokens_limits_the_context_and_the_callers_word() {
    let start = [3, 4];
    let all = hand(&start, 38);
    let mut bench = Bench::new(8, 40);
    let limits = |min_tokens, end_ids: &[u32]| Generate {
        limits: Limits { max_tokens: Some(10), min_tokens, end_ids: end_ids.to_vec() },
        ..generate(10)
    };
    let stopped = bench.ask(&start, limits(0, &[all[3]]));
    let late = bench.ask(&start, limits(5, &[all[3]]));
    let unlimited = generate(0);
    let unlimited = bench.ask(&start, Generate { limits: Limits::default(), ..unlimited });
    let full = bench.ask(&prompt(1, 40), generate(5));
    let none = bench.ask(&start, generate(0));
    let enough = Ear::enough(2);
    bench.engine.submit(request(&start, generate(10), &enough));
    bench.run();
    assert_eq!((stopped.tokens(), stopped.finished()), (all[..4].into(), Some(FinishReason::Stop)));
    assert_eq!(late.tokens()[..3], all[..3]);
    assert_ne!(late.tokens()[3], all[3], "an end token is not chosen too early");
    assert_eq!(
        (unlimited.tokens(), unlimited.finished()),
        (all.clone(), Some(FinishReason::Length))
    );
    assert_eq!((full.tokens(), full.finished()), (vec![], Some(FinishReason::Length)));
    assert_eq!((none.tokens(), none.finished()), (vec![], Some(FinishReason::Length)));
    assert_eq!((enough.tokens(), enough.finished()), (all[..2].into(), Some(FinishReason::Stop)));
}

/// Logits of 1 for a token, 0 for all others, and what is likely after it.
pub fn expected(tokens: &[u32], position: usize, top: usize) -> Logprobs {
    let next = hand(&tokens[..position], 1)[0] as usize;
    let logits: Vec<f32> = (0..50).map(|n| if n == next { 1.0 } else { 0.0 }).collect();
    logprobs(&logits, tokens[position], top)
}

#[test]
fn log_probabilities_of_prompts_and_tokens() {
    // The short one loses its blocks now and then.
    for blocks in [10, 40] {
        let mut bench = Bench::new(4, blocks);
        let ask = |bench: &mut Bench, tokens: &[u32], max_tokens| {
            let (prompt_logprobs, logprobs) = (Some(2), Some(3));
            bench.ask(tokens, Generate { prompt_logprobs, logprobs, ..generate(max_tokens) })
        };
        let others: Vec<Ear> = (5..8).map(|n| bench.ask(&prompt(n, 9), generate(9))).collect();
        let start = prompt(1, 21);
        let echoes: Vec<Ear> = (0..4).map(|n| ask(&mut bench, &start, n)).collect();
        let (single, empty) = (ask(&mut bench, &[7], 1), ask(&mut bench, &[7], 0));
        bench.run();
        let all = [&start[..], &hand(&start, 3)].concat();
        let of_prompt: Vec<Option<Logprobs>> =
            (0..21).map(|n| (n > 0).then(|| expected(&all, n, 2))).collect();
        for (made, echo) in echoes.iter().enumerate() {
            let mut events = vec![
                Event::Admitted { cached_tokens: 0 },
                Event::PromptLogprobs(of_prompt.clone()),
            ];
            events.extend(
                (21..21 + made)
                    .map(|n| Event::Token { id: all[n], logprobs: Some(expected(&all, n, 3)) }),
            );
            events.push(Event::Finished(FinishReason::Length));
            assert_eq!(echo.events(), events);
        }
        assert_eq!(single.events()[1], Event::PromptLogprobs(vec![None]));
        assert_eq!(single.tokens(), hand(&[7], 1));
        assert_eq!(empty.events()[1], Event::PromptLogprobs(vec![None]));
        assert_eq!(empty.finished(), Some(FinishReason::Length));
        assert!(others.iter().all(|ear| ear.tokens().len() == 9));
    }
}

/// The mean of all tokens' vectors.
pub fn mean(tokens: &[u32]) -> Vec<f32> {
    let vectors: Vec<Vec<f32>> = (1..=tokens.len()).map(|n| vector(&tokens[..n], 3)).collect();
    let element = |n: usize| {
        let sum: f64 = vectors.iter().map(|vector| f64::from(vector[n])).sum();
        (sum / tokens.len() as f64) as f32
    };
    (0..3).map(element).collect()
}

#[test]
fn vectors_are_made_beside_continuations() {
    let mut bench = Bench::new(4, 16);
    let ears: Vec<Ear> = (0..3).map(|n| bench.ask(&prompt(n, 6), generate(9))).collect();
    let tokens = prompt(9, 19);
    let of_all = bench.ask_for(&tokens, Task::Embed(Pooling::Mean));
    let last = bench.ask_for(&tokens, Task::Embed(Pooling::Last));
    bench.run();
    let expected = [Event::Embedding(mean(&tokens)), Event::Finished(FinishReason::Stop)];
    assert_eq!(of_all.events()[1..], expected);
    assert_eq!(last.events()[1], Event::Embedding(vector(&tokens, 3)));
    for (n, ear) in ears.iter().enumerate() {
        assert_eq!(ear.tokens(), hand(&prompt(n as u32, 6), 9));
    }
}

#[test]
fn the_context_is_what_fits_into_the_blocks() {
    let bench = Bench::new(100, 3);
    assert_eq!(bench.engine.context(), 12);
    let room = bench.journal.room().unwrap();
    assert_eq!((room.sequences, room.tokens, room.blocks), (8, 12, 3), "8 tokens fit into a step");
    assert_eq!(Bench::new(4, 100).engine.context(), 40);
}
