//! Items of a conversation, put together to messages.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Call, Message, Role};

use crate::error::ApiError;
use crate::wire::{Item, TextOrItems, refuse_values};

const KNOWN: &str = "\"message\", \"function_call\", \"function_call_output\" or \"reasoning\"";

/// Messages, and the parameter that each comes from.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) messages: Vec<Message>,
    pub(super) places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "names and states of items are not looked at")]
struct MessageItem {
    role: RoleName,
    content: TextOrItems,
    id: Option<String>,
    status: Option<String>,
    phase: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleName {
    System,
    Developer,
    User,
    Assistant,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextPart {
    text: String,
    annotations: Option<Vec<Value>>,
    #[allow(dead_code, reason = "of earlier answers")]
    logprobs: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "names and states of items are not looked at")]
struct CallItem {
    call_id: String,
    name: String,
    arguments: String,
    id: Option<String>,
    status: Option<String>,
    caller: Option<Value>,
    namespace: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "names and states of items are not looked at")]
struct ResultItem {
    call_id: String,
    output: TextOrItems,
    name: Option<String>,
    id: Option<String>,
    status: Option<String>,
    caller: Option<Value>,
    namespace: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "names and states of items are not looked at")]
struct ReasoningItem {
    summary: Option<Vec<Value>>,
    content: Option<Vec<Value>>,
    encrypted_content: Option<Value>,
    id: Option<String>,
    status: Option<String>,
}

impl Messages {
    /// The conversation: instructions, and the input. Instructions and the system messages that the input begins with
    /// become one message, as most templates want it; reasoning, text and calls of the model that follow each other
    /// become one message, too.
    ///
    /// # Errors
    /// 400 naming what is no item, or cannot be understood.
    pub(super) fn of(
        instructions: Option<String>,
        input: TextOrItems,
    ) -> Result<Messages, ApiError> {
        let mut messages = Messages::default();
        if let Some(text) = instructions {
            messages.push(Message::new(Role::System, text), "instructions");
        }
        match input {
            TextOrItems::Text(text) => messages.push(Message::new(Role::User, text), "input"),
            TextOrItems::Items(values) => {
                for item in Item::list(values, "input")? {
                    messages.take(item)?;
                }
            }
        }
        Ok(messages)
    }

    fn push(&mut self, message: Message, place: &str) {
        self.messages.push(message);
        self.places.push(place.to_owned());
    }

    fn take(&mut self, item: Item) -> Result<(), ApiError> {
        let place = item.place.clone();
        match item.kind.as_deref() {
            None | Some("message") => self.message(item.read()?, &place),
            Some("function_call") => {
                let call = call(item.read()?, &place)?;
                self.assistant(&place, |_| true, |message| message.calls.push(call));
                Ok(())
            }
            Some("function_call_output") => {
                let ResultItem { call_id, output, name, caller, namespace, .. } = item.read()?;
                refuse_programs(&place, &caller, &namespace)?;
                let content = texts(output, &format!("{place}.output"))?;
                let answers = Some(call_id);
                let message = Message::new(Role::Tool, "");
                self.push(Message { content, answers, name, ..message }, &place);
                Ok(())
            }
            Some("reasoning") => {
                let reasoning = reasoning(item.read()?, &place)?;
                self.assistant(&place, |_| false, |message| message.reasoning = reasoning);
                Ok(())
            }
            Some(_) => Err(item.refused(KNOWN)),
        }
    }

    fn message(&mut self, item: MessageItem, place: &str) -> Result<(), ApiError> {
        let content = texts(item.content, &format!("{place}.content"))?;
        let role = match item.role {
            RoleName::System => Role::System,
            RoleName::Developer => Role::Developer,
            RoleName::User => Role::User,
            RoleName::Assistant => {
                let silent = |last: &Message| last.content.is_empty() && last.calls.is_empty();
                self.assistant(place, silent, |message| message.content = content);
                return Ok(());
            }
        };
        match self.messages.as_mut_slice() {
            [only] if only.role == Role::System && role != Role::User => {
                only.content.extend(content);
            }
            _ => self.push(Message { content, ..Message::new(role, "") }, place),
        }
        Ok(())
    }

    /// Adds an item to the message of the model that it belongs to: the last one if that may `go_on`, else a new one.
    fn assistant(
        &mut self,
        place: &str,
        go_on: impl Fn(&Message) -> bool,
        add: impl FnOnce(&mut Message),
    ) {
        let last = self.messages.last();
        if !last.is_some_and(|last| last.role == Role::Assistant && go_on(last)) {
            let message = Message::new(Role::Assistant, "");
            self.push(Message { content: Vec::new(), ..message }, place);
        }
        if let Some(last) = self.messages.last_mut() {
            add(last);
        }
    }
}

fn refuse_programs(
    place: &str,
    caller: &Option<Value>,
    namespace: &Option<Value>,
) -> Result<(), ApiError> {
    let why = "only the model itself calls functions here";
    refuse_values(place, &[("caller", caller, why), ("namespace", namespace, why)])
}

fn call(item: CallItem, place: &str) -> Result<Call, ApiError> {
    let CallItem { call_id, name, arguments, caller, namespace, .. } = item;
    refuse_programs(place, &caller, &namespace)?;
    let object = serde_json::from_str::<Map<String, Value>>(&arguments);
    if let (Err(error), false) = (object, arguments.trim().is_empty()) {
        let parameter = format!("{place}.arguments");
        let message = format!("{parameter} is not a JSON object as text: {error}");
        return Err(ApiError::parameter(parameter, message).with_code("invalid_value"));
    }
    Ok(Call { id: call_id, name, arguments })
}

/// What the model thought, in its own words or else in their summary.
fn reasoning(item: ReasoningItem, place: &str) -> Result<Option<String>, ApiError> {
    let ReasoningItem { summary, content, encrypted_content, .. } = item;
    let why = "only this server's reasoning can be read, which is not encrypted";
    refuse_values(place, &[("encrypted_content", &encrypted_content, why)])?;
    let read = |values: Option<Vec<Value>>, field: &str, kind: &str| {
        let parts = Item::list(values.unwrap_or_default(), &format!("{place}.{field}"))?;
        let text = |part: Item| match part.kind.as_deref() {
            Some(given) if given == kind => Ok(part.read::<TextPart>()?.text),
            _ => Err(part.refused(&format!("{kind:?}"))),
        };
        parts.into_iter().map(text).collect::<Result<Vec<_>, ApiError>>()
    };
    let summary = read(summary, "summary", "summary_text")?.join("\n");
    let content = read(content, "content", "reasoning_text")?.join("\n");
    Ok([content, summary].into_iter().find(|text| !text.is_empty()))
}

/// The parts of a text.
fn texts(content: TextOrItems, place: &str) -> Result<Vec<String>, ApiError> {
    let values = match content {
        TextOrItems::Text(text) => return Ok(vec![text]),
        TextOrItems::Items(values) => values,
    };
    let text = |part: Item| match part.kind.as_deref() {
        Some("input_text" | "output_text") => {
            let place = part.place.clone();
            let part: TextPart = part.read()?;
            if part.annotations.is_some_and(|annotations| !annotations.is_empty()) {
                let parameter = format!("{place}.annotations");
                let message = format!("{parameter} is not supported: it must be empty");
                return Err(
                    ApiError::parameter(parameter, message).with_code("unsupported_parameter")
                );
            }
            Ok(part.text)
        }
        _ => Err(part.refused("\"input_text\" or \"output_text\"")),
    };
    Item::list(values, place)?.into_iter().map(text).collect()
}
