//! Leaving out workers whose core somebody else uses.
//!
//! A worker that loses its core within a task makes the region last a time slice, some milliseconds,
//! instead of some dozens of microseconds. If the caller waited that long, the workers it waited for rest:
//! first for a short time, then for twice as long as the last time, as long as it goes on.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Worker;

/// A wait that is never held against a worker.
const HARMLESS: Duration = Duration::from_micros(600);

const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(320);

/// So long without a bad wait, and the next rest is short again.
const FORGOTTEN: Duration = Duration::from_millis(200);

/// Who rests until when.
pub(super) struct Rest {
    workers: Vec<State>,
    resting: usize,
    /// The last bad wait.
    last: Option<Instant>,
}

#[derive(Clone, Copy)]
struct State {
    until: Option<Instant>,
    /// How long the next rest is.
    length: Duration,
    /// It was busy when the caller began to sleep.
    suspect: bool,
}

impl Rest {
    pub(super) fn new(workers: usize) -> Self {
        let state = State { until: None, length: SHORTEST, suspect: false };
        Self { workers: vec![state; workers], resting: 0, last: None }
    }

    /// Ends rests that are over. Returns how many workers do not rest.
    pub(super) fn update(&mut self, now: Instant, workers: &[Worker]) -> usize {
        if self.resting > 0 {
            for (state, worker) in self.workers.iter_mut().zip(workers) {
                if state.until.is_some_and(|until| until <= now) {
                    state.until = None;
                    worker.resting.store(false, Ordering::Release);
                    self.resting -= 1;
                }
            }
        }
        self.workers.len() - self.resting
    }

    /// A region ended without a bad wait.
    pub(super) fn went_well(&mut self, now: Instant) {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) > FORGOTTEN + LONGEST) {
            self.last = None;
            for state in &mut self.workers {
                state.length = SHORTEST;
            }
        }
    }

    /// The caller begins to sleep: notes whom it waits for.
    pub(super) fn suspect(&mut self, workers: &[Worker]) {
        for (state, worker) in self.workers.iter_mut().zip(workers) {
            state.suspect = worker.busy.load(Ordering::Relaxed);
        }
    }

    /// The caller worked for `worked` and then waited for `waited`.
    pub(super) fn blame(
        &mut self,
        workers: &[Worker],
        worked: Duration,
        waited: Duration,
        now: Instant,
    ) {
        if waited < HARMLESS.max(worked * 2) {
            return;
        }
        self.last = Some(now);
        for (state, worker) in self.workers.iter_mut().zip(workers) {
            if state.suspect && state.until.is_none() {
                worker.resting.store(true, Ordering::Release);
                state.until = Some(now + state.length);
                state.length = (state.length * 2).min(LONGEST);
                self.resting += 1;
            }
        }
    }
}
