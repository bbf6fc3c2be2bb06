//! Timelines of the scheduler, one line per step:
//! `kind | sequence start..end (*rows) … | +admitted(cached) -preempted | owned blocks`.

use super::support::prompt;
use crate::scheduler::{Job, Kind, Rows, Scheduler, Settings};
use std::collections::BTreeMap;
use std::fmt::Write;

pub struct Timeline {
    pub scheduler: Scheduler,
    /// Tokens that each sequence still makes.
    left: BTreeMap<u64, usize>,
    pub text: String,
}

pub const SETTINGS: Settings = Settings {
    parallel: 4,
    blocks: 20,
    block_length: 4,
    step_tokens: 16,
    slots: 0,
    prefix_cache: true,
    recomputed_beyond: None,
};

impl Timeline {
    pub fn new(settings: Settings) -> Self {
        let scheduler = Scheduler::new(settings);
        Self { scheduler, left: BTreeMap::new(), text: String::new() }
    }

    pub fn add(&mut self, tokens: &[u32], make: usize) -> u64 {
        self.add_job(tokens, Kind::Logits, Rows::Last, make)
    }

    pub fn add_job(&mut self, tokens: &[u32], kind: Kind, rows: Rows, make: usize) -> u64 {
        let (tokens, length) = (tokens.to_vec(), tokens.len());
        let id = self.scheduler.add(Job { tokens, length, kind, rows });
        self.left.insert(id, make);
        id
    }

    pub fn remove(&mut self, id: u64) {
        self.scheduler.remove(id);
        self.left.remove(&id);
    }

    pub fn step(&mut self, budget: usize) -> bool {
        let step = self.scheduler.next(budget);
        if step.parts.is_empty() {
            return false;
        }
        let letter = if step.kind == Kind::Logits { 'L' } else { 'V' };
        write!(self.text, "{letter} |").unwrap();
        for part in &step.parts {
            write!(self.text, " {} {}..{}", part.id, part.tokens.start, part.tokens.end).unwrap();
            if !part.rows.is_empty() {
                write!(self.text, " *{}", part.rows.len()).unwrap();
            }
            self.text.push(',');
        }
        self.text.push_str(" |");
        for admission in &step.admitted {
            write!(self.text, " +{}({})", admission.id, admission.cached).unwrap();
            if let Some(copy) = admission.restored {
                write!(self.text, " {}>{}", copy.from, copy.to).unwrap();
            }
        }
        for id in &step.preempted {
            write!(self.text, " -{id}").unwrap();
        }
        let blocks = self.scheduler.blocks();
        write!(self.text, " | {}", blocks.total() - blocks.available()).unwrap();
        let batch = self.scheduler.batch(&step);
        assert_eq!(batch.tokens.len(), step.tokens());
        for copy in self.scheduler.complete(&step) {
            write!(self.text, " {}>{}", copy.from, copy.to).unwrap();
        }
        self.text.push('\n');
        for part in step.parts.iter().filter(|part| !part.rows.is_empty()) {
            // All others' last rows are wanted too, but nothing follows.
            let ended = part.rows.end == part.tokens.end && part.rows.len() == 1;
            match self.left.get_mut(&part.id) {
                Some(left) if ended && *left <= 1 => self.remove(part.id),
                Some(left) if ended => {
                    *left -= 1;
                    self.scheduler.push(part.id, 40 + part.id as u32);
                }
                _ => {}
            }
        }
        self.scheduler.check().unwrap();
        true
    }

    pub fn run(&mut self, budget: usize) -> &str {
        for _ in 0..100 {
            if !self.step(budget) {
                assert_eq!((self.scheduler.running(), self.scheduler.waiting()), (0, 0));
                return &self.text;
            }
        }
        panic!("it never ends: {}", self.text);
    }
}

