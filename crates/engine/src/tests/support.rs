//! What several tests need.

use crate::engine::Engine;
use crate::testing::{Fake, FakeSettings, Journal};
use crate::{
    Constraint, Continuation, Event, FinishReason, Generate, Limits, Output, Plan, Request,
    Sampling, Task, TokenMask,
};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Collects events.
#[derive(Clone, Default)]
pub struct Ear(Arc<(Mutex<Heard>, Condvar)>);

#[derive(Default)]
struct Heard {
    events: Vec<Event>,
    closed: bool,
    /// Answers so many tokens with an end.
    enough: Option<usize>,
    panics: bool,
}

impl Ear {
    pub fn enough(tokens: usize) -> Self {
        let ear = Self::default();
        ear.0.0.lock().unwrap().enough = Some(tokens);
        ear
    }

    pub fn panicking() -> Self {
        let ear = Self::default();
        ear.0.0.lock().unwrap().panics = true;
        ear
    }

    pub fn close(&self) {
        self.0.0.lock().unwrap().closed = true;
    }

    pub fn events(&self) -> Vec<Event> {
        self.0.0.lock().unwrap().events.clone()
    }

    pub fn tokens(&self) -> Vec<u32> {
        let token = |event: &Event| match event {
            Event::Token { id, .. } => Some(*id),
            _ => None,
        };
        self.events().iter().filter_map(token).collect()
    }

    pub fn last(&self) -> Option<Event> {
        self.events().pop()
    }

    pub fn cached(&self) -> Option<usize> {
        match self.events().first()? {
            Event::Admitted { cached_tokens } => Some(*cached_tokens),
            _ => None,
        }
    }

    pub fn finished(&self) -> Option<FinishReason> {
        match self.last()? {
            Event::Finished(reason) => Some(reason),
            _ => None,
        }
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.last(), Some(Event::Finished(_) | Event::Failed(_)))
    }

    /// Waits until events are as wanted.
    pub fn wait(&self, wanted: impl Fn(&[Event]) -> bool) -> Vec<Event> {
        let (heard, changed) = &*self.0;
        let heard = heard.lock().unwrap();
        let patience = Duration::from_secs(20);
        let (heard, late) =
            changed.wait_timeout_while(heard, patience, |heard| !wanted(&heard.events)).unwrap();
        assert!(!late.timed_out(), "still {:?}", heard.events);
        heard.events.clone()
    }

    pub fn wait_end(&self) -> Event {
        let ends = |event: &Event| matches!(event, Event::Finished(_) | Event::Failed(_));
        self.wait(|events| events.last().is_some_and(ends)).pop().unwrap()
    }
}

impl Output for Ear {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        let (heard, changed) = &*self.0;
        let mut heard = heard.lock().unwrap();
        let is_token = matches!(event, Event::Token { .. });
        let panics = heard.panics && is_token;
        heard.events.push(event);
        let enough = heard.enough.is_some_and(|enough| heard.events.len() > enough);
        drop(heard);
        changed.notify_all();
        assert!(!panics, "an ear that cannot listen");
        if is_token && enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn is_closed(&self) -> bool {
        self.0.0.lock().unwrap().closed
    }
}

pub fn generate(max_tokens: usize) -> Generate {
    Generate {
        sampling: Sampling::default(),
        limits: Limits { max_tokens: Some(max_tokens), ..Limits::default() },
        logprobs: None,
        prompt_logprobs: None,
        constraint: None,
    }
}

pub fn request(prompt: &[u32], generate: Generate, ear: &Ear) -> Request {
    let (task, output) = (Task::Generate(Box::new(generate)), Box::new(ear.clone()));
    Request { prompt: prompt.to_vec(), task, output }
}

/// Tokens that no other seed begins with.
pub fn prompt(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|n| (seed * 7 + n * (seed + 1)) % 50).collect()
}

pub fn plan(parallel: usize, blocks: usize) -> Plan {
    Plan { parallel, blocks, slots: parallel, queue: 100, prefix_cache: true, pace: 2.0 }
}

/// An engine and everything that was asked of its runner.
pub struct Bench {
    pub engine: Engine<Fake>,
    pub journal: Journal,
}

impl Bench {
    pub fn new(parallel: usize, blocks: usize) -> Self {
        Self::of(Fake::new(FakeSettings::default()), &plan(parallel, blocks))
    }

    pub fn of(runner: Fake, plan: &Plan) -> Self {
        let journal = runner.journal();
        Self { engine: Engine::new(runner, plan).unwrap(), journal }
    }

    pub fn ask(&mut self, prompt: &[u32], generate: Generate) -> Ear {
        self.ask_for(prompt, Task::Generate(Box::new(generate)))
    }

    pub fn ask_for(&mut self, prompt: &[u32], task: Task) -> Ear {
        let ear = Ear::default();
        let output = Box::new(ear.clone());
        self.engine.submit(Request { prompt: prompt.to_vec(), task, output });
        ear
    }

    /// What the thread does in a turn.
    pub fn turn(&mut self) {
        self.engine.sweep();
        let step = self.engine.decide(usize::MAX);
        self.engine.carry_out(&step);
        self.engine.farewell();
    }

    /// Runs until nothing is left: all blocks must be free then, and no step have been wrong.
    pub fn run(&mut self) {
        let mut turns = 0;
        self.turn();
        while !self.engine.is_idle() {
            self.turn();
            turns += 1;
            assert!(turns < 10_000, "it never ends");
        }
        self.turn();
        assert_eq!(self.journal.misuses(), [] as [String; 0]);
        let statistics = self.engine.statistics();
        assert_eq!((statistics.running, statistics.waiting, statistics.blocks_owned), (0, 0, 0));
        assert_eq!(statistics.slots_owned, 0);
    }
}

/// Allows the tokens of a script, one after the other; then says what comes at its end.
pub struct Script {
    pub allowed: Vec<Vec<u32>>,
    pub at: usize,
    pub end: Result<Continuation, String>,
}

impl Script {
    pub fn boxed(
        allowed: &[&[u32]],
        end: Result<Continuation, &str>,
    ) -> Option<Box<dyn Constraint>> {
        let allowed = allowed.iter().map(|tokens| tokens.to_vec()).collect();
        Some(Box::new(Self { allowed, at: 0, end: end.map_err(str::to_owned) }))
    }
}

impl Constraint for Script {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<Continuation, String> {
        let Some(allowed) = self.allowed.get(self.at) else { return self.end.clone() };
        allowed.iter().for_each(|token| mask.allow(*token));
        Ok(Continuation::Open)
    }

    fn accept(&mut self, token: u32) -> Result<Continuation, String> {
        assert!(self.allowed[self.at].contains(&token), "{token} was not allowed");
        self.at += 1;
        match self.allowed.get(self.at) {
            Some(_) => Ok(Continuation::Open),
            None => self.end.clone(),
        }
    }
}
