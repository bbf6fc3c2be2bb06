//! The engine's thread, and what it shares with its handles.

use crate::engine::{Engine, guarded};
use crate::pace::Pace;
use crate::scheduler::Kind;
use crate::{Event, Failure, Refusal, Request, Runner, Statistics};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the thread and the handles share.
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    pub vocabulary: usize,
    pub context: usize,
    pub queue: usize,
    /// Sequences that run at the same time.
    pub parallel: usize,
}

#[derive(Default)]
struct State {
    inbox: Vec<Request>,
    /// The engine's, after its last step; what was taken from the inbox since then waits.
    statistics: Statistics,
    refused: u64,
    closing: Option<Closing>,
    /// Whether everything finished; set when the thread ends.
    ended: Option<bool>,
}

/// Nothing is accepted any more.
#[derive(Clone, Copy)]
struct Closing {
    /// When what was accepted fails; never, if `None`.
    deadline: Option<Instant>,
}

/// What the thread does next.
pub(crate) enum Turn {
    Work(Vec<Request>),
    End { finished: bool },
}

impl Shared {
    pub fn new(vocabulary: usize, context: usize, queue: usize, parallel: usize) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self { state, changed, vocabulary, context, queue, parallel }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is right between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts requests into the inbox, all or none.
    pub fn push(&self, requests: Vec<Request>) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.closing.is_some() || state.ended.is_some() {
            return Err(Refusal::ShuttingDown);
        }
        // Whoever finds a free place does not wait, although it is not admitted yet.
        let free = self.parallel.saturating_sub(state.statistics.running);
        let present = state.inbox.len() + state.statistics.waiting;
        if present + requests.len() > self.queue.saturating_add(free) {
            state.refused += requests.len() as u64;
            let waiting = present.saturating_sub(free);
            return Err(Refusal::QueueFull { waiting, queue: self.queue });
        }
        state.inbox.extend(requests);
        self.changed.notify_all();
        Ok(())
    }

    pub fn statistics(&self) -> Statistics {
        let state = self.lock();
        let waiting = state.statistics.waiting + state.inbox.len();
        Statistics { waiting, refused: state.refused, ..state.statistics }
    }

    /// Accepts nothing more, and fails what is left after `patience`, if there is any bound.
    pub fn close(&self, patience: Option<Duration>) {
        let deadline = patience.and_then(|patience| Instant::now().checked_add(patience));
        let mut state = self.lock();
        let earlier = state.closing.and_then(|closing| closing.deadline);
        let deadline = earlier.into_iter().chain(deadline).min();
        state.closing = Some(Closing { deadline });
        self.changed.notify_all();
    }

    /// Waits for the thread's end: whether everything finished.
    pub fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            if let Some(finished) = state.ended {
                return finished;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn is_alive(&self) -> bool {
        self.lock().ended.is_none()
    }

    /// Ends what no thread will serve.
    pub fn end(&self, finished: bool) {
        let mut state = self.lock();
        state.ended.get_or_insert(finished);
        let left = std::mem::take(&mut state.inbox);
        drop(state);
        self.changed.notify_all();
        for mut request in left {
            // A panic of its receiver concerns nobody else.
            let _ = guarded(|| request.output.event(Event::Failed(Failure::ShuttingDown)));
        }
    }

    /// What to do next. Waits for it, if there is nothing left to do.
    pub fn turn(&self, idle: bool) -> Turn {
        let mut state = self.lock();
        loop {
            let late = |at: Instant| at <= Instant::now();
            if state.closing.is_some_and(|closing| closing.deadline.is_some_and(late)) {
                return Turn::End { finished: idle && state.inbox.is_empty() };
            }
            if !idle || !state.inbox.is_empty() {
                let requests = std::mem::take(&mut state.inbox);
                state.statistics.waiting += requests.len();
                return Turn::Work(requests);
            }
            if state.closing.is_some() {
                return Turn::End { finished: true };
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub fn publish(&self, statistics: Statistics) {
        self.lock().statistics = statistics;
    }
}

/// Tells everybody that the thread has ended, however it does.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(false);
    }
}

/// Serves until it is told to end.
pub(crate) fn serve<R: Runner>(mut engine: Engine<R>, mut pace: Pace, shared: Arc<Shared>) {
    let end = End(Arc::clone(&shared));
    loop {
        match shared.turn(engine.is_idle()) {
            Turn::Work(requests) => {
                let worked = guarded(|| work(&mut engine, &mut pace, &shared, requests));
                if let Err(message) = worked {
                    tracing::error!(message, "the engine begins anew");
                    engine.reset(&message);
                }
                shared.publish(engine.statistics());
                engine.farewell();
            }
            Turn::End { finished } => {
                engine.fail_all(&Failure::ShuttingDown);
                shared.publish(engine.statistics());
                engine.farewell();
                // The runner's memory is free when the end is known.
                drop(engine);
                end.0.end(finished);
                return;
            }
        }
    }
}

/// One turn: at most one step.
fn work<R: Runner>(
    engine: &mut Engine<R>,
    pace: &mut Pace,
    shared: &Shared,
    requests: Vec<Request>,
) {
    for request in requests {
        // Its receiver is gone with it, which tells those who wait.
        if let Err(message) = guarded(|| engine.submit(request)) {
            tracing::error!(message, "a request could not be taken");
        }
    }
    engine.sweep();
    let continuing = engine.continuing();
    let budget = pace.budget(continuing, engine.settings().step_tokens);
    let start = Instant::now();
    let step = engine.decide(budget);
    shared.publish(engine.statistics());
    engine.carry_out(&step);
    let (tokens, seconds) = (step.tokens(), start.elapsed().as_secs_f64());
    tracing::trace!(continuing, budget, tokens, seconds, "step");
    if step.kind == Kind::Logits {
        pace.record(tokens, seconds);
    }
}
