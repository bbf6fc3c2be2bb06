//! The engine over a runner with per-sequence state.

use super::support::{Bench, Ear, generate, plan, prompt};
use crate::testing::{Fake, FakeSettings, by_hand};
use crate::{Event, Failure, Generate, Plan, Sampling};

fn bench(parallel: usize, blocks: usize, slots: usize) -> Bench {
    with(FakeSettings::default(), parallel, blocks, slots)
}

fn with(settings: FakeSettings, parallel: usize, blocks: usize, slots: usize) -> Bench {
    let runner = Fake::new(FakeSettings { keeps_state: true, ..settings });
    Bench::of(runner, &Plan { slots, ..plan(parallel, blocks) })
}

fn hand(prompt: &[u32], count: usize) -> Vec<u32> {
    by_hand(prompt, count, 50)
}

/// Steps that a prompt takes to its first token.
fn steps(bench: &mut Bench, prompt: &[u32]) -> Vec<usize> {
    bench.journal.clear();
    let ear = bench.ask(prompt, generate(1));
    bench.run();
    assert_eq!(ear.tokens(), hand(prompt, 1));
    bench.journal.steps()
}

#[test]
fn a_hit_saves_steps() {
    let mut bench = bench(2, 40, 6);
    let first = prompt(1, 30);
    assert_eq!(steps(&mut bench, &first), [8, 8, 8, 4, 2], "28 is the last border");
    assert_eq!(steps(&mut bench, &first), [2]);
    let longer = [&first[..], &[1, 2, 3, 4, 5]].concat();
    assert_eq!(steps(&mut bench, &longer), [4, 3], "from 28 to the border 32, and to 35");
    let statistics = bench.engine.statistics();
    assert_eq!((statistics.snapshot_hits, statistics.prefix_hits), (2, 56));
    assert_eq!((statistics.slots, statistics.slots_owned, statistics.snapshots), (6, 0, 2));
}

#[test]
fn the_next_turn_of_a_conversation_continues_behind_the_answer() {
    let mut bench = bench(2, 40, 6);
    let first = prompt(1, 9);
    let answer = bench.ask(&first, generate(13));
    bench.run();
    assert_eq!(answer.tokens(), hand(&first, 13));
    // 21 tokens were computed: the last border is 20.
    let next = [&first[..], &answer.tokens(), &[7, 8, 9]].concat();
    assert_eq!(steps(&mut bench, &next), [4, 1]);
}

#[test]
fn tokens_are_the_same_alone_and_among_others() {
    let ask = |bench: &mut Bench, n: usize| {
        let sampling = Sampling { temperature: 0.7, seed: n as u64, ..Sampling::default() };
        bench.ask(&prompt(n as u32 % 4, 3 + n * 3), Generate { sampling, ..generate(12) })
    };
    // Blocks and slots are by far too few for all.
    let mut crowded = bench(5, 12, 6);
    let together: Vec<Ear> = (0..7).map(|n| ask(&mut crowded, n)).collect();
    crowded.run();
    assert!(crowded.engine.statistics().preemptions > 0);
    for (n, ear) in together.iter().enumerate() {
        let mut alone = bench(1, 10, 1);
        let solo = ask(&mut alone, n);
        alone.run();
        assert_eq!(ear.tokens(), solo.tokens(), "request {n}");
        assert_eq!(ear.tokens().len(), 12);
    }
}

#[test]
fn slots_bound_the_sequences_that_run() {
    let mut bench = bench(5, 60, 2);
    assert_eq!(bench.journal.room().unwrap().slots, 2);
    let ears: Vec<Ear> = (0..5).map(|n| bench.ask(&prompt(n, 5), generate(4))).collect();
    bench.turn();
    let statistics = bench.engine.statistics();
    assert_eq!((statistics.running, statistics.slots_owned, statistics.waiting), (2, 2, 3));
    bench.run();
    for (n, ear) in ears.iter().enumerate() {
        assert_eq!(ear.tokens(), hand(&prompt(n as u32, 5), 4));
    }
}

#[test]
fn who_goes_away_frees_its_slot() {
    let mut bench = bench(2, 40, 2);
    let (long, decoding) =
        (bench.ask(&prompt(1, 30), generate(4)), bench.ask(&prompt(2, 3), generate(9)));
    let waiting = bench.ask(&prompt(3, 3), generate(4));
    bench.turn();
    assert_eq!(bench.engine.statistics().slots_owned, 2);
    long.close();
    bench.turn();
    assert_eq!(bench.engine.statistics().slots_owned, 2, "the waiting one has it now");
    decoding.close();
    bench.run();
    assert_eq!(waiting.tokens(), hand(&prompt(3, 3), 4));
}

#[test]
fn a_state_that_cannot_be_restored_fails_its_sequence_and_no_other() {
    let settings = FakeSettings { fail_copies: [2].into(), ..FakeSettings::default() };
    let mut bench = with(settings, 2, 40, 6);
    assert_eq!(steps(&mut bench, &prompt(1, 9)), [8, 1]);
    let running = bench.ask(&prompt(2, 3), generate(6));
    bench.turn();
    let again = bench.ask(&prompt(1, 9), generate(1));
    bench.run();
    let message = "copy 2 was told to fail".into();
    assert_eq!(again.last(), Some(Event::Failed(Failure::Runner { message })));
    assert!(running.last().is_some());
    assert_eq!(steps(&mut bench, &prompt(3, 9)), [8, 1]);
}

#[test]
fn a_snapshot_that_cannot_be_taken_is_not_found() {
    let settings = FakeSettings { fail_copies: [1].into(), ..FakeSettings::default() };
    let mut bench = with(settings, 2, 40, 6);
    assert_eq!(steps(&mut bench, &prompt(1, 9)), [8, 1]);
    assert_eq!(bench.engine.statistics().snapshots, 0);
    assert_eq!(steps(&mut bench, &prompt(1, 9)), [8, 1]);
    assert_eq!(steps(&mut bench, &prompt(1, 9)), [1]);
}

#[test]
fn after_a_failed_step_no_snapshot_of_its_sequence_is_used() {
    let settings = FakeSettings { fail_at: [3].into(), ..FakeSettings::default() };
    let mut bench = with(settings, 2, 40, 6);
    let failing = bench.ask(&prompt(1, 9), generate(4));
    bench.run();
    assert!(matches!(failing.last(), Some(Event::Failed(_))));
    assert_eq!(bench.engine.statistics().snapshots, 0);
    assert_eq!(steps(&mut bench, &prompt(1, 9)), [8, 1]);
}
