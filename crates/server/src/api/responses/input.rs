//! Items of a conversation, put together to messages.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use stablemate_conversation::{Call, Message, Role};

use crate::api::responses::tools::{INPUT, Tools};
use crate::error::ApiError;
use crate::wire::{Item, Reading, TextOrItems};

const KNOWN: &str = "\"message\", \"function_call\", \"function_call_output\", \"custom_tool_call\", \
                     \"custom_tool_call_output\", \"local_shell_call\" or \"reasoning\"";

/// Items that tell what tools of other servers did, or that only their server can read.
const SKIPPED: [&str; 22] = [
    "additional_tools",
    "agent_message",
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction",
    "compaction_summary",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "file_search_call",
    "ghost_snapshot",
    "image_generation_call",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "tool_search_call",
    "tool_search_output",
    "web_search_call",
    "context_compaction",
];

/// The function that calls of a local shell are shown as.
const LOCAL_SHELL: &str = "local_shell";

/// Messages, and the parameter that each comes from.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) messages: Vec<Message>,
    pub(super) places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageItem {
    role: RoleName,
    content: TextOrItems,
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
    #[serde(alias = "refusal")]
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallItem {
    call_id: String,
    name: String,
    arguments: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomCallItem {
    call_id: String,
    name: String,
    input: String,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ShellCallItem {
    call_id: Option<String>,
    action: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the call that is answered says the same")]
struct ResultItem {
    call_id: String,
    output: TextOrItems,
    name: Option<String>,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasoningItem {
    summary: Option<Vec<Value>>,
    content: Option<Vec<Value>>,
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
        tools: &Tools,
        reading: &Reading,
    ) -> Result<Messages, ApiError> {
        let mut messages = Messages::default();
        if let Some(text) = instructions {
            messages.push(Message::new(Role::System, text), "instructions");
        }
        match input {
            TextOrItems::Text(text) => messages.push(Message::new(Role::User, text), "input"),
            TextOrItems::Items(values) => {
                let ids = ids(&values);
                for item in Item::list(values, "input")? {
                    messages.take(item, tools, &ids, reading)?;
                }
            }
        }
        Ok(messages)
    }

    fn push(&mut self, message: Message, place: &str) {
        self.messages.push(message);
        self.places.push(place.to_owned());
    }

    fn take(
        &mut self,
        item: Item,
        tools: &Tools,
        ids: &BTreeSet<String>,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        let place = item.place.clone();
        match item.kind.as_deref() {
            None if item.get("id").is_some() && item.get("role").is_none() => {
                refers(&item, ids, reading)
            }
            None | Some("message") => self.message(item.read(reading)?, &place, reading),
            Some("item_reference") => refers(&item, ids, reading),
            Some("function_call") => {
                let call = call(item.read(reading)?, &place, tools)?;
                self.call(&place, call);
                Ok(())
            }
            Some("custom_tool_call") => {
                let CustomCallItem { call_id, name, input, namespace } = item.read(reading)?;
                let name = tools.shown_name(&name, namespace.as_deref());
                let arguments = json!({INPUT: input}).to_string();
                self.call(&place, Call { id: call_id, name, arguments });
                Ok(())
            }
            Some("local_shell_call" | "shell_call") => {
                let ShellCallItem { call_id, action } = item.read(reading)?;
                let (id, name) = (call_id.unwrap_or_default(), LOCAL_SHELL.to_owned());
                let arguments = Value::Object(action).to_string();
                self.call(&place, Call { id, name, arguments });
                Ok(())
            }
            Some(
                "function_call_output"
                | "custom_tool_call_output"
                | "local_shell_call_output"
                | "shell_call_output",
            ) => {
                let ResultItem { call_id, output, name, .. } = item.read(reading)?;
                let content = texts(output, &format!("{place}.output"), reading)?;
                let answers = Some(call_id);
                let message = Message::new(Role::Tool, "");
                self.push(Message { content, answers, name, ..message }, &place);
                Ok(())
            }
            Some("reasoning") => {
                let reasoning = reasoning(item.read(reading)?, &place, reading)?;
                self.assistant(&place, |_| false, |message| message.reasoning = reasoning);
                Ok(())
            }
            Some(kind) if SKIPPED.contains(&kind) => {
                let reason = "what other servers' tools did is left out of the prompt";
                reading.ignore("input", "items of servers", reason);
                Ok(())
            }
            Some(_) => Err(item.refused(KNOWN)),
        }
    }

    fn call(&mut self, place: &str, call: Call) {
        self.assistant(place, |_| true, |message| message.calls.push(call));
    }

    fn message(
        &mut self,
        item: MessageItem,
        place: &str,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        let content = texts(item.content, &format!("{place}.content"), reading)?;
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

/// The names of all items.
fn ids(items: &[Value]) -> BTreeSet<String> {
    let references = |item: &&Value| item.get("type").is_none_or(|kind| kind != "item_reference");
    let id = |item: &Value| item.get("id").and_then(Value::as_str).map(str::to_owned);
    items.iter().filter(references).filter_map(id).collect()
}

/// A reference to an item: nothing is stored, so it must be in the request, and adds nothing to it.
fn refers(item: &Item, ids: &BTreeSet<String>, reading: &Reading) -> Result<(), ApiError> {
    let id = item.get("id").and_then(Value::as_str).unwrap_or_default();
    if ids.contains(id) {
        reading.ignore("input", "item_reference", "the item is in the request itself");
        return Ok(());
    }
    let parameter = format!("{}.id", item.place);
    let message = format!(
        "{parameter} is {id:?}, which is no item of this request: nothing is stored, so send the item itself"
    );
    Err(ApiError::parameter(parameter, message).with_code("unsupported_parameter"))
}

fn call(item: CallItem, place: &str, tools: &Tools) -> Result<Call, ApiError> {
    let CallItem { call_id, name, arguments, namespace } = item;
    let object = serde_json::from_str::<Map<String, Value>>(&arguments);
    if let (Err(error), false) = (object, arguments.trim().is_empty()) {
        let parameter = format!("{place}.arguments");
        let message = format!("{parameter} is not a JSON object as text: {error}");
        return Err(ApiError::parameter(parameter, message).with_code("invalid_value"));
    }
    let name = tools.shown_name(&name, namespace.as_deref());
    Ok(Call { id: call_id, name, arguments })
}

/// What the model thought, in its own words or else in their summary.
fn reasoning(
    item: ReasoningItem,
    place: &str,
    reading: &Reading,
) -> Result<Option<String>, ApiError> {
    let ReasoningItem { summary, content } = item;
    let read = |values: Option<Vec<Value>>, field: &str| {
        let parts = Item::list(values.unwrap_or_default(), &format!("{place}.{field}"))?;
        let text = |part: Item| match part.kind.as_deref() {
            Some("summary_text" | "reasoning_text" | "text") => {
                Ok(part.read::<TextPart>(reading)?.text)
            }
            _ => Err(part.refused("\"summary_text\" or \"reasoning_text\"")),
        };
        parts.into_iter().map(text).collect::<Result<Vec<_>, ApiError>>()
    };
    let summary = read(summary, "summary")?.join("\n");
    let content = read(content, "content")?.join("\n");
    Ok([content, summary].into_iter().find(|text| !text.is_empty()))
}

/// The parts of a text.
fn texts(content: TextOrItems, place: &str, reading: &Reading) -> Result<Vec<String>, ApiError> {
    let values = match content {
        TextOrItems::Text(text) => return Ok(vec![text]),
        TextOrItems::Items(values) => values,
    };
    let text = |part: Item| match part.kind.as_deref() {
        Some("input_text" | "output_text" | "text" | "refusal" | "summary_text") => {
            Ok(part.read::<TextPart>(reading)?.text)
        }
        _ => Err(part.refused("\"input_text\" or \"output_text\"")),
    };
    Item::list(values, place)?.into_iter().map(text).collect()
}
