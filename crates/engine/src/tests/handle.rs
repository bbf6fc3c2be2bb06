//! The engine's thread.

use super::support::{Ear, generate, plan, prompt, request};
use crate::testing::{Fake, FakeSettings, by_hand};
use crate::thread::{Shared, Turn};
use crate::{
    EngineHandle, Event, Failure, FinishReason, Generate, Plan, Refusal, Sampling, Statistics,
};
use std::time::Duration;

const SLOW: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(60);

fn slow() -> Fake {
    Fake::new(FakeSettings { step_delay: SLOW, context: 4000, ..FakeSettings::default() })
}

fn fast() -> Fake {
    Fake::new(FakeSettings::default())
}

/// A sequence that will not end by itself during a test.
fn endless(handle: &EngineHandle) -> Ear {
    let ear = Ear::default();
    handle.submit(vec![request(&[1], generate(4000), &ear)]).unwrap();
    ear.wait(|events| events.len() > 1);
    ear
}

#[test]
fn requests_are_served() {
    let handle = EngineHandle::start(fast(), &plan(4, 40)).unwrap();
    assert_eq!((handle.vocabulary(), handle.context()), (50, 40));
    let ears: Vec<Ear> = (0..20).map(|_| Ear::default()).collect();
    let requests = ears.iter().enumerate();
    let requests = requests.map(|(n, ear)| request(&prompt(n as u32, 5), generate(9), ear));
    handle.submit(requests.collect()).unwrap();
    for (n, ear) in ears.iter().enumerate() {
        assert_eq!(ear.wait_end(), Event::Finished(FinishReason::Length));
        assert_eq!(ear.tokens(), by_hand(&prompt(n as u32, 5), 9, 50));
    }
    let Statistics { running, waiting, blocks, blocks_owned, generated_tokens, .. } =
        handle.statistics();
    assert_eq!((running, waiting, blocks, blocks_owned, generated_tokens), (0, 0, 40, 0, 180));
    assert!(handle.is_alive());
    assert!(handle.shut_down(LONG));
    assert!(!handle.is_alive());
}

#[test]
fn bad_requests_are_refused() {
    let handle = EngineHandle::start(fast(), &plan(4, 5)).unwrap();
    let refuse = |prompt: &[u32], sampling| {
        let generate = Generate { sampling, ..generate(1) };
        let good = request(&[1], super::support::generate(1), &Ear::default());
        let ear = Ear::default();
        let refusal = handle.submit(vec![good, request(prompt, generate, &ear)]).unwrap_err();
        assert_eq!(ear.events(), []);
        refusal.to_string()
    };
    let greedy = Sampling::default;
    assert_eq!(refuse(&[], greedy()), "the prompt is empty: at least one token is needed");
    assert!(refuse(&[1, 50], greedy()).contains("token id 50 at position 1"));
    assert!(refuse(&[1; 21], greedy()).contains("21 tokens, but the context holds 20"));
    let sampling = Sampling { temperature: -1.0, ..greedy() };
    assert!(refuse(&[1], sampling).contains("temperature is -1"));
    let sampling = Sampling { logit_bias: vec![(50, 1.0)], ..greedy() };
    assert!(refuse(&[1], sampling).contains("logit_bias"));
    let untouched = Statistics { blocks: 5, ..Statistics::default() };
    assert_eq!(handle.statistics(), untouched, "all or none");
}

#[test]
fn the_queue_is_bounded() {
    let plan = Plan { queue: 2, ..plan(1, 1000) };
    let handle = EngineHandle::start(slow(), &plan).unwrap();
    let running = endless(&handle);
    let ears: Vec<Ear> = (0..4).map(|_| Ear::default()).collect();
    let ask = |ears: &[Ear]| {
        handle.submit(ears.iter().map(|ear| request(&[2], generate(1), ear)).collect())
    };
    assert_eq!(ask(&ears[..3]), Err(Refusal::QueueFull { waiting: 0, queue: 2 }));
    assert_eq!(ask(&ears[..2]), Ok(()));
    assert_eq!(ask(&ears[2..3]), Err(Refusal::QueueFull { waiting: 2, queue: 2 }));
    assert_eq!((handle.statistics().refused, handle.statistics().waiting), (4, 2));
    // One that waits goes away: its place is free within a step.
    ears[0].close();
    while handle.statistics().cancelled == 0 {
        std::thread::sleep(SLOW);
    }
    assert_eq!(ask(&ears[3..]), Ok(()));
    running.close();
    assert_eq!(ears[1].wait_end(), Event::Finished(FinishReason::Length));
    assert_eq!(ears[3].wait_end(), Event::Finished(FinishReason::Length));
    assert_eq!(ears[2].events(), []);
}

