//! How the world speaks with the engine's thread.

use crate::engine::Engine;
use crate::pace::Pace;
use crate::thread::{Shared, serve};
use crate::{Request, Runner, Task};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the engine may use, decided at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Sequences that run at the same time.
    pub parallel: usize,
    /// Cache blocks; all sequences and the prefix cache live in them. At least as many as one sequence
    /// of the whole context needs.
    pub blocks: usize,
    /// Slots of per-sequence state, for running sequences and snapshots; at least `parallel`, or
    /// fewer sequences run. Means nothing for a runner that keeps no such state.
    pub slots: usize,
    /// Requests that may wait. Those that find a free place do not count, though they are not admitted yet.
    pub queue: usize,
    /// Whether prompts find the blocks of earlier ones.
    pub prefix_cache: bool,
    /// While sequences are being continued, prompts may lengthen their steps to about so many times
    /// what they take alone. At 1 or below, prompts still advance by a few tokens each step.
    pub pace: f64,
}

/// The engine's numbers at a moment. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Sequences that run.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Cache blocks.
    pub blocks: usize,
    /// Blocks that running sequences own.
    pub blocks_owned: usize,
    /// Free blocks whose content is known and may be found by a prompt.
    pub blocks_cached: usize,
    /// Slots of per-sequence state; 0 if the runner keeps none.
    pub slots: usize,
    /// Slots that running sequences own.
    pub slots_owned: usize,
    /// Slots that hold snapshots, from which prompts may continue.
    pub snapshots: usize,
    /// Tokens of prompts for which a prefix was looked up.
    pub prefix_queries: u64,
    /// Those that were found.
    pub prefix_hits: u64,
    /// Admissions that continued from a snapshot of per-sequence state.
    pub snapshot_hits: u64,
    /// Sequences whose blocks were taken away, to be computed again later.
    pub preemptions: u64,
    /// Requests that were dropped because nobody listened.
    pub cancelled: u64,
    /// Requests refused because too many were waiting.
    pub refused: u64,
    /// Steps.
    pub steps: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
    /// Tokens that were chosen.
    pub generated_tokens: u64,
}

/// Why a request was not accepted.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Too many wait.
    #[error("{waiting} requests are waiting already, at most {queue} may")]
    QueueFull {
        /// How many wait.
        waiting: usize,
        /// How many may.
        queue: usize,
    },
    /// No requests are accepted any more.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// Nothing to continue.
    #[error("the prompt is empty: at least one token is needed")]
    EmptyPrompt,
    /// A token id beyond the vocabulary.
    #[error(
        "token id {id} at position {position} of the prompt is not in the vocabulary of {vocabulary}"
    )]
    UnknownToken {
        /// The id.
        id: u32,
        /// Where in the prompt.
        position: usize,
        /// `V`.
        vocabulary: usize,
    },
    /// The prompt does not fit.
    #[error("the prompt has {prompt} tokens, but the context holds {context}")]
    ContextExceeded {
        /// Tokens of the prompt.
        prompt: usize,
        /// Tokens the context holds.
        context: usize,
    },
    /// A parameter outside its range.
    #[error("{parameter} is {value}, but must be {expected}")]
    InvalidParameter {
        /// Its name.
        parameter: &'static str,
        /// Its value.
        value: String,
        /// The range.
        expected: &'static str,
    },
}

/// Speaks with an engine's thread; clones speak with the same one. When the last one is gone, nothing
/// more is accepted, and the thread ends with what it had accepted.
#[derive(Clone)]
pub struct EngineHandle {
    keeper: Arc<Keeper>,
}

struct Keeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.close(None);
    }
}

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let statistics = self.statistics();
        f.debug_struct("EngineHandle").field("statistics", &statistics).finish_non_exhaustive()
    }
}

impl EngineHandle {
    /// Starts the engine's thread with a runner whose room is reserved here.
    ///
    /// At least one sequence runs at a time, and at most as many as a step of the runner holds tokens.
    /// Where the plan's blocks hold less than the runner's context, [`Self::context`] is what they
    /// hold: a single sequence always fits.
    ///
    /// # Errors
    /// What the runner says to the room.
    pub fn start<R>(runner: R, plan: &Plan) -> Result<EngineHandle, R::Error>
    where
        R: Runner + Send + 'static,
    {
        let engine = Engine::new(runner, plan)?;
        let (vocabulary, context) = (engine.vocabulary(), engine.context());
        let parallel = engine.settings().parallel;
        let shared = Arc::new(Shared::new(vocabulary, context, plan.queue, parallel));
        // Whoever asks before the first step shall know the cache.
        shared.publish(engine.statistics());
        let (pace, theirs) = (Pace::new(plan.pace), Arc::clone(&shared));
        let builder = std::thread::Builder::new().name("engine".into());
        let thread = match builder.spawn(move || serve(engine, pace, theirs)) {
            Ok(thread) => Some(thread),
            Err(error) => {
                tracing::error!(%error, "no thread for the engine: it refuses everything");
                shared.end(false);
                None
            }
        };
        Ok(Self { keeper: Arc::new(Keeper { shared, thread: Mutex::new(thread) }) })
    }

    /// Hands over requests, all of them or none. Those with a common beginning compute it once.
    /// Sequences that find a free place at once do not count as waiting.
    ///
    /// # Errors
    /// Why they were not accepted; their outputs hear nothing.
    pub fn submit(&self, requests: Vec<Request>) -> Result<(), Refusal> {
        requests.iter().try_for_each(|request| self.check(request))?;
        self.keeper.shared.push(requests)
    }

    fn check(&self, request: &Request) -> Result<(), Refusal> {
        let (vocabulary, context) = (self.vocabulary(), self.context());
        let prompt = &request.prompt;
        if prompt.is_empty() {
            return Err(Refusal::EmptyPrompt);
        }
        let unknown = |(_, id): &(usize, &u32)| **id as usize >= vocabulary;
        if let Some((position, &id)) = prompt.iter().enumerate().find(unknown) {
            return Err(Refusal::UnknownToken { id, position, vocabulary });
        }
        if prompt.len() > context {
            return Err(Refusal::ContextExceeded { prompt: prompt.len(), context });
        }
        if let Task::Generate(generate) = &request.task {
            generate.sampling.validate(vocabulary)?;
        }
        Ok(())
    }

    /// The engine's numbers after its last step, or as it began. A request that has heard its last event is not among
    /// those that run.
    pub fn statistics(&self) -> Statistics {
        self.keeper.shared.statistics()
    }

    /// `V`.
    pub fn vocabulary(&self) -> usize {
        self.keeper.shared.vocabulary
    }

    /// The longest sequence, prompt and continuation: one that reaches it ends as
    /// [`crate::FinishReason::Length`].
    pub fn context(&self) -> usize {
        self.keeper.shared.context
    }

    /// Accepts nothing more, lets what was accepted finish for at most `deadline`, fails the rest with
    /// [`crate::Failure::ShuttingDown`], and returns when the thread has ended. Whether all finished.
    /// A step that runs is waited for. Never call it from an [`crate::Output`].
    pub fn shut_down(&self, deadline: Duration) -> bool {
        self.keeper.shared.close(Some(deadline));
        let finished = self.keeper.shared.wait();
        let mut thread = self.keeper.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread panicked");
        }
        finished
    }

    /// Ends [`Self::shut_down`]'s deadline now; without one, shuts down at once and does not wait.
    pub fn abort(&self) {
        self.keeper.shared.close(Some(Duration::ZERO));
    }

    /// Whether the thread runs. It ends only when shut down.
    pub fn is_alive(&self) -> bool {
        self.keeper.shared.is_alive()
    }
}
