//! What becomes of a job, on the engine's thread: tokens to text, stop strings, clocks.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stablemate_engine::{Event, Failure, FinishReason, Logprobs, Output};
use stablemate_text::{Detokenizer, StopStrings, StopText};
use tokio::sync::mpsc::UnboundedSender;

use crate::generation::gate::Gate;
use crate::generation::{TokenText, TokenTexts};
use crate::layers::Record;
use crate::metrics::Requests;

/// What becomes of a job. [`Update::Finished`] or [`Update::Failed`] is the last.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// Log-probabilities of the prompt's tokens, the first one's missing; before any text.
    PromptLogprobs(Vec<Option<Logprobs>>),
    /// More text, or more log-probabilities.
    Delta(Delta),
    /// The vector that was asked for.
    Embedding(Vec<f32>),
    /// Nothing follows.
    Finished(Finish),
    /// The job failed; nothing follows.
    Failed(Failure),
}

/// More of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Delta {
    /// Text: never ends inside a character, holds no part of a stop string.
    pub text: String,
    /// The tokens whose text begins in what was sent so far, if log-probabilities were asked for.
    pub tokens: Vec<TokenLogprobs>,
    /// The ids of the tokens made since the last delta, if they were asked for.
    pub ids: Vec<u32>,
    /// Tokens made so far, those of the text held back among them.
    pub made: usize,
}

/// A token with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// Its id.
    pub id: u32,
    /// How it reads.
    pub text: TokenText,
    /// Characters (not bytes) of the answer before it.
    pub offset: usize,
    /// Its natural log-probability, before all filters.
    pub logprob: f32,
    /// The most probable tokens here, descending.
    pub top: Vec<(TokenText, f32)>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// What stopped it, if it was stopped.
    pub stop: Option<Stop>,
    /// Its tokens.
    pub usage: Usage,
    /// Its times.
    pub timings: Timings,
}

/// What stopped an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A stop string.
    Text(String),
    /// An end token, the model's or one of the request's.
    Token(u32),
}

/// Tokens of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: usize,
    /// Of the prompt, found in the cache.
    pub cached_tokens: usize,
    /// Of the answer, the end token among them.
    pub completion_tokens: usize,
}

/// Times of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// In the queue.
    pub queued: Duration,
    /// From its admission to the first token.
    pub prompt: Duration,
    /// From the first token to the last.
    pub predicted: Duration,
}

/// Where updates go: every job of a request has the same channel and its own index.
pub(super) struct Sink {
    pub(super) index: usize,
    pub(super) sender: UnboundedSender<(usize, Update)>,
    pub(super) requests: Arc<Requests>,
    pub(super) record: Record,
}

/// The text of a job, if it has any.
pub(super) struct Text {
    pub(super) detokenizer: Detokenizer,
    pub(super) search: StopStrings,
    /// What lets reasoning pass by the search.
    pub(super) gate: Gate,
    /// Tokens before which no stop string counts.
    pub(super) least: usize,
    pub(super) returns_ids: bool,
    pub(super) stops: Vec<String>,
    pub(super) end_ids: Vec<u32>,
    pub(super) texts: Option<Arc<TokenTexts>>,
}

/// A job as the engine sees it.
pub(super) struct Sequence {
    sink: Sink,
    text: Option<Text>,
    usage: Usage,
    clock: Clock,
    stop: Option<Stop>,
    /// Characters decoded, and those sent: the others may begin a stop string.
    decoded: usize,
    sent: usize,
    /// Tokens whose text has not been sent.
    held: VecDeque<TokenLogprobs>,
    /// Ids that have not been sent.
    ids: Vec<u32>,
    done: bool,
}

