//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;

use crate::api::completions::logprobs::{Echo, LogprobsObject};
use crate::api::completions::response::{CompletionChoice, Head, StopReason};
use crate::api::{TimingsObject, UsageObject};
use crate::generation::{Delta, Finish, Update};
use crate::sse::{self, Narrator};
use crate::wire::StreamUsage;

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

/// What is told besides the answers.
pub(super) struct Told {
    /// Of each prompt, if it is given back.
    pub(super) echoes: Vec<Option<Echo>>,
    /// The tokens of each job's prompt, if ids were asked for.
    pub(super) prompts: Vec<Vec<u32>>,
    /// Answers to each prompt.
    pub(super) choices: usize,
    /// What is said of the usage.
    pub(super) usage: StreamUsage,
    /// Tokens of all prompts.
    pub(super) prompt_tokens: usize,
}

/// Tells completions.
pub(super) struct Chunks {
    head: Head,
    told: Told,
    usage: UsageObject,
    /// Tokens that each job has made so far.
    made: Vec<usize>,
    /// Whether a job's prompt has been told.
    begun: Vec<bool>,
}

impl Chunks {
    pub(super) fn new(head: Head, told: Told) -> Self {
        let jobs = told.echoes.len().saturating_mul(told.choices);
        let usage = UsageObject::default();
        Self { head, told, usage, made: vec![0; jobs], begun: vec![false; jobs] }
    }

    fn echo(&self, index: usize) -> Option<&Echo> {
        self.told.echoes.get(index / self.told.choices)?.as_ref()
    }

    fn event(&mut self, mut choice: CompletionChoice, timings: Option<TimingsObject>) -> Event {
        let begun = self.begun.get_mut(choice.index);
        if begun.is_some_and(|begun| !std::mem::replace(begun, true)) {
            choice.prompt_token_ids = self.told.prompts.get(choice.index).cloned();
        }
        let usage = match self.told.usage {
            StreamUsage::Never => None,
            StreamUsage::Last => Some(None),
            StreamUsage::Always => {
                let made = self.made.iter().sum();
                Some(Some(UsageObject::so_far(self.told.prompt_tokens, made)))
            }
        };
        sse::data(&Chunk { head: &self.head, choices: &[choice], usage, timings })
    }

    fn piece(&mut self, index: usize, text: String, logprobs: Option<LogprobsObject>) -> Event {
        let choice = CompletionChoice {
            index,
            text,
            logprobs,
            finish_reason: None,
            stop_reason: None,
            prompt_token_ids: None,
            token_ids: None,
        };
        self.event(choice, None)
    }

    fn delta(&mut self, index: usize, delta: Delta) -> Event {
        let before = self.echo(index).map_or(0, |echo| echo.characters);
        let mut logprobs = None;
        if !delta.tokens.is_empty() {
            logprobs.get_or_insert_with(LogprobsObject::default).extend(&delta.tokens, before);
        }
        if let Some(made) = self.made.get_mut(index) {
            *made = delta.made;
        }
        let choice = CompletionChoice {
            index,
            text: delta.text,
            logprobs,
            finish_reason: None,
            stop_reason: None,
            prompt_token_ids: None,
            token_ids: (!self.told.prompts.is_empty()).then_some(delta.ids),
        };
        self.event(choice, None)
    }

    fn finish(&mut self, index: usize, finish: Finish) -> Event {
        self.usage.add(&finish, index.is_multiple_of(self.told.choices));
        if let Some(made) = self.made.get_mut(index) {
            *made = finish.usage.completion_tokens;
        }
        let timings = TimingsObject::new(&finish);
        let choice = CompletionChoice {
            index,
            text: String::new(),
            logprobs: None,
            finish_reason: Some(finish.reason.name()),
            stop_reason: finish.stop.map(StopReason::from),
            prompt_token_ids: None,
            token_ids: None,
        };
        self.event(choice, Some(timings))
    }
}

impl Narrator for Chunks {
    fn opening(&mut self) -> Vec<Event> {
        let text = |index| {
            let echo = self.echo(index).filter(|echo| !echo.has_logprobs())?;
            Some((index, echo.text.clone()))
        };
        let echoes: Vec<(usize, String)> = (0..self.made.len()).filter_map(text).collect();
        echoes.into_iter().map(|(index, text)| self.piece(index, text, None)).collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Event> {
        match update {
            Update::PromptLogprobs(logprobs) => {
                let echo = self.echo(index).filter(|echo| echo.has_logprobs());
                let echo = echo.map(|echo| (echo.text.clone(), echo.logprobs(&logprobs)));
                let event = echo.map(|(text, columns)| self.piece(index, text, Some(columns)));
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
        if self.told.usage != StreamUsage::Never {
            events.push(sse::data(&last));
        }
        events.push(sse::done());
        events
    }
}
