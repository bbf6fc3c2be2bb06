//! What a template is given.

use super::{refusal, to_value};
use crate::error::Error;
use minijinja::Value;
use serde_json::Map;
use std::collections::BTreeMap;
use std::time::SystemTime;

/// Names that transformers sets itself; they cannot be variables of the caller.
const RESERVED: [&str; 5] =
    ["messages", "tools", "documents", "add_generation_prompt", "strftime_now"];

/// Names under which a message may carry the model's reasoning, the first being the usual one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A conversation to be rendered.
#[derive(Clone, Debug)]
pub struct ChatInput {
    /// A list of objects, each a message with a `role` and what the template wants besides.
    pub messages: serde_json::Value,
    /// The JSON schemas of the tools; without any, the template sees `none`.
    pub tools: Option<serde_json::Value>,
    /// Documents for templates that can cite; without any, the template sees `none`.
    pub documents: Option<serde_json::Value>,
    /// Whether the prompt ends where the assistant's answer begins.
    pub add_generation_prompt: bool,
    /// More variables (`chat_template_kwargs`), such as `enable_thinking`. They win over special tokens.
    pub extra: Map<String, serde_json::Value>,
    /// The time that templates write into prompts; nothing here reads a clock.
    pub now: LocalTime,
}

/// A moment and how clocks show it at the user's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The moment.
    pub time: SystemTime,
    /// Seconds that local clocks are ahead of UTC.
    pub utc_offset_seconds: i32,
}

impl ChatInput {
    /// Messages alone, with the assistant's answer to follow.
    pub fn new(messages: serde_json::Value, now: LocalTime) -> ChatInput {
        ChatInput {
            messages,
            tools: None,
            documents: None,
            add_generation_prompt: true,
            extra: Map::new(),
            now,
        }
    }

    /// The variables that the template sees.
    pub(super) fn context(&self, tokens: &BTreeMap<String, String>) -> Result<Value, Error> {
        let mut variables: BTreeMap<&str, Value> = BTreeMap::new();
        for (role, token) in tokens {
            variables.insert(role, Value::from(token.as_str()));
        }
        for (name, value) in &self.extra {
            if RESERVED.contains(&name.as_str()) {
                return Err(wrong(format!(
                    "the template variable {name:?} cannot be set: it has its own place"
                )));
            }
            variables.insert(name, to_value(value));
        }
        let none = || Value::from(());
        variables.insert("messages", self.messages()?);
        variables.insert("tools", self.tools.as_ref().map_or_else(none, to_value));
        variables.insert("documents", self.documents.as_ref().map_or_else(none, to_value));
        variables.insert("add_generation_prompt", Value::from(self.add_generation_prompt));
        variables.insert("strftime_now", strftime(self.now)?);
        Ok(Value::from_pairs(variables))
    }

    fn messages(&self) -> Result<Value, Error> {
        let messages = self.messages.as_array().ok_or_else(|| wrong("messages must be a list"))?;
        let message = |(index, message): (usize, &serde_json::Value)| match message.as_object() {
            Some(fields) => Ok(Value::from_pairs(with_reasoning(fields))),
            None => Err(wrong(format!("messages[{index}] must be an object"))),
        };
        messages.iter().enumerate().map(message).collect()
    }
}

/// A message's fields. As in transformers, reasoning is there under every name that templates read it by.
fn with_reasoning(fields: &Map<String, serde_json::Value>) -> Vec<(&str, Value)> {
    let reasoning = REASONING
        .iter()
        .find_map(|name| fields.get(*name).filter(|reasoning| !reasoning.is_null()));
    let Some(reasoning) = reasoning.map(to_value) else {
        return fields.iter().map(|(name, value)| (name.as_str(), to_value(value))).collect();
    };
    let thinking = fields.get("thinking").map_or_else(|| reasoning.clone(), to_value);
    let mut result = vec![("thinking", thinking)];
    for (name, value) in fields.iter().filter(|(name, _)| *name != "thinking") {
        let value = if name == "reasoning_content" { reasoning.clone() } else { to_value(value) };
        result.push((name.as_str(), value));
    }
    if !fields.contains_key("reasoning_content") {
        result.push(("reasoning_content", reasoning));
    }
    result
}

/// The function `strftime_now(format)`.
fn strftime(now: LocalTime) -> Result<Value, Error> {
    let offset = jiff::tz::Offset::from_seconds(now.utc_offset_seconds)
        .map_err(|e| wrong(format!("utc_offset_seconds is {}: {e}", now.utc_offset_seconds)))?;
    let timestamp = jiff::Timestamp::try_from(now.time)
        .map_err(|e| wrong(format!("the time cannot be used: {e}")))?;
    let local = offset.to_datetime(timestamp);
    Ok(Value::from_function(move |format: &str| {
        jiff::fmt::strtime::format(in_c_locale(format), local)
            .map_err(|e| refusal(format!("strftime_now({format:?}): {e}")))
    }))
}

/// `format` with the directives that depend on the locale spelled out as Python has them without one, and those of
/// the time zone left out, which Python's local time does not have.
fn in_c_locale(format: &str) -> String {
    let mut result = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            result.push(character);
            continue;
        }
        match characters.next() {
            Some('c') => result.push_str("%a %b %e %H:%M:%S %Y"),
            Some('x') => result.push_str("%m/%d/%y"),
            Some('X') => result.push_str("%H:%M:%S"),
            Some('z' | 'Z') => {}
            Some(directive) => result.extend(['%', directive]),
            None => result.push('%'),
        }
    }
    result
}

fn wrong(message: impl Into<String>) -> Error {
    Error::TemplateRender { line: 0, message: message.into() }
}
