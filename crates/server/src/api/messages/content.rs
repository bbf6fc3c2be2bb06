//! Messages as Anthropic's clients write them: roles and blocks.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Call, Message, Role};

use crate::api::messages::prefix;
use crate::error::ApiError;
use crate::wire::{Item, Reading, TextOrItems, read_value};

/// What the model is shown before the result of a call that failed.
const FAILED: &str = "Error:";

/// Messages, and the parameter that each comes from.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) messages: Vec<Message>,
    pub(super) places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename = "AnthropicMessage")]
struct MessageRequest {
    role: RoleName,
    content: TextOrItems,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleName {
    User,
    Assistant,
    System,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextBlock {
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingBlock {
    thinking: String,
}

/// A document: its text is shown, after its title.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentBlock {
    source: Value,
    title: Option<String>,
    context: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextSource {
    data: String,
    #[allow(dead_code, reason = "texts are texts")]
    media_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentSource {
    content: TextOrItems,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SearchResultBlock {
    content: TextOrItems,
    source: Option<String>,
    title: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolUseBlock {
    id: String,
    name: String,
    input: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolResultBlock {
    tool_use_id: String,
    content: Option<TextOrItems>,
    is_error: Option<bool>,
}

/// Blocks of earlier answers of other servers that no template can show.
const SKIPPED: [&str; 12] = [
    "redacted_thinking",
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "mcp_tool_use",
    "mcp_tool_result",
    "container_upload",
    "tool_reference",
];

/// Whether a block is skipped, which is said.
fn skipped(block: &Item, reading: &Reading) -> bool {
    let skipped = block.kind.as_deref().is_some_and(|kind| SKIPPED.contains(&kind));
    if skipped {
        let reason =
            "what other servers' tools did, and encrypted reasoning, is left out of the prompt";
        reading.ignore("content", "blocks of servers", reason);
    }
    skipped
}

impl Messages {
    /// The conversation. Messages of the same role that follow each other become one, as at Anthropic's; the results of
    /// calls become messages of their own.
    ///
    /// # Errors
    /// 400 naming what is no message, or cannot be understood.
    pub(super) fn of(
        system: Option<TextOrItems>,
        messages: Vec<Value>,
        reading: &Reading,
    ) -> Result<Messages, ApiError> {
        let mut all = Messages::default();
        if let Some(system) = system {
            let content = prefix::stable(texts(system, "system", reading)?, reading);
            all.push(Message { content, ..Message::new(Role::System, "") }, "system");
        }
        for (index, message) in messages.into_iter().enumerate() {
            let place = format!("messages[{index}]");
            let MessageRequest { role, content } = read_value(message, &place, reading)?;
            match role {
                RoleName::System => {
                    let content = texts(content, &format!("{place}.content"), reading)?;
                    all.with((Role::System, &place), |_| true, |last| last.content.extend(content));
                }
                RoleName::User => all.user(content, &place, reading)?,
                RoleName::Assistant => all.assistant(content, &place, reading)?,
            }
        }
        Ok(all)
    }

    fn push(&mut self, message: Message, place: &str) {
        self.messages.push(message);
        self.places.push(place.to_owned());
    }

    /// The last message if it is of this role and `go_on` holds, else a new one, changed by `add`.
    fn with(
        &mut self,
        (role, place): (Role, &str),
        go_on: impl Fn(&Message) -> bool,
        add: impl FnOnce(&mut Message),
    ) {
        if !self.messages.last().is_some_and(|last| last.role == role && go_on(last)) {
            self.push(Message { content: Vec::new(), ..Message::new(role, "") }, place);
        }
        if let Some(last) = self.messages.last_mut() {
            add(last);
        }
    }

    fn user(
        &mut self,
        content: TextOrItems,
        place: &str,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        let blocks = match content {
            TextOrItems::Text(text) => {
                self.with((Role::User, place), |_| true, |message| message.content.push(text));
                return Ok(());
            }
            TextOrItems::Items(blocks) => Item::list(blocks, &format!("{place}.content"))?,
        };
        if blocks.is_empty() {
            self.with((Role::User, place), |_| true, |_| {});
        }
        for block in blocks {
            let place = block.place.clone();
            match block.kind.as_deref() {
                Some("text" | "document" | "search_result" | "compaction") => {
                    let text = text(block, reading)?;
                    self.with((Role::User, &place), |_| true, |message| message.content.push(text));
                }
                Some("tool_result") => {
                    let message = result(block.read(reading)?, &place, reading)?;
                    self.push(message, &place);
                }
                _ if skipped(&block, reading) => {}
                _ => return Err(block.refused("\"text\" or \"tool_result\"")),
            }
        }
        Ok(())
    }

    fn assistant(
        &mut self,
        content: TextOrItems,
        place: &str,
        reading: &Reading,
    ) -> Result<(), ApiError> {
        let blocks = match content {
            TextOrItems::Text(text) => {
                let silent = |last: &Message| last.calls.is_empty();
                self.with((Role::Assistant, place), silent, |message| message.content.push(text));
                return Ok(());
            }
            TextOrItems::Items(blocks) => Item::list(blocks, &format!("{place}.content"))?,
        };
        // What follows calls, or thinking that follows anything, begins a message.
        let silent = |last: &Message| last.calls.is_empty();
        let empty = |last: &Message| last.calls.is_empty() && last.content.is_empty();
        for block in blocks {
            let place = block.place.clone();
            let at = (Role::Assistant, place.as_str());
            match block.kind.as_deref() {
                Some("text" | "compaction") => {
                    let text = text(block, reading)?;
                    self.with(at, silent, |message| message.content.push(text));
                }
                Some("thinking") => {
                    let ThinkingBlock { thinking } = block.read(reading)?;
                    self.with(at, empty, |message| {
                        message.reasoning.get_or_insert_default().push_str(&thinking);
                    });
                }
                Some("tool_use") => {
                    let ToolUseBlock { id, name, input } = block.read(reading)?;
                    let call = Call { id, name, arguments: Value::Object(input).to_string() };
                    self.with(at, |_| true, |message| message.calls.push(call));
                }
                _ if skipped(&block, reading) => {}
                _ => return Err(block.refused("\"text\", \"thinking\" or \"tool_use\"")),
            }
        }
        Ok(())
    }
}

/// The text of a block that has one.
fn text(block: Item, reading: &Reading) -> Result<String, ApiError> {
    let place = block.place.clone();
    match block.kind.as_deref() {
        Some("text") => Ok(block.read::<TextBlock>(reading)?.text),
        // A summary of what came before, by the server that it was sent to.
        Some("compaction") => {
            Ok(block.get("content").and_then(Value::as_str).unwrap_or_default().to_owned())
        }
        Some("document") => {
            let DocumentBlock { source, title, context } = block.read(reading)?;
            let source = Item::new(source, format!("{place}.source"))?;
            let body = match source.kind.as_deref() {
                Some("text") => source.read::<TextSource>(reading)?.data,
                Some("content") => {
                    let inside = format!("{place}.source.content");
                    let ContentSource { content } = source.read(reading)?;
                    texts(content, &inside, reading)?.join("\n")
                }
                _ => return Err(source.refused("\"text\" or \"content\"")),
            };
            Ok(title.into_iter().chain(context).chain([body]).collect::<Vec<_>>().join("\n"))
        }
        Some("search_result") => {
            let SearchResultBlock { content, source, title } = block.read(reading)?;
            let body = texts(content, &format!("{place}.content"), reading)?;
            Ok(title.into_iter().chain(source).chain(body).collect::<Vec<_>>().join("\n"))
        }
        _ => Err(block.refused("\"text\"")),
    }
}

fn result(block: ToolResultBlock, place: &str, reading: &Reading) -> Result<Message, ApiError> {
    let ToolResultBlock { tool_use_id, content, is_error } = block;
    let place = format!("{place}.content");
    let result = content.map(|content| texts(content, &place, reading)).transpose()?;
    let failed = is_error.unwrap_or(false).then(|| FAILED.to_owned());
    let content = failed.into_iter().chain(result.unwrap_or_default()).collect();
    Ok(Message { content, answers: Some(tool_use_id), ..Message::new(Role::Tool, "") })
}

/// A text, or blocks of text only.
fn texts(content: TextOrItems, place: &str, reading: &Reading) -> Result<Vec<String>, ApiError> {
    let blocks = match content {
        TextOrItems::Text(text) => return Ok(vec![text]),
        TextOrItems::Items(blocks) => Item::list(blocks, place)?,
    };
    let blocks = blocks.into_iter().filter(|block| !skipped(block, reading));
    blocks.map(|block| text(block, reading)).collect()
}
