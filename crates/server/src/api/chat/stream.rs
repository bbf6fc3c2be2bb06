//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;
use stablemate_conversation::Part;

use crate::api::chat::response::{ChatLogprobs, Head, call_id, finish_reason};
use crate::api::chat::turn::{Ending, Splitter, Told};
use crate::api::{StopReason, TimingsObject, UsageObject};
use crate::generation::{TokenLogprobs, Update};
use crate::sse::{self, Narrator};
use crate::wire::StreamUsage;

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
    /// The ids of the prompt's tokens, in the first piece, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<&'c [u32]>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

/// What is new.
#[derive(Default, Serialize)]
struct Piece {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    /// Null beside a call, as OpenAI has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<String>>,
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
            Part::Content(text) => Piece { content: Some(Some(text)), ..Piece::default() },
            Part::CallBegin { index, name } => {
                let begun = call(CallPiece {
                    index,
                    id: Some(call_id()),
                    kind: Some("function"),
                    function: FunctionPiece { name: Some(name), arguments: String::new() },
                });
                Piece { content: Some(None), ..begun }
            }
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
    wanted: StreamUsage,
    usage: UsageObject,
    /// If ids of tokens were asked for.
    prompt_ids: Option<Vec<u32>>,
    prompt_tokens: usize,
}

struct Choice {
    splitter: Splitter,
    /// Tokens that come with the next piece.
    tokens: Vec<TokenLogprobs>,
    ids: Vec<u32>,
    /// Tokens made so far.
    made: usize,
}

impl Chunks {
    pub(super) fn new(
        head: Head,
        splitter: &Splitter,
        choices: usize,
        (wanted, prompt_tokens): (StreamUsage, usize),
        prompt_ids: Option<Vec<u32>>,
    ) -> Self {
        let choice =
            || Choice { splitter: splitter.clone(), tokens: Vec::new(), ids: Vec::new(), made: 0 };
        let choices = std::iter::repeat_with(choice).take(choices).collect();
        Self { head, choices, wanted, prompt_tokens, usage: UsageObject::default(), prompt_ids }
    }

    /// The usage that a piece tells: null until the end if it was asked for, or as far as it has come.
    fn usage_so_far(&self) -> Option<Option<UsageObject>> {
        match self.wanted {
            StreamUsage::Never => None,
            StreamUsage::Last => Some(None),
            StreamUsage::Always => {
                let made = self.choices.iter().map(|choice| choice.made).sum();
                Some(Some(UsageObject::so_far(self.prompt_tokens, made)))
            }
        }
    }

    fn event(&self, choice: ChunkChoice, timings: Option<TimingsObject>) -> Event {
        let first = choice.delta.role.is_some();
        let chunk = Chunk {
            head: &self.head,
            choices: &[choice],
            usage: self.usage_so_far(),
            timings,
            prompt_token_ids: self.prompt_ids.as_deref().filter(|_| first),
        };
        sse::data(&chunk)
    }

    fn told(&mut self, index: usize, told: Told) -> Option<Event> {
        let with_ids = self.prompt_ids.is_some();
        let choice = self.choices.get_mut(index)?;
        match told {
            Told::Tokens(tokens) => {
                choice.tokens.extend(tokens);
                None
            }
            Told::Ids(ids) => {
                choice.ids.extend(ids);
                None
            }
            Told::Part(Part::CallEnd { .. }) => None,
            Told::Part(part) => {
                let logprobs = ChatLogprobs::of(&std::mem::take(&mut choice.tokens));
                let token_ids = with_ids.then(|| std::mem::take(&mut choice.ids));
                let delta = part.into();
                let piece =
                    ChunkChoice { index, delta, logprobs, token_ids, ..ChunkChoice::default() };
                Some(self.event(piece, None))
            }
            Told::Finished(Ending { end, finish, reasoning_tokens }) => {
                let logprobs = ChatLogprobs::of(&std::mem::take(&mut choice.tokens));
                let token_ids = with_ids.then(|| std::mem::take(&mut choice.ids));
                choice.made = finish.usage.completion_tokens;
                self.usage.add(&finish, index == 0);
                self.usage.add_reasoning(reasoning_tokens);
                let timings = TimingsObject::new(&finish);
                let last = ChunkChoice {
                    index,
                    logprobs,
                    finish_reason: Some(finish_reason(end)),
                    stop_reason: finish.stop.map(StopReason::from),
                    token_ids,
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
            let delta = Piece {
                role: Some("assistant"),
                content: Some(Some(String::new())),
                ..Piece::default()
            };
            self.event(ChunkChoice { index, delta, ..ChunkChoice::default() }, None)
        };
        (0..self.choices.len()).map(begin).collect()
    }

    fn update(&mut self, index: usize, update: Update) -> Vec<Event> {
        let Some(choice) = self.choices.get_mut(index) else { return Vec::new() };
        if let Update::Delta(delta) = &update {
            choice.made = delta.made;
        }
        let told = choice.splitter.update(update);
        told.into_iter().filter_map(|told| self.told(index, told)).collect()
    }

    fn closing(&mut self) -> Vec<Event> {
        let usage = Some(Some(self.usage));
        let last =
            Chunk { head: &self.head, choices: &[], usage, timings: None, prompt_token_ids: None };
        let mut events = Vec::new();
        if self.wanted != StreamUsage::Never {
            events.push(sse::data(&last));
        }
        events.push(sse::done());
        events
    }
}
