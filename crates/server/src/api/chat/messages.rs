//! Messages and tools as clients write them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::{Map, Value};
use stablemate_conversation::{Call, Message, Role, Tool};
use utoipa::ToSchema;

use crate::api::tools::{self, Choice, leave_out};
use crate::error::ApiError;
use crate::wire::{Item, Reading};

/// A message of a conversation.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageRequest {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    role: RoleRequest,
    /// The text; may be absent from an assistant's message with calls.
    #[schema(value_type = Option<ContentSchema>)]
    content: Option<Content>,
    /// The name of the participant.
    name: Option<String>,
    /// The calls that an assistant made.
    tool_calls: Option<Vec<ToolCallRequest>>,
    /// Of a `tool` message: the call that it answers.
    tool_call_id: Option<String>,
    /// What an assistant thought.
    reasoning_content: Option<String>,
    /// The same, under another name.
    reasoning: Option<String>,
    /// What an assistant said in place of its content.
    refusal: Option<String>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoleRequest {
    /// Instructions.
    System,
    /// Instructions, under their newer name.
    Developer,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
    /// The result of a call.
    Tool,
}

/// A text, or its parts.
#[derive(Clone, Debug)]
pub enum Content {
    Text(String),
    Parts(Vec<Value>),
}

/// A text, or its parts.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub enum ContentSchema {
    /// A text.
    Text(String),
    /// Parts.
    Parts(Vec<PartRequest>),
}

/// A part of a text: of the type `text`, or of an assistant `refusal`; nothing else is supported.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRequest {
    /// The text.
    text: Option<String>,
    /// The text of a refusal.
    refusal: Option<String>,
}

// By hand and not `untagged`, whose errors say neither where nor what.
impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Contents;
        impl<'de> Visitor<'de> for Contents {
            type Value = Content;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of parts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Content, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Content::Parts)
            }
        }
        deserializer.deserialize_any(Contents)
    }
}

/// A call that an assistant made.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolCallRequest {
    /// What its result refers to.
    id: String,
    /// `function`.
    #[serde(rename = "type", default)]
    kind: FunctionKind,
    /// What is called.
    function: CalledFunction,
}

/// The only kind of tool there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FunctionKind {
    /// A function of the client's.
    #[default]
    Function,
}

/// What is called.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledFunction {
    /// The function.
    name: String,
    /// Its arguments: a JSON object as text.
    arguments: String,
}

/// A tool the model may call. Tools that the server would have to run are left out of the prompt.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolRequest {
    /// The function.
    function: FunctionRequest,
}

/// A function the model may call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct FunctionRequest {
    /// Its name.
    name: String,
    /// What it does.
    description: Option<String>,
    /// The JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    parameters: Option<Value>,
    /// Whether a schema that cannot be guaranteed is refused. Otherwise it is followed as far as it can be, where the
    /// model calls as it sees fit.
    strict: Option<bool>,
}

/// The functions of a request.
///
/// # Errors
/// 400 naming the tool that is none.
pub(crate) fn tools(tools: Vec<Value>, reading: &Reading) -> Result<Vec<Tool>, ApiError> {
    let mut functions = Vec::with_capacity(tools.len());
    for tool in Item::list(tools, "tools")? {
        if leave_out(&tool, reading) {
            continue;
        }
        if tool.kind.as_deref() != Some("function") {
            return Err(tool.refused("\"function\""));
        }
        let place = tool.place.clone();
        let ToolRequest { function } = tool.read(reading)?;
        let FunctionRequest { name, description, parameters, strict } = function;
        let strict = strict.unwrap_or(false);
        functions.push(Tool { name, description, parameters, strict, place });
    }
    Ok(functions)
}

impl MessageRequest {
    /// The message, if it asks for nothing that cannot be done.
    ///
    /// # Errors
    /// 400 naming the field of `messages[index]`.
    pub(crate) fn message(self, index: usize, reading: &Reading) -> Result<Message, ApiError> {
        let at = |field: &str| format!("messages[{index}].{field}");
        let calls = self.tool_calls.unwrap_or_default();
        let role = match self.role {
            RoleRequest::System => Role::System,
            RoleRequest::Developer => Role::Developer,
            RoleRequest::User => Role::User,
            RoleRequest::Assistant => Role::Assistant,
            RoleRequest::Tool => Role::Tool,
        };
        let content = match self.content {
            Some(content) => content.texts(index, reading)?,
            None if role == Role::Assistant && !calls.is_empty() => Vec::new(),
            // An answer that was nothing but reasoning, or nothing at all.
            None if role == Role::Assistant => vec![self.refusal.unwrap_or_default()],
            None => {
                let message = format!("{} is missing", at("content"));
                return Err(
                    ApiError::parameter(at("content"), message).with_code("missing_parameter")
                );
            }
        };
        if role == Role::Tool && self.tool_call_id.is_none() {
            let message = format!("{} is missing", at("tool_call_id"));
            return Err(
                ApiError::parameter(at("tool_call_id"), message).with_code("missing_parameter")
            );
        }
        let call = |call: ToolCallRequest| {
            let FunctionKind::Function = call.kind;
            let CalledFunction { name, arguments } = call.function;
            Call { id: call.id, name, arguments }
        };
        Ok(Message {
            role,
            content,
            reasoning: self.reasoning_content.or(self.reasoning).filter(|text| !text.is_empty()),
            calls: calls.into_iter().map(call).collect(),
            answers: self.tool_call_id,
            name: self.name,
        })
    }
}

impl Content {
    fn texts(self, index: usize, reading: &Reading) -> Result<Vec<String>, ApiError> {
        let parts = match self {
            Content::Text(text) => return Ok(vec![text]),
            Content::Parts(parts) => parts,
        };
        let text = |part: Item| {
            let place = part.place.clone();
            let is_refusal = match part.kind.as_deref() {
                Some("text" | "input_text" | "output_text") => false,
                Some("refusal") => true,
                _ => return Err(part.refused("\"text\"")),
            };
            let PartRequest { text, refusal } = part.read(reading)?;
            let (field, text) = if is_refusal { ("refusal", refusal) } else { ("text", text) };
            text.ok_or_else(|| {
                let parameter = format!("{place}.{field}");
                ApiError::parameter(&parameter, format!("{parameter} is missing"))
                    .with_code("missing_parameter")
            })
        };
        let parts = Item::list(parts, &format!("messages[{index}].content"))?;
        parts.into_iter().map(text).collect()
    }
}

/// What `tool_choice` says.
///
/// # Errors
/// 400 for what is none of OpenAI's choices, or cannot be done.
pub(crate) fn tool_choice(choice: Option<&Value>) -> Result<Choice, ApiError> {
    let name = |fields: &Map<String, Value>| {
        let function = fields.get("function")?.as_object()?;
        let alone = fields.len() == 2 && function.len() == 1;
        let known = fields.get("type")? == "function" && alone;
        function.get("name")?.as_str().filter(|_| known).map(str::to_owned)
    };
    tools::tool_choice(choice, name, "{\"type\": \"function\", \"function\": {\"name\": …}}")
}
