//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;
use stablemate_conversation::Part;

use crate::api::chat::response::{ChatLogprobs, Head, call_id, finish_reason};
use crate::api::chat::turn::{Ending, Splitter, Told};
use crate::api::{StopReason, TimingsObject, UsageObject};
use crate::generation::{TokenLogprobs, Update};
use crate::sse::{self, Narrator};

/// A piece of an answer.
#[derive(Serialize)]
struct Chunk<'c> {
    #[serde(flatten)]
    head: &'c Head,
    choices: &'c [ChunkChoice],
    /// Null until the end, if it was asked for, and absent if not.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageObject>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsObject>,
}

/// A piece of a choice.
#[derive(Default, Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Piece,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<StopReason>,
}

/// What is new.
#[derive(Default, Serialize)]
struct Piece {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece; 1]>,
}

/// A piece of a call: its name first, and then its arguments.
#[derive(Default, Serialize)]
struct CallPiece {
    index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    function: FunctionPiece,
}

#[derive(Default, Serialize)]
struct FunctionPiece {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    arguments: String,
}

impl From<Part> for Piece {
    fn from(part: Part) -> Self {
        let call = |call| Piece { tool_calls: Some([call]), ..Piece::default() };
        match part {
            Part::Reasoning(text) => Piece { reasoning_content: Some(text), ..Piece::default() },
            Part::Content(text) => Piece { content: Some(text), ..Piece::default() },
            Part::CallBegin { index, name } => call(CallPiece {
                index,
                id: Some(call_id()),
                kind: Some("function"),
                function: FunctionPiece { name: Some(name), arguments: String::new() },
            }),
            Part::CallArguments { index, text } => {
                let function = FunctionPiece { name: None, arguments: text };
                call(CallPiece { index, function, ..CallPiece::default() })
            }
            Part::CallEnd { .. } => Piece::default(),
        }
    }
}

/// Tells the choices of a turn.
pub(super) struct Chunks {
    head: Head,
    choices: Vec<Choice>,
    include_usage: bool,
    usage: UsageObject,
}

struct Choice {
    splitter: Splitter,
    /// Tokens that come with the next piece.
    tokens: Vec<TokenLogprobs>,
}

impl Chunks {
    pub(super) fn new(
        head: Head,
        splitter: &Splitter,
        choices: usize,
        include_usage: bool,
    ) -> Self {
        let choice = || Choice { splitter: splitter.clone(), tokens: Vec::new() };
        let choices = std::iter::repeat_with(choice).take(choices).collect();
        Self { head, choices, include_usage, usage: UsageObject::default() }
    }

    fn event(&self, choice: ChunkChoice, timings: Option<TimingsObject>) -> Event {
        let usage = self.include_usage.then_some(None);
        sse::data(&Chunk { head: &self.head, choices: &[choice], usage, timings })
    }

    fn told(&mut self, index: usize, told: Told) -> Option<Event> {
        let choice = self.choices.get_mut(index)?;
        match told {
            Told::Tokens(tokens) => {
                choice.tokens.extend(tokens);
                None
            }
            Told::Part(Part::CallEnd { .. }) => None,
            Told::Part(part) => {
                let logprobs = ChatLogprobs::of(&std::mem::take(&mut choice.tokens));
                let piece =
                    ChunkChoice { index, delta: part.into(), logprobs, ..ChunkChoice::default() };
                Some(self.event(piece, None))
            }
            Told::Finished(Ending { end, finish, reasoning_tokens }) => {
                let logprobs = ChatLogprobs::of(&std::mem::take(&mut choice.tokens));
                self.usage.add(&finish, index == 0);
                self.usage.add_reasoning(reasoning_tokens);
                let timings = TimingsObject::new(&finish);
                let last = ChunkChoice {
                    index,
                    logprobs,
                    finish_reason: Some(finish_reason(end)),
                    stop_reason: finish.stop.map(StopReason::from),
                    ..ChunkChoice::default()
                };
                Some(self.event(last, Some(timings)))
            }
        }
    }
}

impl Narrator for Chunks {
    fn opening(&mut self) -> Vec<Event> {
        let begin = |index| {
            let delta =
                Piece { role: Some("assistant"), content: Some(String::new()), ..Piece::default() };
            self.event(ChunkChoice { index, delta, ..ChunkChoice::default() }, None)
        };
        (0..self.choices.len()).map(begin).collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Event> {
        let choice = self.choices.get_mut(index);
        let told = choice.map(|choice| choice.splitter.update(update)).unwrap_or_default();
        told.into_iter().filter_map(|told| self.told(index, told)).collect()
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
