//! What is asked of the engine.

use stablemate_conversation::Thinking;
use stablemate_engine::{Generate, Pooling, Request, Sampling, Task};
use stablemate_grammar::Grammar;
use stablemate_text::StopStrings;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::error::ApiError;
use crate::generation::gate::Gate;
use crate::generation::output::{Sequence, Sink, Text};
use crate::generation::{Update, Updates};
use crate::layers::Record;
use crate::state::AppState;
use crate::wire::{Controls, MaxTokens};

/// Tokens of a prompt that decide how its continuation reads: SentencePiece's first space, a character's first bytes.
const CONTEXT_OF_TEXT: usize = 16;

/// One prompt to be continued once.
pub struct Job {
    /// Its tokens.
    pub prompt: Vec<u32>,
    /// How it is continued.
    pub generate: Generate,
    /// The stop strings.
    pub stops: Vec<String>,
    /// The search for them.
    pub search: StopStrings,
    /// Whether special tokens are part of the text. The token that ends the answer never is.
    pub keep_special: bool,
    /// Report the ids of the answer's tokens.
    pub returns_ids: bool,
    /// How the answer begins: stop strings end its content, not its reasoning.
    pub reasoning: Thinking,
}

/// How prompts are continued: what jobs are made from.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The parameters that all generating requests have.
    pub controls: Controls,
    /// The most tokens of the answer.
    pub max_tokens: MaxTokens,
    /// The parameter that the prompt comes from, for errors.
    pub prompt_parameter: &'static str,
    /// Report the log-probabilities of the answer's tokens, and of so many of the most probable ones.
    pub logprobs: Option<usize>,
    /// The same of the prompt's.
    pub prompt_logprobs: Option<usize>,
    /// What the answer must look like, and the parameter that says so.
    pub grammar: Option<(&'static str, Grammar)>,
    /// Whether special tokens are part of the text.
    pub keep_special: bool,
    /// Report the ids of the answer's tokens.
    pub returns_ids: bool,
    /// How the answer begins: stop strings end its content, not its reasoning.
    pub reasoning: Thinking,
}

impl Recipe {
    /// The `n` jobs of a prompt. Takes its time (grammars, DRY): to be called inside [`AppState::blocking`].
    /// Without a seed in the request, each has its own; with one, they are numbered from it.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong.
    pub fn jobs(&self, state: &AppState, prompt: &[u32]) -> Result<Vec<Job>, ApiError> {
        state.tokenizer()?;
        let length = (self.prompt_parameter, prompt.len());
        let limits = self.controls.limits(state, length, self.max_tokens)?;
        let sampling = self.controls.sampling(state)?;
        let (stops, search) = self.controls.stops()?;
        if let (Some(_), Some(least @ 1..)) = (&self.grammar, self.controls.min_tokens) {
            let message = format!(
                "min_tokens is {least}, but the form of the answer, or of its calls, says where it ends: leave min_tokens out"
            );
            return Err(
                ApiError::parameter("min_tokens", message).with_code("unsupported_parameter")
            );
        }
        let choices = self.controls.choices()?;
        let mut constraints = match &self.grammar {
            Some((parameter, grammar)) => state.compile_all(parameter, grammar, choices)?,
            None => Vec::new(),
        };
        let job = |index: usize| {
            let constraint = constraints.pop();
            let seed = sampling.seed.wrapping_add(index as u64);
            Ok(Job {
                prompt: prompt.to_vec(),
                generate: Generate {
                    sampling: Sampling { seed, ..sampling.clone() },
                    limits: limits.clone(),
                    logprobs: self.logprobs,
                    prompt_logprobs: self.prompt_logprobs,
                    constraint,
                },
                stops: stops.clone(),
                search: search.clone(),
                keep_special: self.keep_special,
                returns_ids: self.returns_ids,
                reasoning: self.reasoning,
            })
        };
        (0..choices).map(job).collect()
    }
}

/// Hands jobs to the engine, all or none.
///
/// # Errors
/// 429 if too many wait already, 400 for what the engine refuses, 503 while loading or shutting down.
pub fn submit(state: &AppState, record: &Record, jobs: Vec<Job>) -> Result<Updates, ApiError> {
    let (sender, receiver) = unbounded_channel();
    let count = jobs.len();
    if let Some(job) = jobs.first() {
        state.prefixes().note(&job.prompt);
    }
    let requests = jobs.into_iter().enumerate().map(|(index, job)| {
        let sink = sink(state, record, index, &sender);
        let tokenizer = state.tokenizer()?;
        let mut detokenizer = tokenizer.stream(!job.keep_special);
        let known = job.prompt.len().saturating_sub(CONTEXT_OF_TEXT);
        detokenizer.skip(job.prompt.get(known..).unwrap_or_default());
        let text = Text {
            detokenizer,
            search: job.search,
            gate: Gate::new(job.reasoning),
            least: job.generate.limits.min_tokens,
            returns_ids: job.returns_ids,
            stops: job.stops,
            end_ids: job.generate.limits.end_ids.clone(),
            texts: job.generate.logprobs.map(|_| state.texts()).transpose()?,
        };
        let output = Sequence::new(sink, Some(text), job.prompt.len());
        let task = Task::Generate(Box::new(job.generate));
        Ok(Request { prompt: job.prompt, task, output: Box::new(output) })
    });
    hand_over(state, requests.collect::<Result<_, ApiError>>()?)?;
    Ok(Updates::new(receiver, count))
}

/// Hands prompts to the engine whose vectors are wanted, all or none.
///
/// # Errors
/// As [`submit`].
pub fn submit_embeddings(
    state: &AppState,
    record: &Record,
    prompts: Vec<Vec<u32>>,
    pooling: Pooling,
) -> Result<Updates, ApiError> {
    let (sender, receiver) = unbounded_channel();
    let count = prompts.len();
    let request = |(index, prompt): (usize, Vec<u32>)| {
        let output = Sequence::new(sink(state, record, index, &sender), None, prompt.len());
        Request { prompt, task: Task::Embed(pooling), output: Box::new(output) }
    };
    hand_over(state, prompts.into_iter().enumerate().map(request).collect())?;
    Ok(Updates::new(receiver, count))
}

fn sink(
    state: &AppState,
    record: &Record,
    index: usize,
    sender: &UnboundedSender<(usize, Update)>,
) -> Sink {
    let requests = state.metrics().requests();
    Sink { index, sender: sender.clone(), requests, record: record.clone() }
}

fn hand_over(state: &AppState, requests: Vec<Request>) -> Result<(), ApiError> {
    use stablemate_engine::Refusal;
    let count = requests.len();
    state.served()?.engine.submit(requests).map_err(|refusal| match refusal {
        // Waiting would not help.
        Refusal::QueueFull { queue, waiting: 0 } if count > queue => ApiError::invalid(format!(
            "this request is {count} sequences (prompts times n), but at most {queue} may wait at a time"
        )),
        refusal => refusal.into(),
    })
}
