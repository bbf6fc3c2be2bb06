//! Messages as Anthropic's clients write them: roles and blocks.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Call, Message, Role};

use crate::error::ApiError;
use crate::wire::{Item, TextOrItems, read_value, refuse_values};

/// What the model is shown before the result of a call that failed.
const FAILED: &str = "Error:";

/// Messages, and the parameter that each comes from.
#[derive(Debug, Default)]
pub(super) struct Messages {
    pub(super) messages: Vec<Message>,
    pub(super) places: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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

/// Marks what is to be cached: every prompt is looked up in the cache, so that nothing need be done.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CacheControl {
    /// `ephemeral`.
    #[serde(rename = "type")]
    #[allow(dead_code)]
    kind: CacheKind,
    /// `5m` or `1h`. Not looked at: prompts are kept while there is room.
    #[allow(dead_code)]
    ttl: Option<CacheTime>,
}

/// How a prompt is kept.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum CacheKind {
    /// For a while.
    Ephemeral,
}

/// For how long.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
enum CacheTime {
    /// Five minutes.
    #[serde(rename = "5m")]
    Minutes,
    /// An hour.
    #[serde(rename = "1h")]
    Hour,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextBlock {
    text: String,
    citations: Option<Value>,
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingBlock {
    thinking: String,
    #[allow(dead_code, reason = "there are no signatures here")]
    signature: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolUseBlock {
    id: String,
    name: String,
    input: Map<String, Value>,
    caller: Option<Value>,
    toolset_name: Option<Value>,
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolResultBlock {
    tool_use_id: String,
    content: Option<TextOrItems>,
    is_error: Option<bool>,
    toolset_name: Option<Value>,
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
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
    ) -> Result<Messages, ApiError> {
        let mut all = Messages::default();
        if let Some(system) = system {
            let content = texts(system, "system")?;
            all.push(Message { content, ..Message::new(Role::System, "") }, "system");
        }
        for (index, message) in messages.into_iter().enumerate() {
            let place = format!("messages[{index}]");
            let MessageRequest { role, content } = read_value(message, &place)?;
            match role {
                RoleName::System => {
                    let content = texts(content, &format!("{place}.content"))?;
                    all.with((Role::System, &place), |_| true, |last| last.content.extend(content));
                }
                RoleName::User => all.user(content, &place)?,
                RoleName::Assistant => all.assistant(content, &place)?,
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

    fn user(&mut self, content: TextOrItems, place: &str) -> Result<(), ApiError> {
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
                Some("text") => {
                    let text = text(block)?;
                    self.with((Role::User, &place), |_| true, |message| message.content.push(text));
                }
                Some("tool_result") => {
                    let message = result(block.read()?, &place)?;
                    self.push(message, &place);
                }
                _ => return Err(block.refused("\"text\" or \"tool_result\"")),
            }
        }
        Ok(())
    }

    fn assistant(&mut self, content: TextOrItems, place: &str) -> Result<(), ApiError> {
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
                Some("text") => {
                    let text = text(block)?;
                    self.with(at, silent, |message| message.content.push(text));
                }
                Some("thinking") => {
                    let ThinkingBlock { thinking, .. } = block.read()?;
                    self.with(at, empty, |message| {
                        message.reasoning.get_or_insert_default().push_str(&thinking);
                    });
                }
                Some("tool_use") => {
                    let call = call(block.read()?, &place)?;
                    self.with(at, |_| true, |message| message.calls.push(call));
                }
                _ => return Err(block.refused("\"text\", \"thinking\" or \"tool_use\"")),
            }
        }
        Ok(())
    }
}

fn text(block: Item) -> Result<String, ApiError> {
    let place = block.place.clone();
    let TextBlock { text, citations, .. } = block.read()?;
    let empty = |citations: &Value| citations.as_array().is_some_and(Vec::is_empty);
    let citations = citations.filter(|citations| !empty(citations));
    refuse_values(&place, &[("citations", &citations, "there are no citations here")])?;
    Ok(text)
}

fn call(block: ToolUseBlock, place: &str) -> Result<Call, ApiError> {
    let ToolUseBlock { id, name, input, caller, toolset_name, .. } = block;
    let direct = |caller: &Value| caller.get("type").is_some_and(|kind| kind == "direct");
    let caller = caller.filter(|caller| !direct(caller));
    let why = "only the model itself calls functions here";
    refuse_values(place, &[("caller", &caller, why), ("toolset_name", &toolset_name, why)])?;
    Ok(Call { id, name, arguments: Value::Object(input).to_string() })
}

fn result(block: ToolResultBlock, place: &str) -> Result<Message, ApiError> {
    let ToolResultBlock { tool_use_id, content, is_error, toolset_name, .. } = block;
    let why = "only functions of the client are called here";
    refuse_values(place, &[("toolset_name", &toolset_name, why)])?;
    let result = content.map(|content| texts(content, &format!("{place}.content"))).transpose()?;
    let failed = is_error.unwrap_or(false).then(|| FAILED.to_owned());
    let content = failed.into_iter().chain(result.unwrap_or_default()).collect();
    Ok(Message { content, answers: Some(tool_use_id), ..Message::new(Role::Tool, "") })
}

/// A text, or blocks of text only.
fn texts(content: TextOrItems, place: &str) -> Result<Vec<String>, ApiError> {
    let blocks = match content {
        TextOrItems::Text(text) => return Ok(vec![text]),
        TextOrItems::Items(blocks) => Item::list(blocks, place)?,
    };
    let text = |block: Item| match block.kind.as_deref() {
        Some("text") => text(block),
        _ => Err(block.refused("\"text\"")),
    };
    blocks.into_iter().map(text).collect()
}
