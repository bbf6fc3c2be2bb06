//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;

use crate::api::blocks::{BlockKind, Blocks, Change};
use crate::api::chat::turn::{Ending, Splitter, Told};
use crate::api::messages::error::AnthropicError;
use crate::api::messages::response::{ContentBlock, MessageObject, MessageUsage, StopObject};
use crate::error::ApiError;
use crate::generation::Update;
use crate::sse::{self, Narrator};

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Data<'d> {
    MessageStart { message: &'d MessageObject },
    Ping,
    ContentBlockStart { index: usize, content_block: ContentBlock },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: StopObject, usage: MessageUsage },
    MessageStop,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Arguments { partial_json: String },
}

impl Data<'_> {
    fn event(&self) -> Event {
        let name = match self {
            Self::MessageStart { .. } => "message_start",
            Self::Ping => "ping",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        };
        sse::named(name, self)
    }
}

/// Tells one answer.
pub(super) struct Events {
    begun: MessageObject,
    splitter: Splitter,
    blocks: Blocks,
    ending: Option<Ending>,
}

impl Events {
    pub(super) fn new(begun: MessageObject, splitter: Splitter) -> Self {
        Self { begun, splitter, blocks: Blocks::default(), ending: None }
    }

    fn told(&mut self, told: Told) -> Vec<Event> {
        let changes = match told {
            Told::Tokens(_) | Told::Ids(_) => Vec::new(),
            Told::Part(part) => self.blocks.take(part),
            Told::Finished(ending) => {
                self.ending = Some(ending);
                self.blocks.close(true).into_iter().collect()
            }
        };
        changes.into_iter().filter_map(|change| self.change(change)).collect()
    }

    fn change(&self, change: Change) -> Option<Event> {
        let data = match change {
            Change::Opened(index) => {
                let content_block = ContentBlock::begun(self.blocks.get(index)?);
                Data::ContentBlockStart { index, content_block }
            }
            Change::Grew(index, text) => {
                let delta = match self.blocks.get(index)?.kind {
                    BlockKind::Reasoning => Delta::Thinking { thinking: text },
                    BlockKind::Text => Delta::Text { text },
                    BlockKind::Call(_) => Delta::Arguments { partial_json: text },
                };
                Data::ContentBlockDelta { index, delta }
            }
            Change::Closed(index) => Data::ContentBlockStop { index },
        };
        Some(data.event())
    }
}

impl Narrator for Events {
    fn opening(&mut self) -> Vec<Event> {
        vec![Data::MessageStart { message: &self.begun }.event(), Data::Ping.event()]
    }

    fn update(&mut self, _: usize, update: Update) -> Vec<Event> {
        let told = self.splitter.update(update);
        told.into_iter().flat_map(|told| self.told(told)).collect()
    }

    fn closing(&mut self) -> Vec<Event> {
        let Some(ending) = self.ending.take() else {
            return self.failure(&ApiError::internal("the answer never ended"));
        };
        let delta = StopObject::new(&ending);
        let usage = MessageUsage::new(&ending);
        vec![Data::MessageDelta { delta, usage }.event(), Data::MessageStop.event()]
    }

    fn failure(&mut self, error: &ApiError) -> Vec<Event> {
        vec![sse::named("error", &AnthropicError::new(error, None))]
    }
}
