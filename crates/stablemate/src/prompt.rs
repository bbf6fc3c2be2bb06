//! What a model is asked to continue.

use serde_json::{Value, json};

/// What a model is asked to continue.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// Plain text, begun as the tokenizer begins a text.
    Text(String),
    /// A conversation, for models with a chat template.
    Chat(Vec<Message>),
    /// Token ids, as they are.
    Ids(Vec<u32>),
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// Text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    pub(crate) fn json(messages: &[Self]) -> Value {
        let json = |message: &Self| json!({"role": message.role, "content": message.content});
        messages.iter().map(json).collect()
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::Text(text.to_string())
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&[u32]> for Prompt {
    fn from(ids: &[u32]) -> Self {
        Self::Ids(ids.to_vec())
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self::Chat(messages)
    }
}
