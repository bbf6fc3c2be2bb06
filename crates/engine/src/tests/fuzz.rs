//! Random scenarios: whatever comes and goes, every sequence that ends is what it is alone, no step is
//! wrong, and no block or slot is lost. The scheduler checks itself at every step.

use super::support::{Bench, Ear, Script, generate, plan};
use crate::testing::{Fake, FakeSettings, by_hand, vector};
use crate::{Continuation, Event, FinishReason, Generate, Plan, Pooling, Statistics, Task};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

struct Random(ChaCha8Rng);

impl Random {
    /// From 0 to `n - 1`.
    fn below(&mut self, n: usize) -> usize {
        (self.0.next_u64() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A request and what it must come to.
struct Asked {
    ear: Ear,
    wanted: Vec<Event>,
    gone: bool,
}

fn scenario(seed: u64) -> Statistics {
    let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
    let reuses_prefixes = !random.one_in(5);
    let turns = !reuses_prefixes && random.one_in(2);
    let settings = FakeSettings {
        recomputed_beyond: turns.then(|| 1 + random.below(40)),
        step_tokens: 1 + random.below(24),
        block_length: 1 + random.below(6),
        reuses_prefixes,
        keeps_state: random.one_in(2),
        fail_copies: if random.one_in(4) { [1 + random.below(10)].into() } else { [].into() },
        fail_at: if random.one_in(4) { [5 + random.below(40)].into() } else { [].into() },
        ..FakeSettings::default()
    };
    let least = settings.context.div_ceil(settings.block_length);
    let blocks = least + if random.one_in(2) { random.below(4) } else { random.below(3 * least) };
    let plan = plan(1 + random.below(6), blocks);
    let slots = 1 + random.below(3 * plan.parallel);
    let plan = Plan { prefix_cache: !random.one_in(5), slots, ..plan };
    let mut bench = Bench::of(Fake::new(settings), &plan);
    // Beginnings that prompts have in common.
    let trunk: Vec<u32> = (0..30).map(|_| random.below(50) as u32).collect();
    let mut asked: Vec<Asked> = Vec::new();
    for _ in 0..60 {
        if random.one_in(3) {
            for _ in 0..=random.below(3) {
                asked.push(ask(&mut bench, &mut random, &trunk));
            }
        }
        if random.one_in(6) && !asked.is_empty() {
            let n = random.below(asked.len());
            asked[n].ear.close();
            asked[n].gone = true;
        }
        bench.engine.sweep();
        let budget = if random.one_in(3) { usize::MAX } else { random.below(12) };
        let step = bench.engine.decide(budget);
        bench.engine.carry_out(&step);
        bench.engine.farewell();
    }
    bench.run();
    for Asked { ear, wanted, gone } in &asked {
        let events = ear.events();
        let heard = events.get(1..).unwrap_or_default();
        match events.last() {
            Some(Event::Failed(failure)) => {
                assert!(failure.to_string().contains("told to fail"), "{seed}: {failure}");
                assert_eq!(heard[..heard.len() - 1], wanted[..heard.len() - 1], "{seed}");
            }
            _ if *gone => assert_eq!(heard, &wanted[..heard.len()], "{seed}"),
            _ => assert_eq!(heard, wanted, "{seed}"),
        }
    }
    bench.engine.statistics()
}

fn ask(bench: &mut Bench, random: &mut Random, trunk: &[u32]) -> Asked {
    let mut prompt = trunk[..random.below(trunk.len())].to_vec();
    prompt.extend((0..=random.below(8)).map(|_| random.below(50) as u32));
    let made = random.below(14).min(40 - prompt.len());
    let tokens = [&prompt[..], &by_hand(&prompt, made, 50)].concat();
    let mut wanted: Vec<Event> = Vec::new();
    let mut generate = generate(made);
    match random.below(8) {
        0 => {
            let pooling = if random.one_in(2) { Pooling::Last } else { Pooling::Mean };
            let vector = match pooling {
                Pooling::Last => vector(&prompt, 3),
                Pooling::Mean => super::engine::mean(&prompt),
            };
            wanted.extend([Event::Embedding(vector), Event::Finished(FinishReason::Stop)]);
            let ear = bench.ask_for(&prompt, Task::Embed(pooling));
            return Asked { ear, wanted, gone: false };
        }
        1 => {
            let of = |n: usize| (n > 0).then(|| super::engine::expected(&tokens, n, 1));
            generate.prompt_logprobs = Some(1);
            wanted.push(Event::PromptLogprobs((0..prompt.len()).map(of).collect()));
        }
        2 if made > 0 => {
            let script: Vec<[u32; 1]> = tokens[prompt.len()..].iter().map(|one| [*one]).collect();
            let script: Vec<&[u32]> = script.iter().map(|one| &one[..]).collect();
            let constraint = Script::boxed(&script, Ok(Continuation::Complete));
            generate = Generate { constraint, ..generate };
        }
        _ => {}
    }
    let complete = generate.constraint.is_some();
    let of = |id: &u32| Event::Token { id: *id, logprobs: None };
    wanted.extend(tokens[prompt.len()..].iter().map(of));
    let reason = if complete { FinishReason::Stop } else { FinishReason::Length };
    wanted.push(Event::Finished(reason));
    Asked { ear: bench.ask(&prompt, generate), wanted, gone: false }
}

#[test]
fn whatever_comes_and_goes() {
    let all: Vec<Statistics> = (0..600).map(scenario).collect();
    let many = |what: &str, holds: fn(&Statistics) -> bool| {
        let count = all.iter().filter(|one| holds(one)).count();
        assert!(count > 40, "only {count} scenarios with {what}");
    };
    many("preemptions", |one| one.slots == 0 && one.preemptions > 0);
    many("hits", |one| one.slots == 0 && one.prefix_hits > 0);
    many("preemptions beside state", |one| one.slots > 0 && one.preemptions > 0);
    many("continued snapshots", |one| one.snapshot_hits > 0);
    many("snapshots left", |one| one.snapshots > 1);
}
