//! Requests in, steps through the runner, events out. Synchronous; [`crate::EngineHandle`] gives it a
//! thread.

mod caller;
mod embedding;
mod generating;
mod masks;

use crate::scheduler::{Batch, Job, Kind, Rows, Scheduler, Settings, StateCopy, Step};
use crate::{
    Event, Failure, FinishReason, Plan, Request, Room, Runner, Statistics, StepInput, Task,
};
use caller::Caller;
use embedding::Embedding;
use generating::Generating;
use masks::Masks;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Owns the runner, the scheduler and everything about every request.
pub(crate) struct Engine<R> {
    runner: R,
    settings: Settings,
    scheduler: Scheduler,
    sequences: BTreeMap<u64, Sequence>,
    masks: Masks,
    /// Last events that have not been told yet.
    ended: Vec<(Caller, Event)>,
    /// Counters, and those of schedulers that were given up.
    counted: Statistics,
    context: usize,
}

struct Sequence {
    caller: Caller,
    work: Work,
}

enum Work {
    Generate(Box<Generating>),
    Embed(Embedding),
}

/// What a row led to.
#[derive(Default)]
struct Outcome {
    /// A token was chosen.
    token: Option<u32>,
    /// The sequence ends with this event.
    end: Option<Event>,
}

impl Outcome {
    fn end(event: Event) -> Self {
        Self { token: None, end: Some(event) }
    }
}

impl<R: Runner> Engine<R> {
    /// An engine whose room is reserved. At least one sequence runs, and at most as many as a step
    /// holds tokens and as there are slots of per-sequence state; no sequence is longer than what
    /// fits into the blocks.
    ///
    /// # Errors
    /// What the runner says to the room.
    pub fn new(mut runner: R, plan: &Plan) -> Result<Self, R::Error> {
        let (block_length, step_tokens) = (runner.block_length().max(1), runner.step_tokens());
        let slots = if runner.keeps_state() { plan.slots.max(1) } else { 0 };
        let places = if slots > 0 { slots.min(step_tokens) } else { step_tokens };
        let settings = Settings {
            parallel: plan.parallel.min(places).max(1),
            blocks: plan.blocks,
            block_length,
            step_tokens: step_tokens.max(1),
            slots,
            prefix_cache: plan.prefix_cache && runner.reuses_prefixes(),
            recomputed_beyond: runner.recomputed_beyond(),
        };
        let context = runner.context().min(plan.blocks.saturating_mul(block_length));
        let Settings { parallel: sequences, blocks, .. } = settings;
        runner.reserve(Room { sequences, tokens: context, blocks, slots })?;
        Ok(Self {
            runner,
            settings,
            scheduler: Scheduler::new(settings),
            sequences: BTreeMap::new(),
            masks: Masks::default(),
            ended: Vec::new(),
            counted: Statistics::default(),
            context,
        })
    }

    /// The longest sequence.
    pub fn context(&self) -> usize {
        self.context
    }

    /// `V`.
    pub fn vocabulary(&self) -> usize {
        self.runner.vocabulary()
    }

    /// What the scheduler may use.
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens that continue sequences in the next step.
    pub fn continuing(&self) -> usize {
        self.scheduler.continuing()
    }

    /// Takes a request that has been checked: a prompt of 1 to `context` known tokens, parameters in
    /// their ranges.
    pub fn submit(&mut self, request: Request) {
        let Request { prompt, task, output } = request;
        let mut caller = Caller::new(output);
        let length = prompt.len();
        let mut job = Job { tokens: prompt, length, kind: Kind::Logits, rows: Rows::Last };
        let work = match task {
            Task::Embed(pooling) => {
                let embedding = Embedding::new(pooling, length);
                job.kind = Kind::Vectors;
                job.rows = if embedding.wants_all() { Rows::All } else { Rows::Last };
                Work::Embed(embedding)
            }
            Task::Generate(generate) => {
                let room = self.context.saturating_sub(length);
                let vocabulary = self.runner.vocabulary();
                let mut generating = Generating::new(*generate, &job.tokens, room, vocabulary);
                job.rows = if generating.wants_prompt() { Rows::All } else { Rows::Last };
                job.tokens.truncate(generating.needed());
                if job.tokens.is_empty() {
                    // Only a token can be answered by an end.
                    let _ = caller.tell(Event::Admitted { cached_tokens: 0 });
                    generating.report_prompt(&mut caller);
                    self.ended.push((caller, Event::Finished(FinishReason::Length)));
                    return;
                }
                Work::Generate(Box::new(generating))
            }
        };
        let id = self.scheduler.add(job);
        self.sequences.insert(id, Sequence { caller, work });
    }

