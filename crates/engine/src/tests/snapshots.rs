//! Timelines of sequences with state. `+2(8) 5>2`: sequence 2 is admitted after 8 cached tokens,
//! and the state in slot 5 is copied to its slot 2 before the step. Behind the blocks that are
//! owned after the step stand the copies that make snapshots: `| 3 1>4`.

use super::scheduler::{SETTINGS, Timeline};
use super::support::prompt;
use crate::scheduler::{Kind, Rows, Settings};

const STATE: Settings = Settings { slots: 8, ..SETTINGS };

#[test]
fn a_snapshot_is_taken_at_the_last_border_of_a_prompt_and_the_latest_of_an_answer() {
    let mut timeline = Timeline::new(STATE);
    timeline.add(&prompt(1, 11), 8);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..8, | +1(0) | 3 1>2
    L | 1 8..11 *1, | | 3
    L | 1 11..12 *1, | | 3 1>3
    L | 1 12..13 *1, | | 4
    L | 1 13..14 *1, | | 4
    L | 1 14..15 *1, | | 4
    L | 1 15..16 *1, | | 4 1>3
    L | 1 16..17 *1, | | 5
    L | 1 17..18 *1, | | 5
    ");
    let answered = [&prompt(1, 11)[..], &[41; 8]].concat();
    let blocks = timeline.scheduler.blocks();
    let tokens = |reach: usize| blocks.lookup(&answered[..reach], usize::MAX).tokens(4);
    assert_eq!([7, 8, 12, 15, 16, 19].map(tokens), [0, 8, 8, 8, 16, 16]);
}

