//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;

use crate::api::completions::logprobs::{Echo, LogprobsObject};
use crate::api::completions::response::{CompletionChoice, Head, StopReason};
use crate::api::{TimingsObject, UsageObject};
use crate::generation::{Delta, Finish, Update};
use crate::sse::{self, Narrator};

/// A piece of an answer.
#[derive(Serialize)]
struct Chunk<'c> {
    #[serde(flatten)]
    head: &'c Head,
    choices: &'c [CompletionChoice],
    /// Null until the end, if it was asked for, and absent if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsObject>,
}

/// Tells completions.
pub(super) struct Chunks {
    head: Head,
    /// Of each prompt.
    echoes: Vec<Option<Echo>>,
    choices: usize,
    include_usage: bool,
    usage: UsageObject,
}

impl Chunks {
    pub(super) fn new(
        head: Head,
        echoes: Vec<Option<Echo>>,
        choices: usize,
        include_usage: bool,
    ) -> Self {
        Self { head, echoes, choices, include_usage, usage: UsageObject::default() }
    }

    fn echo(&self, index: usize) -> Option<&Echo> {
        self.echoes.get(index / self.choices)?.as_ref()
    }

    fn event(&self, choice: CompletionChoice, timings: Option<TimingsObject>) -> Event {
        let usage = self.include_usage.then_some(None);
        sse::data(&Chunk { head: &self.head, choices: &[choice], usage, timings })
    }

    fn piece(&self, index: usize, text: String, logprobs: Option<LogprobsObject>) -> Event {
        let choice =
            CompletionChoice { index, text, logprobs, finish_reason: None, stop_reason: None };
        self.event(choice, None)
    }

    fn delta(&self, index: usize, delta: Delta) -> Event {
        let before = self.echo(index).map_or(0, |echo| echo.characters);
        let mut logprobs = None;
        if !delta.tokens.is_empty() {
            logprobs.get_or_insert_with(LogprobsObject::default).extend(&delta.tokens, before);
        }
        self.piece(index, delta.text, logprobs)
    }

    fn finish(&mut self, index: usize, finish: Finish) -> Event {
        self.usage.add(&finish, index.is_multiple_of(self.choices));
        let timings = TimingsObject::new(&finish);
        let choice = CompletionChoice {
            index,
            text: String::new(),
            logprobs: None,
            finish_reason: Some(finish.reason.name()),
            stop_reason: finish.stop.map(StopReason::from),
        };
        self.event(choice, Some(timings))
    }
}

impl Narrator for Chunks {
    fn opening(&mut self) -> Vec<Event> {
        let jobs = 0..self.echoes.len() * self.choices;
        let echo = |index| {
            let echo = self.echo(index).filter(|echo| !echo.has_logprobs())?;
            Some(self.piece(index, echo.text.clone(), None))
        };
        jobs.filter_map(echo).collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Event> {
        match update {
            Update::PromptLogprobs(logprobs) => {
                let echo = self.echo(index).filter(|echo| echo.has_logprobs());
                let event = echo.map(|echo| {
                    self.piece(index, echo.text.clone(), Some(echo.logprobs(&logprobs)))
                });
                event.into_iter().collect()
            }
            Update::Delta(delta) => vec![self.delta(index, delta)],
            Update::Finished(finish) => vec![self.finish(index, finish)],
            Update::Embedding(_) | Update::Failed(_) => Vec::new(),
        }
    }

    fn closing(&mut self) -> Vec<Event> {
        let usage = Some(Some(self.usage));
        let last = Chunk { head: &self.head, choices: &[], usage, timings: None };
        let mut events = Vec::new();
        if self.include_usage {
            events.push(sse::data(&last));
        }
        events.push(sse::done());
        events
    }
}
