//! What may follow.

use super::super::support::{Bench, Script, generate, prompt};
use super::hand;
use crate::{Constraint, Continuation, Event, Failure, FinishReason, Generate, Limits, TokenMask};

fn constrained(constraint: Option<Box<dyn Constraint>>, max_tokens: usize) -> Generate {
    Generate { constraint, ..generate(max_tokens) }
}

#[test]
fn only_what_is_allowed_follows() {
    let mut bench = Bench::new(4, 20);
    let script: &[&[u32]] = &[&[7], &[40, 41], &[3]];
    let one =
        bench.ask(&prompt(1, 9), constrained(Script::boxed(script, Ok(Continuation::Complete)), 9));
    let two =
        bench.ask(&prompt(2, 3), constrained(Script::boxed(script, Ok(Continuation::Complete)), 2));
    let free = bench.ask(&prompt(3, 3), generate(9));
    bench.run();
    assert_eq!(one.tokens(), [7, 40, 3]);
    assert_eq!(one.finished(), Some(FinishReason::Stop));
    assert_eq!((two.tokens(), two.finished()), (vec![7, 40], Some(FinishReason::Length)));
    assert_eq!(free.tokens(), hand(&prompt(3, 3), 9));
}

#[test]
fn what_is_complete_has_no_further_token() {
    let mut bench = Bench::new(4, 20);
    let ear = bench.ask(&[1], constrained(Script::boxed(&[], Ok(Continuation::Complete)), 9));
    bench.run();
    assert_eq!((ear.tokens(), ear.finished()), (vec![], Some(FinishReason::Stop)));
}

#[test]
fn a_broken_constraint_fails_its_request_only() {
    let mut bench = Bench::new(4, 20);
    let at_once = bench.ask(&[1, 2], constrained(Script::boxed(&[], Err("no such rule")), 9));
    let later = bench.ask(&[1, 3], constrained(Script::boxed(&[&[4]], Err("stuck")), 9));
    let nothing = bench.ask(&[1, 4], constrained(Script::boxed(&[&[]], Err("")), 9));
    let panicking = bench.ask(&[1, 5], constrained(Some(Box::new(Panicking)), 9));
    let free = bench.ask(&prompt(3, 3), generate(9));
    bench.run();
    let failure = |event: Option<Event>| match event {
        Some(Event::Failed(Failure::Constraint { message })) => message,
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(at_once.last()), "no such rule");
    assert_eq!(failure(later.last()), "stuck");
    assert_eq!(later.tokens(), [] as [u32; 0], "a token that cannot follow is not told");
    assert_eq!(failure(nothing.last()), "no token is both possible and allowed");
    assert_eq!(failure(panicking.last()), "panicked: out of order");
    assert_eq!(free.tokens(), hand(&prompt(3, 3), 9));
    // The thread of masks goes on.
    let script = Script::boxed(&[&[7]], Ok(Continuation::Complete));
    let next = bench.ask(&[1], constrained(script, 9));
    bench.run();
    assert_eq!(next.tokens(), [7]);
}

struct Panicking;

impl Constraint for Panicking {
    fn mask(&mut self, _: &mut TokenMask) -> Result<Continuation, String> {
        panic!("out of order")
    }

    fn accept(&mut self, _: u32) -> Result<Continuation, String> {
        Ok(Continuation::Open)
    }
}

#[test]
fn the_constraint_prevails_over_the_least_number_of_tokens() {
    let mut bench = Bench::new(4, 20);
    let limits = Limits { max_tokens: Some(9), min_tokens: 4, end_ids: vec![7] };
    let script: &[&[u32]] = &[&[7, 8], &[7]];
    let constraint = Script::boxed(script, Ok(Continuation::Open));
    let ear = bench.ask(&[1], Generate { constraint, limits, ..generate(9) });
    bench.run();
    assert_eq!(ear.tokens(), [8, 7], "7 is not chosen while there is another");
    assert_eq!(ear.finished(), Some(FinishReason::Stop));
}