#[test]
fn copies_wait_for_the_border_and_continue_from_its_snapshot() {
    let mut timeline = Timeline::new(STATE);
    for _ in 0..3 {
        timeline.add(&prompt(1, 10), 2);
    }
    timeline.add(&prompt(2, 3), 2);
    insta::assert_snapshot!(timeline.run(5), @"
    L | 1 0..5, | +1(0) +4(0) | 4
    L | 1 5..8, 4 0..2, | | 4 1>3
    L | 4 2..3 *1, 1 8..10 *1, 2 8..10 *1, 3 8..9, | +2(8) 3>4 +3(8) 3>5 | 6
    L | 1 10..11 *1, 4 3..4 *1, 2 10..11 *1, 3 9..10 *1, | | 6 2>6
    L | 3 10..11 *1, | | 3
    ");
}

#[test]
fn a_prompt_that_is_waited_for_stops_at_the_common_border() {
    let mut timeline = Timeline::new(STATE);
    let beginning = prompt(1, 8);
    timeline.add(&[&beginning[..], &prompt(2, 7)].concat(), 1);
    timeline.add(&[&beginning[..], &[33]].concat(), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..8, | +1(0) | 4 1>2
    L | 2 8..9 *1, 1 8..12, | +2(8) 2>3 | 5 1>4
    L | 1 12..15 *1, | | 4
    ");
}

#[test]
fn the_third_prompt_of_a_common_beginning_finds_a_snapshot_where_the_second_left_it() {
    let mut timeline = Timeline::new(STATE);
    let beginning = prompt(1, 8);
    for seed in 2..5 {
        timeline.add(&[&beginning[..], &prompt(seed, 7)].concat(), 1);
        timeline.run(16);
    }
    insta::assert_snapshot!(timeline.text, @"
    L | 1 0..12, | +1(0) | 4 1>2
    L | 1 12..15 *1, | | 4
    L | 2 0..8, | +2(0) | 4 1>3
    L | 2 8..12, | | 4 1>4
    L | 2 12..15 *1, | | 4
    L | 3 8..12, | +3(8) 3>1 | 4 1>5
    L | 3 12..15 *1, | | 4
    ");
}

#[test]
fn a_preempted_sequence_continues_from_its_snapshot() {
    let mut timeline = Timeline::new(Settings { blocks: 5, ..STATE });
    timeline.add(&prompt(1, 7), 8);
    timeline.add(&prompt(2, 6), 6);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..4, 2 0..4, | +1(0) +2(0) | 4 1>3 2>4
    L | 1 4..7 *1, 2 4..6 *1, | | 4
    L | 1 7..8 *1, 2 6..7 *1, | | 4 1>5
    L | 1 8..9 *1, 2 7..8 *1, | | 5 2>6
    L | 1 9..10 *1, | -2 | 3
    L | 1 10..11 *1, | | 3
    L | 1 11..12 *1, | | 3 1>5
    L | 1 12..13 *1, | | 4
    L | 1 13..14 *1, | | 4
    L | 2 4..8, | +2(4) 4>1 | 3 1>5
    L | 2 8..9 *1, | | 3
    L | 2 9..10 *1, | | 3
    L | 2 10..11 *1, | | 3
    ");
    assert_eq!(timeline.scheduler.counters().preemptions, 1);
    assert_eq!(timeline.scheduler.counters().snapshot_hits, 1);
}

#[test]
fn the_snapshot_least_recently_used_gives_its_slot() {
    let mut timeline = Timeline::new(Settings { parallel: 2, slots: 3, ..STATE });
    for seed in 1..3 {
        timeline.add(&prompt(seed, 5), 1);
        timeline.run(16);
    }
    // 3 drops the snapshot of 1; then 4, which continues from that of 2, drops that of 3.
    timeline.add(&prompt(3, 5), 3);
    timeline.step(16);
    timeline.add(&prompt(2, 5), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..4, | +1(0) | 2 1>2
    L | 1 4..5 *1, | | 2
    L | 2 0..4, | +2(0) | 2 1>3
    L | 2 4..5 *1, | | 2
    L | 3 0..4, | +3(0) | 2 1>2
    L | 3 4..5 *1, 4 4..5 *1, | +4(4) 3>2 | 4
    L | 3 5..6 *1, | | 2
    L | 3 6..7 *1, | | 2
    ");
}

#[test]
fn the_only_snapshot_becomes_the_state_of_the_sequence_that_continues_from_it() {
    let mut timeline = Timeline::new(Settings { parallel: 2, slots: 2, ..STATE });
    timeline.add(&prompt(1, 5), 1);
    timeline.run(16);
    timeline.add(&prompt(2, 2), 2);
    timeline.step(16);
    timeline.add(&prompt(1, 5), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..4, | +1(0) | 2 1>2
    L | 1 4..5 *1, | | 2
    L | 2 0..2 *1, | +2(0) | 1
    L | 2 2..3 *1, 3 4..5 *1, | +3(4) | 3
    ");
    assert_eq!(timeline.scheduler.counters().snapshot_hits, 1);
    assert_eq!(timeline.scheduler.blocks().slots.snapshots(), 0);
}

#[test]
fn without_a_prefix_cache_prompts_are_not_cut() {
    let mut timeline = Timeline::new(Settings { prefix_cache: false, ..STATE });
    timeline.add(&prompt(1, 11), 3);
    timeline.add(&prompt(1, 11), 1);
    insta::assert_snapshot!(timeline.run(usize::MAX), @"
    L | 1 0..11 *1, 2 0..5, | +1(0) +2(0) | 6
    L | 1 11..12 *1, 2 5..11 *1, | | 6
    L | 1 12..13 *1, | | 4
    ");
}

#[test]
fn a_prompt_whose_rows_are_all_wanted_is_not_cut() {
    let mut timeline = Timeline::new(STATE);
    timeline.add_job(&prompt(1, 10), Kind::Vectors, Rows::All, 0);
    timeline.step(16);
    timeline.remove(1);
    timeline.add(&prompt(1, 10), 1);
    insta::assert_snapshot!(timeline.run(16), @"
    V | 1 0..10 *10, | +1(0) | 3
    L | 2 0..8, | +2(0) | 3 1>2
    L | 2 8..10 *1, | | 3
    ");
}

#[test]
fn a_block_whose_name_collides_gets_no_snapshot() {
    let mut timeline = Timeline::new(STATE);
    timeline.scheduler = timeline.scheduler.with_hash(|_, _| 7);
    timeline.add(&prompt(1, 5), 1);
    timeline.add(&prompt(2, 5), 5);
    insta::assert_snapshot!(timeline.run(16), @"
    L | 1 0..4, 2 0..4, | +1(0) +2(0) | 4 1>3
    L | 1 4..5 *1, 2 4..5 *1, | | 4
    L | 2 5..6 *1, | | 2
    L | 2 6..7 *1, | | 2
    L | 2 7..8 *1, | | 2
    L | 2 8..9 *1, | | 3
    ");
}
