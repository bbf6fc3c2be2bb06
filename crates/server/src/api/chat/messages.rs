//! Messages and tools as clients write them.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::Value;
use stablemate_conversation::{Call, Message, Role, Tool, ToolChoice};
use utoipa::ToSchema;

use crate::error::ApiError;

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
    #[serde(alias = "reasoning")]
    reasoning_content: Option<String>,
    /// Must be null.
    refusal: Option<String>,
    /// Must be null.
    #[schema(value_type = Option<Object>)]
    audio: Option<Value>,
    /// Must be null.
    #[schema(value_type = Option<Object>)]
    function_call: Option<Value>,
    /// Must be empty.
    #[schema(value_type = Option<Vec<Object>>)]
    annotations: Option<Vec<Value>>,
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
    Parts(Vec<PartRequest>),
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

/// A part of a text.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PartRequest {
    /// `text`; nothing else is supported.
    #[serde(rename = "type")]
    kind: String,
    /// The text.
    text: Option<String>,
    /// Not supported.
    #[schema(value_type = Option<Object>)]
    image_url: Option<Value>,
    /// Not supported.
    #[schema(value_type = Option<Object>)]
    input_audio: Option<Value>,
    /// Not supported.
    #[schema(value_type = Option<Object>)]
    file: Option<Value>,
    /// Not supported.
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

/// A tool the model may call.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolRequest {
    /// `function`.
    #[serde(rename = "type")]
    #[allow(dead_code)]
    kind: FunctionKind,
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
    /// Whether arguments must follow the schema. They always do.
    #[allow(dead_code)]
    strict: Option<bool>,
}

impl From<ToolRequest> for Tool {
    fn from(tool: ToolRequest) -> Tool {
        let FunctionRequest { name, description, parameters, .. } = tool.function;
        Tool { name, description, parameters }
    }
}

fn unsupported(parameter: String, what: &str) -> ApiError {
    ApiError::parameter(&parameter, format!("{parameter}: {what}"))
        .with_code("unsupported_parameter")
}

impl MessageRequest {
    /// The message, if it asks for nothing that cannot be done.
    ///
    /// # Errors
    /// 400 naming the field of `messages[index]`.
    pub(crate) fn message(self, index: usize) -> Result<Message, ApiError> {
        let at = |field: &str| format!("messages[{index}].{field}");
        if self.refusal.is_some() {
            return Err(unsupported(at("refusal"), "refusals are not known here: it must be null"));
        }
        if self.audio.is_some_and(|audio| !audio.is_null()) {
            return Err(unsupported(at("audio"), "this model reads text only: it must be null"));
        }
        if self.function_call.is_some_and(|call| !call.is_null()) {
            return Err(unsupported(at("function_call"), "it is deprecated: use tool_calls"));
        }
        if self.annotations.is_some_and(|annotations| !annotations.is_empty()) {
            return Err(unsupported(at("annotations"), "it must be empty"));
        }
        let calls = self.tool_calls.unwrap_or_default();
        let role = match self.role {
            RoleRequest::System => Role::System,
            RoleRequest::Developer => Role::Developer,
            RoleRequest::User => Role::User,
            RoleRequest::Assistant => Role::Assistant,
            RoleRequest::Tool => Role::Tool,
        };
        let content = match self.content {
            Some(content) => content.texts(index)?,
            None if role == Role::Assistant && !calls.is_empty() => Vec::new(),
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
            reasoning: self.reasoning_content,
            calls: calls.into_iter().map(call).collect(),
            answers: self.tool_call_id,
            name: self.name,
        })
    }
}

impl Content {
    fn texts(self, index: usize) -> Result<Vec<String>, ApiError> {
        let parts = match self {
            Content::Text(text) => return Ok(vec![text]),
            Content::Parts(parts) => parts,
        };
        let text = |(number, part): (usize, PartRequest)| {
            let at = format!("messages[{index}].content[{number}]");
            let others = [
                ("image_url", part.image_url.is_some()),
                ("input_audio", part.input_audio.is_some()),
                ("file", part.file.is_some()),
                ("refusal", part.refusal.is_some()),
            ];
            match (part.kind.as_str(), part.text) {
                ("text", Some(text)) => match others.iter().find(|(_, given)| *given) {
                    Some((field, _)) => Err(unsupported(
                        format!("{at}.{field}"),
                        "a part of type \"text\" has none",
                    )),
                    None => Ok(text),
                },
                ("text", None) => {
                    let parameter = format!("{at}.text");
                    Err(ApiError::parameter(&parameter, format!("{parameter} is missing"))
                        .with_code("missing_parameter"))
                }
                (kind, _) => {
                    let what = format!("{kind:?} is not supported: this model reads \"text\" only");
                    Err(unsupported(format!("{at}.type"), &what))
                }
            }
        };
        parts.into_iter().enumerate().map(text).collect()
    }
}

/// What `tool_choice` says.
///
/// # Errors
/// 400 for what is none of OpenAI's choices, or cannot be done.
pub(crate) fn tool_choice(choice: Option<&Value>) -> Result<ToolChoice, ApiError> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok(ToolChoice::Auto);
    };
    let named = || {
        let fields = choice.as_object()?;
        let function = fields.get("function")?.as_object()?;
        let alone = fields.len() == 2 && function.len() == 1;
        let known = fields.get("type")? == "function" && alone;
        function.get("name")?.as_str().filter(|_| known).map(str::to_owned)
    };
    match choice.as_str() {
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required") => Ok(ToolChoice::Required),
        _ => named().map(ToolChoice::Named).ok_or_else(|| {
            let message = format!(
                "tool_choice is {choice}, but must be \"auto\", \"none\", \"required\" or \
                 {{\"type\": \"function\", \"function\": {{\"name\": …}}}}"
            );
            ApiError::parameter("tool_choice", message).with_code("invalid_value")
        }),
    }
}