    /// Drops the sequences that nobody listens to.
    pub fn sweep(&mut self) {
        let closed = |(id, sequence): (&u64, &Sequence)| sequence.caller.is_closed().then_some(*id);
        let closed: Vec<u64> = self.sequences.iter().filter_map(closed).collect();
        for id in closed {
            self.scheduler.remove(id);
            self.sequences.remove(&id);
            self.counted.cancelled += 1;
        }
    }

    /// Decides on the next step, with at most `budget` tokens of prompts; it must be carried out.
    /// Nothing is told yet: whoever hears of it finds [`Self::statistics`] as they are during the step.
    pub fn decide(&mut self, budget: usize) -> Step {
        self.scheduler.next(budget)
    }

    /// Runs a step that was decided on, if it is not empty. Tells everything but last events, for which
    /// [`Self::farewell`] is.
    pub fn carry_out(&mut self, step: &Step) {
        for admission in step.admitted.iter().filter(|admission| admission.first) {
            if let Some(sequence) = self.sequences.get_mut(&admission.id) {
                // Only a token can be answered by an end.
                let _ = sequence.caller.tell(Event::Admitted { cached_tokens: admission.cached });
            }
        }
        let restored: Vec<StateCopy> =
            step.admitted.iter().filter_map(|admission| admission.restored).collect();
        if let Err(message) = restored.iter().try_for_each(|copy| self.copy_state(*copy)) {
            let admitted = step.admitted.iter().map(|admission| admission.id);
            self.fail(step.parts.iter().map(|part| part.id).chain(admitted), message);
            return;
        }
        if step.parts.is_empty() {
            return;
        }
        let batch = self.scheduler.batch(step);
        self.begin_masks(step);
        let result = self.run(step.kind, &batch);
        self.end_masks();
        self.counted.steps += 1;
        match result {
            Ok(rows) => self.take(step, &rows),
            Err(message) => self.fail(step.parts.iter().map(|part| part.id), message),
        }
        if cfg!(debug_assertions)
            && let Err(message) = self.scheduler.check()
        {
            panic!("the scheduler contradicts itself: {message}");
        }
    }

    /// Tells the last events. Whoever hears one finds [`Self::statistics`] without its request.
    pub fn farewell(&mut self) {
        for (mut caller, event) in std::mem::take(&mut self.ended) {
            // Nothing follows.
            let _ = caller.tell(event);
        }
    }

    /// Ends all sequences.
    pub fn fail_all(&mut self, failure: &Failure) {
        for (id, sequence) in std::mem::take(&mut self.sequences) {
            self.scheduler.remove(id);
            self.ended.push((sequence.caller, Event::Failed(failure.clone())));
        }
    }

    /// Begins anew after a panic that nobody expected: nothing that was held is trusted.
    pub fn reset(&mut self, message: &str) {
        self.counted = self.statistics();
        self.masks = Masks::default();
        self.scheduler = Scheduler::new(self.settings);
        self.fail_all(&Failure::Runner { message: message.to_owned() });
    }

    /// The numbers now; requests that are not here yet are not among them.
    pub fn statistics(&self) -> Statistics {
        let (blocks, counters) = (self.scheduler.blocks(), self.scheduler.counters());
        Statistics {
            running: self.scheduler.running(),
            waiting: self.scheduler.waiting(),
            blocks: blocks.total(),
            blocks_owned: blocks.total() - blocks.available(),
            blocks_cached: blocks.idle(),
            slots: blocks.slots.total(),
            slots_owned: blocks.slots.owned(),
            snapshots: blocks.slots.snapshots(),
            prefix_queries: self.counted.prefix_queries + counters.prefix_queries,
            prefix_hits: self.counted.prefix_hits + counters.prefix_hits,
            snapshot_hits: self.counted.snapshot_hits + counters.snapshot_hits,
            preemptions: self.counted.preemptions + counters.preemptions,
            prompt_tokens: self.counted.prompt_tokens + counters.prompt_tokens,
            ..self.counted
        }
    }

