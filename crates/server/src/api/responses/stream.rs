//! Answers in pieces.

use axum::response::sse::Event;
use serde::Serialize;

use crate::api::blocks::{BlockKind, Blocks, Change};
use crate::api::chat::turn::{Ending, Splitter, Told, TurnEnd};
use crate::api::responses::object::{
    ContentPart, Head, OutputItem, ResponseObject, free_text, item_id,
};
use crate::error::ApiError;
use crate::generation::Update;
use crate::sse::{self, Narrator};

/// An event's data: its number and what it tells.
#[derive(Serialize)]
struct Data<'d> {
    #[serde(rename = "type")]
    kind: &'static str,
    sequence_number: u64,
    #[serde(flatten)]
    body: Body<'d>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'d> {
    Response { response: Box<ResponseObject> },
    Item { output_index: usize, item: OutputItem },
    Part { item_id: String, output_index: usize, content_index: usize, part: ContentPart },
    Text(TextBody<'d>),
    Arguments(ArgumentsBody<'d>),
    Input(InputBody),
}

#[derive(Serialize)]
struct InputBody {
    item_id: String,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<String>,
}

#[derive(Serialize)]
struct TextBody<'d> {
    item_id: String,
    output_index: usize,
    content_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'d str>,
    /// Of a message's text only.
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<[(); 0]>,
}

#[derive(Serialize)]
struct ArgumentsBody<'d> {
    item_id: String,
    output_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'d str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'d str>,
}

/// Tells one answer.
pub(super) struct Events {
    head: Head,
    splitter: Splitter,
    blocks: Blocks,
    ending: Option<Ending>,
    next: u64,
}

impl Events {
    pub(super) fn new(head: Head, splitter: Splitter) -> Self {
        Self { head, splitter, blocks: Blocks::default(), ending: None, next: 0 }
    }

    fn event(&mut self, kind: &'static str, body: Body<'_>) -> Event {
        let sequence_number = self.next;
        self.next = self.next.saturating_add(1);
        sse::named(kind, &Data { kind, sequence_number, body })
    }

    fn response(&mut self, kind: &'static str, response: ResponseObject) -> Event {
        self.event(kind, Body::Response { response: Box::new(response) })
    }

    fn told(&mut self, told: Told) -> Vec<Event> {
        let changes = match told {
            Told::Tokens(_) | Told::Ids(_) => Vec::new(),
            Told::Part(part) => self.blocks.take(part),
            Told::Finished(ending) => {
                let complete = ending.end != TurnEnd::Length;
                self.ending = Some(ending);
                self.blocks.close(complete).into_iter().collect()
            }
        };
        changes.into_iter().flat_map(|change| self.change(change)).collect()
    }

    fn change(&mut self, change: Change) -> Vec<Event> {
        match change {
            Change::Opened(index) => self.opened(index),
            Change::Grew(index, text) => self.grew(index, &text).into_iter().collect(),
            Change::Closed(index) => self.closed(index),
        }
    }

    fn opened(&mut self, output_index: usize) -> Vec<Event> {
        let Some(block) = self.blocks.get(output_index) else { return Vec::new() };
        let (item_id, item) = (item_id(&self.head, block), OutputItem::begun(&self.head, block));
        let part = ContentPart::of(&block.kind, String::new());
        let mut events =
            vec![self.event("response.output_item.added", Body::Item { output_index, item })];
        if let Some(part) = part {
            let body = Body::Part { item_id, output_index, content_index: 0, part };
            events.push(self.event("response.content_part.added", body));
        }
        events
    }

    fn grew(&mut self, output_index: usize, text: &str) -> Option<Event> {
        let block = self.blocks.get(output_index)?;
        let (item_id, delta) = (item_id(&self.head, block), Some(text));
        let texts = |logprobs| TextBody {
            item_id: item_id.clone(),
            output_index,
            content_index: 0,
            delta,
            text: None,
            logprobs,
        };
        let (kind, body) = match &block.kind {
            // The text stands inside of JSON, and is told when it is whole.
            BlockKind::Call(name) if self.head.is_custom(name) => return None,
            BlockKind::Reasoning => ("response.reasoning_text.delta", Body::Text(texts(None))),
            BlockKind::Text => ("response.output_text.delta", Body::Text(texts(Some([])))),
            BlockKind::Call(_) => {
                let body =
                    ArgumentsBody { item_id, output_index, delta, name: None, arguments: None };
                ("response.function_call_arguments.delta", Body::Arguments(body))
            }
        };
        Some(self.event(kind, body))
    }

    fn closed(&mut self, output_index: usize) -> Vec<Event> {
        let Some(block) = self.blocks.get(output_index).cloned() else { return Vec::new() };
        let (item_id, text) = (item_id(&self.head, &block), Some(block.text.as_str()));
        let texts = |logprobs| TextBody {
            item_id: item_id.clone(),
            output_index,
            content_index: 0,
            delta: None,
            text,
            logprobs,
        };
        let mut events = Vec::new();
        let (kind, body) = match &block.kind {
            BlockKind::Call(name) if self.head.is_custom(name) => {
                let input = free_text(&block.text);
                let body = |delta, input| {
                    Body::Input(InputBody { item_id: item_id.clone(), output_index, delta, input })
                };
                let delta = body(Some(input.clone()), None);
                events.push(self.event("response.custom_tool_call_input.delta", delta));
                ("response.custom_tool_call_input.done", body(None, Some(input)))
            }
            BlockKind::Reasoning => ("response.reasoning_text.done", Body::Text(texts(None))),
            BlockKind::Text => ("response.output_text.done", Body::Text(texts(Some([])))),
            BlockKind::Call(name) => {
                let (name, item_id) = (Some(name.as_str()), item_id.clone());
                let body =
                    ArgumentsBody { item_id, output_index, delta: None, name, arguments: text };
                ("response.function_call_arguments.done", Body::Arguments(body))
            }
        };
        events.push(self.event(kind, body));
        if let Some(part) = ContentPart::of(&block.kind, block.text.clone()) {
            let body = Body::Part { item_id, output_index, content_index: 0, part };
            events.push(self.event("response.content_part.done", body));
        }
        let item = OutputItem::done(&self.head, &block);
        events.push(self.event("response.output_item.done", Body::Item { output_index, item }));
        events
    }
}

impl Narrator for Events {
    fn opening(&mut self) -> Vec<Event> {
        let response = ResponseObject::begun(&self.head);
        ["response.created", "response.in_progress"]
            .into_iter()
            .map(|kind| self.response(kind, response.clone()))
            .collect()
    }

    fn update(&mut self, _: usize, update: Update) -> Vec<Event> {
        let told = self.splitter.update(update);
        told.into_iter().flat_map(|told| self.told(told)).collect()
    }

    fn closing(&mut self) -> Vec<Event> {
        let Some(ending) = self.ending.take() else {
            return self.failure(&ApiError::internal("the answer never ended"));
        };
        let kind = match ending.end {
            TurnEnd::Length => "response.incomplete",
            TurnEnd::Stop | TurnEnd::Calls => "response.completed",
        };
        let response = ResponseObject::finished(&self.head, &self.blocks, &ending);
        vec![self.response(kind, response)]
    }

    fn failure(&mut self, error: &ApiError) -> Vec<Event> {
        let response = ResponseObject::failed(&self.head, &self.blocks, error);
        vec![self.response("response.failed", response)]
    }
}