#[test]
fn what_the_thread_has_taken_still_waits_until_it_is_admitted() {
    let shared = Shared::new(50, 40, 1, 1);
    let ask = || shared.push(vec![request(&[2], generate(1), &Ear::default())]);
    assert_eq!((ask(), ask()), (Ok(()), Ok(())), "one that runs and one that waits");
    assert!(matches!(shared.turn(true), Turn::Work(requests) if requests.len() == 2));
    assert_eq!(ask(), Err(Refusal::QueueFull { waiting: 1, queue: 1 }));
    assert_eq!(shared.statistics().waiting, 2);
}

#[test]
fn shutting_down_waits_for_what_was_accepted() {
    let handle = EngineHandle::start(slow(), &plan(1, 1000)).unwrap();
    let ears: Vec<Ear> = (0..3).map(|_| Ear::default()).collect();
    let requests = ears.iter().map(|ear| request(&[2], generate(3), ear)).collect();
    handle.submit(requests).unwrap();
    assert!(handle.shut_down(LONG));
    assert!(ears.iter().all(|ear| ear.finished() == Some(FinishReason::Length)));
    let late = handle.submit(vec![request(&[2], generate(3), &Ear::default())]);
    assert_eq!(late, Err(Refusal::ShuttingDown));
    assert!(handle.shut_down(LONG), "again, it says the same");
}

#[test]
fn shutting_down_ends_at_its_deadline_or_at_once() {
    for by_abort in [false, true] {
        let handle = EngineHandle::start(slow(), &plan(1, 1000)).unwrap();
        let (running, waiting) = (endless(&handle), Ear::default());
        handle.submit(vec![request(&[2], generate(3), &waiting)]).unwrap();
        let finished = if by_abort {
            std::thread::scope(|scope| {
                let waits = scope.spawn(|| handle.shut_down(LONG));
                handle.abort();
                waits.join().unwrap()
            })
        } else {
            handle.shut_down(Duration::ZERO)
        };
        assert!(!finished);
        for ear in [running, waiting] {
            assert_eq!(ear.last(), Some(Event::Failed(Failure::ShuttingDown)));
        }
        assert_eq!(handle.statistics().blocks_owned, 0);
    }
}

#[test]
fn the_thread_ends_when_nobody_can_speak_with_it() {
    let handle = EngineHandle::start(slow(), &plan(1, 1000)).unwrap();
    let journal = {
        let fake = slow();
        let journal = fake.journal();
        let (ear, other) = (Ear::default(), EngineHandle::start(fake, &plan(1, 10)).unwrap());
        other.submit(vec![request(&[2], generate(3), &ear)]).unwrap();
        drop(other);
        assert_eq!(ear.wait_end(), Event::Finished(FinishReason::Length));
        journal
    };
    assert_eq!(journal.steps(), [1, 1, 1]);
    let clone = handle.clone();
    drop(handle);
    assert!(clone.is_alive());
    endless(&clone).close();
}

#[test]
fn failures_do_not_end_the_thread() {
    let settings = FakeSettings { panic_at: [2].into(), fail_at: [4].into(), ..Default::default() };
    let handle = EngineHandle::start(Fake::new(settings), &plan(2, 20)).unwrap();
    let ask = |ear: &Ear| {
        handle.submit(vec![request(&[2, 3], generate(3), ear)]).unwrap();
        ear.wait_end()
    };
    for _ in 0..2 {
        assert!(matches!(ask(&Ear::default()), Event::Failed(Failure::Runner { .. })));
    }
    assert!(matches!(ask(&Ear::panicking()), Event::Failed(_)));
    let ear = Ear::default();
    assert_eq!(ask(&ear), Event::Finished(FinishReason::Length));
    assert_eq!(ear.tokens(), by_hand(&[2, 3], 3, 50));
    assert!(handle.is_alive() && handle.shut_down(LONG));
}

#[test]
fn prompts_do_not_hold_up_a_running_stream() {
    let settings = FakeSettings {
        step_delay: SLOW,
        token_delay: Duration::from_micros(100),
        step_tokens: 512,
        context: 4000,
        ..FakeSettings::default()
    };
    let runner = Fake::new(settings);
    let journal = runner.journal();
    let plan = Plan { pace: 3.0, ..plan(4, 1000) };
    let handle = EngineHandle::start(runner, &plan).unwrap();
    let stream = endless(&handle);
    journal.clear();
    let ear = Ear::default();
    handle.submit(vec![request(&prompt(3, 600), generate(1), &ear)]).unwrap();
    ear.wait_end();
    // About 2.1 ms alone, 6.3 ms at most: some 43 tokens. Machines are noisy, but 512 would be wrong.
    let largest = journal.steps().into_iter().max().unwrap();
    assert!((17..=150).contains(&largest), "{:?}", journal.steps());
    let made = stream.tokens().len();
    assert!(made > 5, "the stream went on: {made}");
    // Nothing is held back when nothing is continued.
    stream.close();
    journal.clear();
    let ear = Ear::default();
    handle.submit(vec![request(&prompt(4, 600), generate(1), &ear)]).unwrap();
    ear.wait_end();
    let steps = journal.steps();
    assert!(steps.contains(&512) || steps.contains(&511), "{steps:?}");
    handle.abort();
}