    /// The rows of a step, `[rows, V]` or `[rows, D]`.
    fn run(&mut self, kind: Kind, batch: &Batch) -> Result<Vec<f32>, String> {
        let Batch { tokens, positions, sequences, lengths, block_tables, slots, rows } = batch;
        let step = StepInput { tokens, positions, sequences, lengths, block_tables, slots, rows };
        let width = self.width(kind);
        let runner = &mut self.runner;
        let result = guarded(|| match kind {
            Kind::Logits => runner.step(&step),
            Kind::Vectors => runner.vectors(&step),
        });
        let values = result?.map_err(|error| explained(&error))?;
        let (found, wanted) = (values.len(), rows.len() * width);
        if found == wanted {
            Ok(values)
        } else {
            Err(format!("{found} numbers for {} rows of {width}", rows.len()))
        }
    }

    fn copy_state(&mut self, copy: StateCopy) -> Result<(), String> {
        let runner = &mut self.runner;
        let copied = guarded(|| runner.copy_state(copy.from, copy.to))?;
        copied.map_err(|error| explained(&error))
    }

    fn width(&self, kind: Kind) -> usize {
        match kind {
            Kind::Logits => self.runner.vocabulary(),
            Kind::Vectors => self.runner.width(),
        }
    }

    fn begin_masks(&mut self, step: &Step) {
        let mut work = Vec::new();
        for part in step.parts.iter().filter(|part| !part.rows.is_empty()) {
            if let Some(Sequence { work: Work::Generate(generating), .. }) =
                self.sequences.get_mut(&part.id)
            {
                work.extend(generating.begin_mask(part.id, part.rows.end - 1));
            }
        }
        self.masks.begin(work);
    }

    fn end_masks(&mut self) {
        for work in self.masks.end() {
            if let Some(Sequence { work: Work::Generate(generating), .. }) =
                self.sequences.get_mut(&work.id)
            {
                generating.end_mask(work);
            }
        }
    }

    /// Hands the rows of a step to their sequences.
    fn take(&mut self, step: &Step, values: &[f32]) {
        for copy in self.scheduler.complete(step) {
            if let Err(message) = self.copy_state(copy) {
                tracing::error!(message, "a snapshot could not be taken");
                self.scheduler.lose_snapshot(copy.to);
            }
        }
        let mut rows = values.chunks_exact(self.width(step.kind).max(1));
        for part in &step.parts {
            let mut open = true;
            for (position, row) in part.rows.clone().zip(rows.by_ref()) {
                open = open && self.take_row(part.id, position, row);
            }
        }
    }

    /// Whether the sequence goes on.
    fn take_row(&mut self, id: u64, position: usize, row: &[f32]) -> bool {
        let Some(Sequence { caller, work }) = self.sequences.get_mut(&id) else { return false };
        let Outcome { token, end } = match work {
            Work::Generate(generating) => generating.row(position, row, caller),
            Work::Embed(embedding) => embedding.row(position, row, caller),
        };
        self.counted.generated_tokens += u64::from(token.is_some());
        match (token, end) {
            (_, Some(event)) => {
                self.scheduler.remove(id);
                let sequence = self.sequences.remove(&id);
                self.ended.extend(sequence.map(|sequence| (sequence.caller, event)));
                false
            }
            (Some(token), None) => {
                self.scheduler.push(id, token);
                true
            }
            (None, None) => true,
        }
    }

    /// Ends the sequences of a step that failed.
    fn fail(&mut self, sequences: impl Iterator<Item = u64>, message: String) {
        tracing::error!(message, "a step failed");
        for id in sequences {
            self.scheduler.forget(id);
            if let Some(sequence) = self.sequences.remove(&id) {
                let failure = Failure::Runner { message: message.clone() };
                self.ended.push((sequence.caller, Event::Failed(failure)));
            }
        }
    }
}

/// An error with its causes.
fn explained(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    message
}

/// Runs code that is not ours; a panic becomes its message. What the code left half-done is its own
/// and is not used again.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
        let message = text.or_else(|| panic.downcast_ref::<String>().cloned());
        format!("panicked: {}", message.unwrap_or_else(|| "without a message".into()))
    })
}