#[test]
fn prompts_advance_in_chunks_beside_continuations() {
    let mut timeline = Timeline::new(SETTINGS);
    timeline.add(&prompt(1, 3), 6);
    timeline.step(8);
    timeline.add(&prompt(2, 14), 2);
    timeline.add(&prompt(3, 5), 2);
    insta::assert_snapshot!(timeline.run(6), @"
    L | 1 0..3 *1, | +1(0) | 1
    L | 1 3..4 *1, 2 0..6, | +2(0) +3(0) | 7
    L | 1 4..5 *1, 2 6..12, | | 8
    L | 1 5..6 *1, 2 12..14 *1, 3 0..4, | | 8
    L | 1 6..7 *1, 2 14..15 *1, 3 4..5 *1, | | 8
    L | 1 7..8 *1, 3 5..6 *1, | | 4
    ");
}

#[test]
fn a_step_holds_no_more_than_the_runner_takes() {
    let mut timeline = Timeline::new(Settings { step_tokens: 5, ..SETTINGS });
    timeline.add(&prompt(1, 3), 3);
    timeline.add(&prompt(2, 9), 2);
    insta::assert_snapshot!(timeline.run(usize::MAX), @"
    L | 1 0..3 *1, 2 0..2, | +1(0) +2(0) | 4
    L | 1 3..4 *1, 2 2..6, | | 4
    L | 1 4..5 *1, 2 6..9 *1, | | 5
    L | 2 9..10 *1, | | 3
    ");
}

#[test]
fn copies_wait_for_the_first_and_others_pass() {
    let mut timeline = Timeline::new(SETTINGS);
    let shared = prompt(1, 10);
    for _ in 0..3 {
        timeline.add(&shared, 2);
    }
    timeline.add(&prompt(2, 3), 2);
    insta::assert_snapshot!(timeline.run(5), @"
    L | 1 0..5, | +1(0) +4(0) | 4
    L | 1 5..10 *1, | | 4
    L | 1 10..11 *1, 4 0..3 *1, 2 8..10 *1, | +2(8) +3(8) | 6
    L | 4 3..4 *1, 2 10..11 *1, 3 8..10 *1, | | 5
    L | 3 10..11 *1, | | 3
    ");
}

#[test]
fn a_common_beginning_is_computed_once() {
    let mut timeline = Timeline::new(SETTINGS);
    let beginning = prompt(1, 8);
    timeline.add(&[&beginning[..], &[30, 31, 32]].concat(), 1);
    timeline.add(&[&beginning[..], &[33]].concat(), 1);
    timeline.step(8);
    timeline.add(&beginning, 1);
    insta::assert_snapshot!(timeline.run(8), @"
    L | 1 0..8, | +1(0) | 3
    L | 2 8..9 *1, 1 8..11 *1, 3 4..8 *1, | +2(8) +3(4) | 5
    ");
}

#[test]
fn whoever_waits_for_a_beginning_goes_on_when_it_is_gone() {
    let mut timeline = Timeline::new(SETTINGS);
    let shared = prompt(1, 12);
    let first = timeline.add(&shared, 1);
    timeline.add(&shared, 1);
    timeline.step(5);
    timeline.remove(first);
    insta::assert_snapshot!(timeline.run(8), @"
    L | 1 0..5, | +1(0) | 3
    L | 2 4..12 *1, | +2(4) | 3
    ");
}

#[test]
fn nobody_passes_who_waits_for_blocks() {
    let mut timeline = Timeline::new(Settings { blocks: 5, ..SETTINGS });
    timeline.add(&prompt(1, 8), 3);
    timeline.add(&prompt(2, 12), 1);
    timeline.add(&prompt(3, 2), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..8 *1, | +1(0) | 2
    L | 1 8..9 *1, | | 3
    L | 1 9..10 *1, | | 3
    L | 2 0..12 *1, 3 0..2 *1, | +2(0) +3(0) | 4
    ");
}

#[test]
fn the_youngest_loses_its_blocks_and_comes_back_first() {
    let settings = Settings { blocks: 5, ..SETTINGS };
    let mut timeline = Timeline::new(settings);
    timeline.add(&prompt(1, 7), 8);
    timeline.add(&prompt(2, 6), 4);
    timeline.add(&prompt(3, 2), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..7 *1, 2 0..6 *1, | +1(0) +2(0) | 4
    L | 1 7..8 *1, 2 6..7 *1, | | 4
    L | 1 8..9 *1, 2 7..8 *1, | | 5
    L | 1 9..10 *1, | -2 | 3
    L | 1 10..11 *1, | | 3
    L | 1 11..12 *1, | | 3
    L | 1 12..13 *1, | | 4
    L | 1 13..14 *1, | | 4
    L | 2 4..9 *1, 3 0..2 *1, | +2(4) +3(0) | 4
    ");
    assert_eq!(timeline.scheduler.counters().preemptions, 1);

    let mut timeline = Timeline::new(Settings { prefix_cache: false, ..settings });
    timeline.add(&prompt(1, 7), 8);
    timeline.add(&prompt(2, 6), 4);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..7 *1, 2 0..6 *1, | +1(0) +2(0) | 4
    L | 1 7..8 *1, 2 6..7 *1, | | 4
    L | 1 8..9 *1, 2 7..8 *1, | | 5
    L | 1 9..10 *1, | -2 | 3
    L | 1 10..11 *1, | | 3
    L | 1 11..12 *1, | | 3
    L | 1 12..13 *1, | | 4
    L | 1 13..14 *1, | | 4
    L | 2 0..9 *1, | +2(0) | 3
    ");
    assert_eq!(timeline.scheduler.blocks().idle(), 0);
}

#[test]
fn rows_of_prompts_are_few_and_take_no_prefix() {
    let settings = Settings { blocks: 60, step_tokens: 128, ..SETTINGS };
    let mut timeline = Timeline::new(settings);
    let long = prompt(1, 100);
    timeline.add(&long, 1);
    timeline.step(128);
    timeline.add_job(&long, Kind::Logits, Rows::All, 0);
    timeline.add(&prompt(2, 3), 1);
    for _ in 0..2 {
        timeline.step(128);
    }
    insta::assert_snapshot!(timeline.text, @"
    L | 1 0..100 *1, | +1(0) | 25
    L | 2 0..63 *63, 3 0..3 *1, | +2(0) +3(0) | 26
    L | 2 63..100 *37, | | 25
    ");
}

#[test]
fn logits_and_vectors_take_turns() {
    let mut timeline = Timeline::new(SETTINGS);
    timeline.add(&prompt(1, 3), 5);
    timeline.add_job(&prompt(2, 20), Kind::Vectors, Rows::Last, 0);
    timeline.add_job(&prompt(3, 3), Kind::Vectors, Rows::Last, 0);
    insta::assert_snapshot!(timeline.run(8), @"
    L | 1 0..3 *1, | +1(0) +2(0) +3(0) | 7
    V | 2 0..8, | | 7
    L | 1 3..4 *1, | | 7
    V | 2 8..16, | | 7
    L | 1 4..5 *1, | | 8
    V | 2 16..20 *1, 3 0..3 *1, | | 8
    L | 1 5..6 *1, | | 2
    L | 1 6..7 *1, | | 2
    ");
}

#[test]
fn lengths_are_the_prompts_and_then_grow() {
    let mut scheduler = Scheduler::new(SETTINGS);
    let id =
        scheduler.add(Job { tokens: vec![5, 6], length: 2, kind: Kind::Logits, rows: Rows::Last });
    let step = scheduler.next(16);
    let batch = scheduler.batch(&step);
    assert_eq!((batch.lengths, batch.rows), (vec![2, 2], vec![1]));
    scheduler.complete(&step);
    scheduler.push(id, 7);
    let step = scheduler.next(16);
    let batch = scheduler.batch(&step);
    assert_eq!((batch.tokens, batch.positions), (vec![7], vec![2]));
    assert_eq!((batch.lengths, batch.block_tables), (vec![3], vec![vec![1]]));
}
