//! A model with per-sequence state: slots, copies of them, and many sequences at once.

mod support;

use stablemate::{
    Backend, CacheElement, Executor, LoadOptions, Model, Room, Runner, ServiceOptions, StepInput,
};
use stablemate_engine::{
    EngineHandle, Event, Generate, Limits, Output, Request, Sampling, Statistics, Task,
};
use stablemate_fixtures::Case;
use std::ops::{ControlFlow, Range};
use std::sync::mpsc::{Receiver, Sender, channel};
use support::{close, options};
use tempfile::TempDir;

fn model(case: &Case) -> (TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    case.write_checkpoint(folder.path()).unwrap();
    let (backend, cache) = (Backend::Portable, CacheElement::F32);
    let options = LoadOptions { backend, cache, ..options() };
    let model = Model::load(folder.path(), &options).unwrap();
    (folder, model)
}

/// Logits after `tokens[range]` of a sequence in blocks 1 to 8, with its state in `slot`.
fn step(executor: &mut Executor, tokens: &[u32], range: Range<usize>, slot: u32) -> Vec<f32> {
    let positions: Vec<u32> = range.clone().map(|position| position as u32).collect();
    executor
        .step(&StepInput {
            tokens: &tokens[range.clone()],
            positions: &positions,
            sequences: &vec![0; range.len()],
            lengths: &vec![range.end as u32; range.len()],
            block_tables: &[(1..=8).collect()],
            slots: &[slot],
            rows: &[range.len() as u32 - 1],
        })
        .unwrap()
}

#[test]
fn a_copied_state_continues_as_the_original_and_position_0_starts_anew() {
    let case = Case::open("qwen3_5_text");
    let (_folder, model) = model(&case);
    let mut executor = model.into_executor();
    executor.reserve(Room { sequences: 1, tokens: 128, blocks: 8, slots: 2 }).unwrap();
    let prompt = &case.expected.prompt_ids;
    let (first, length) = (prompt.len() / 2, prompt.len());
    step(&mut executor, prompt, 0..first, 1);
    executor.copy_state(1, 2).unwrap();
    let original = step(&mut executor, prompt, first..length, 1);
    close(&original, &case.expected.prompt_logits, case.expected.tolerance).unwrap();
    // Room for more slots keeps the content of these.
    executor.reserve(Room { sequences: 1, tokens: 128, blocks: 8, slots: 5 }).unwrap();
    executor.copy_state(2, 5).unwrap();
    assert_eq!(step(&mut executor, prompt, first..length, 2), original);
    assert_ne!(step(&mut executor, prompt, first..length, 2), original, "its state went on");
    assert_eq!(step(&mut executor, prompt, first..length, 5), original);
    // What a slot holds does not matter at position 0.
    let whole = step(&mut executor, prompt, 0..length, 5);
    close(&whole, &original, 1e-5).unwrap();
    for (from, to) in [(0, 1), (1, 0), (1, 6), (6, 1)] {
        let error = executor.copy_state(from, to).unwrap_err().to_string();
        assert!(error.contains("slots are 1 to 5"), "{error}");
    }
}

/// Sends a request's events.
struct Sending(Sender<Event>);

impl Output for Sending {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        self.0.send(event).unwrap();
        ControlFlow::Continue(())
    }

    fn is_closed(&self) -> bool {
        false
    }
}

fn ask(engine: &EngineHandle, prompts: &[&[u32]]) -> Vec<Receiver<Event>> {
    let (requests, events): (Vec<Request>, Vec<_>) = prompts
        .iter()
        .map(|prompt| {
            let (sender, receiver) = channel();
            let generate = Generate {
                sampling: Sampling::default(),
                limits: Limits { max_tokens: Some(20), ..Limits::default() },
                logprobs: None,
                prompt_logprobs: None,
                constraint: None,
            };
            let task = Task::Generate(Box::new(generate));
            (Request { prompt: prompt.to_vec(), task, output: Box::new(Sending(sender)) }, receiver)
        })
        .unzip();
    engine.submit(requests).unwrap();
    events
}

/// The tokens of an answer, and how many of its prompt were cached.
fn answer(events: &Receiver<Event>) -> (Vec<u32>, usize) {
    let (mut tokens, mut cached) = (Vec::new(), 0);
    for event in events {
        match event {
            Event::Admitted { cached_tokens } => cached = cached_tokens,
            Event::Token { id, .. } => tokens.push(id),
            Event::Finished(_) => break,
            other => panic!("{other:?}"),
        }
    }
    (tokens, cached)
}

#[test]
fn tokens_are_the_same_alone_among_others_and_from_a_snapshot() {
    let case = Case::open("qwen3_5_text");
    let (_folder, model) = model(&case);
    let options = ServiceOptions { parallel: 3, ..ServiceOptions::default() };
    let service = model.into_service(&options).unwrap();
    assert_eq!(service.slots, 3 + 12);
    let engine = &service.engine;
    let expected = &case.expected;
    let long = [&expected.prompt_ids[..], &expected.token_ids].concat();
    let prompts: Vec<&[u32]> =
        vec![&expected.prompt_ids, &long, &long[..long.len() - 3], &long[5..], &long[9..20]];
    let together: Vec<_> = ask(engine, &prompts).iter().map(answer).collect();
    assert_eq!(together[0].0, expected.token_ids[..20]);
    for (n, prompt) in prompts.iter().enumerate() {
        let again = answer(&ask(engine, &[prompt])[0]);
        assert_eq!(again.0, together[n].0, "request {n}");
        assert_eq!(again.1, (prompt.len() - 1) / 16 * 16, "request {n}");
    }
    let Statistics { slots, slots_owned, snapshots, snapshot_hits, .. } = engine.statistics();
    assert_eq!((slots, slots_owned), (15, 0));
    assert!(snapshots > 4 && snapshot_hits >= 4, "{snapshots}, {snapshot_hits}");
}