struct Clock {
    submitted: Instant,
    admitted: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl Sequence {
    pub(super) fn new(sink: Sink, text: Option<Text>, prompt_tokens: usize) -> Self {
        let clock = Clock { submitted: Instant::now(), admitted: None, first: None, last: None };
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let (held, ids) = (VecDeque::new(), Vec::new());
        Self { sink, text, usage, clock, stop: None, decoded: 0, sent: 0, held, ids, done: false }
    }

    fn send(&self, update: Update) {
        // Nobody listening is found out by `is_closed`.
        let _ = self.sink.sender.send((self.sink.index, update));
    }

    fn admitted(&mut self, cached_tokens: usize) {
        let now = Instant::now();
        self.clock.admitted = Some(now);
        self.usage.cached_tokens = cached_tokens;
        self.sink.record.add_prompt(self.usage.prompt_tokens, cached_tokens);
        self.sink.requests.admitted(now - self.clock.submitted);
    }

    fn token(&mut self, id: u32, logprobs: Option<Logprobs>) -> ControlFlow<()> {
        self.tick();
        let Some(text) = &mut self.text else { return ControlFlow::Continue(()) };
        if text.returns_ids {
            self.ids.push(id);
        }
        let ends = text.end_ids.contains(&id);
        let piece = if ends { String::new() } else { text.detokenizer.push(id) };
        if ends {
            self.stop = Some(Stop::Token(id));
        }
        if let (Some(texts), Some(Logprobs { logprob, top })) = (&text.texts, logprobs) {
            let top = top.into_iter().map(|(id, logprob)| (texts.get(id), logprob)).collect();
            let text = texts.get(id);
            self.held.push_back(TokenLogprobs { id, text, offset: self.decoded, logprob, top });
        }
        let delta = self.advance(&piece);
        self.deliver(delta);
        if let Some(Stop::Text(_)) = self.stop {
            self.finish(FinishReason::Stop);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.usage.completion_tokens += 1;
        self.sink.record.add_token();
        match self.clock.last.replace(now) {
            Some(last) => self.sink.requests.next_token(now - last),
            None => {
                self.clock.first = Some(now);
                self.sink.requests.first_token(now - self.clock.submitted);
            }
        }
    }

    /// Takes decoded text; what may be sent of it, and the tokens that begin in what has been sent.
    fn advance(&mut self, piece: &str) -> Delta {
        let Some(text) = &mut self.text else { return Delta::default() };
        self.decoded += piece.chars().count();
        let (mut passed, searched) = text.gate.push(piece);
        let found = if self.usage.completion_tokens > text.least {
            text.search.push(&searched)
        } else {
            // Too early to end: what has come so far cannot be part of a stop string either.
            StopText { text: searched, matched: None }
        };
        passed.push_str(&found.text);
        let found = StopText { text: passed, ..found };
        self.sent += found.text.chars().count();
        if let Some(stop) = found.matched.and_then(|index| text.stops.get(index)) {
            self.stop = Some(Stop::Text(stop.clone()));
        }
        let matched = found.matched.is_some();
        let ready = |token: &TokenLogprobs| {
            token.offset < self.sent || (!matched && self.sent == self.decoded)
        };
        let ready = self.held.iter().take_while(|token| ready(token)).count();
        let tokens = self.held.drain(..ready).collect();
        let ids = std::mem::take(&mut self.ids);
        Delta { text: found.text, tokens, ids, made: self.usage.completion_tokens }
    }

    fn deliver(&mut self, delta: Delta) {
        if delta.text.is_empty() && delta.tokens.is_empty() && (!self.done || delta.ids.is_empty())
        {
            // Ids come with the text that they complete.
            self.ids.splice(0..0, delta.ids);
        } else {
            self.send(Update::Delta(delta));
        }
    }

    /// Sends what was held back and the end.
    fn finish(&mut self, reason: FinishReason) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        if let Some(text) = &mut self.text {
            let rest = text.detokenizer.finish();
            let mut delta = self.advance(&rest);
            if !matches!(self.stop, Some(Stop::Text(_))) {
                let (held, matched) = self.text.as_mut().map(Text::finish).unwrap_or_default();
                delta.text.push_str(&held);
                self.stop = matched.map(Stop::Text).or(self.stop.take());
                delta.tokens.extend(self.held.drain(..));
            }
            self.deliver(delta);
        }
        // A stop string may have been completed by the very last bytes.
        let reason = if self.stop.is_some() { FinishReason::Stop } else { reason };
        let now = Instant::now();
        self.sink.requests.finished(reason.name(), now - self.clock.submitted);
        let timings = self.clock.timings(now);
        let (stop, usage) = (self.stop.take(), self.usage);
        self.send(Update::Finished(Finish { reason, stop, usage, timings }));
    }

    fn fail(&mut self, failure: Failure) {
        if !std::mem::replace(&mut self.done, true) {
            self.sink.requests.finished("error", self.clock.submitted.elapsed());
            self.send(Update::Failed(failure));
        }
    }
}

impl Text {
    /// What gate and search have held back, and the stop string that it ends before.
    fn finish(&mut self) -> (String, Option<String>) {
        let (mut text, rest) = self.gate.finish();
        let found = self.search.push(&rest);
        text.push_str(&found.text);
        let matched = found.matched.and_then(|index| self.stops.get(index).cloned());
        if matched.is_none() {
            text.push_str(&self.search.finish());
        }
        (text, matched)
    }
}

impl Clock {
    fn timings(&self, now: Instant) -> Timings {
        let admitted = self.admitted.unwrap_or(now);
        let first = self.first.unwrap_or(now);
        let last = self.last.unwrap_or(first);
        Timings {
            queued: admitted - self.submitted,
            prompt: first.saturating_duration_since(admitted),
            predicted: last.saturating_duration_since(first),
        }
    }
}

impl Output for Sequence {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        if self.done {
            return ControlFlow::Break(());
        }
        match event {
            Event::Admitted { cached_tokens } => self.admitted(cached_tokens),
            Event::PromptLogprobs(logprobs) => self.send(Update::PromptLogprobs(logprobs)),
            Event::Token { id, logprobs } => return self.token(id, logprobs),
            Event::Embedding(vector) => self.send(Update::Embedding(vector)),
            Event::Finished(reason) => self.finish(reason),
            Event::Failed(failure) => self.fail(failure),
        }
        ControlFlow::Continue(())
    }

    fn is_closed(&self) -> bool {
        self.sink.sender.is_closed()
    }
}

impl Drop for Sequence {
    fn drop(&mut self) {
        // Without an admission it was refused, or nobody waited for its turn.
        if !self.done && self.clock.admitted.is_some() {
            self.sink.requests.finished("abort", self.clock.submitted.elapsed());
        }
    }
}
