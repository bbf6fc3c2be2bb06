//! What is answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use stablemate_engine::Sampling;
use utoipa::ToSchema;

use crate::api::blocks::{Block, BlockKind, Blocks};
use crate::api::chat::turn::{Ending, TurnEnd};
use crate::api::responses::request::{Echo, ResponsesRequest};
use crate::api::responses::tools::{Called, INPUT, ToolObject};
use crate::api::tools::ChoiceSchema;
use crate::api::{new_id, now};
use crate::error::ApiError;
use crate::options::Served;

/// What does not change while an answer is made; most of it tells the request back.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResponseHead)]
pub(crate) struct Head {
    /// The answer's name.
    id: String,
    /// `response`.
    object: &'static str,
    /// When it was begun, in seconds since 1970.
    created_at: u64,
    /// The model, as the request named it.
    model: String,
    /// The system message before all others.
    instructions: Option<String>,
    /// The request's notes.
    metadata: BTreeMap<String, String>,
    /// The most tokens of the answer.
    max_output_tokens: Option<u64>,
    /// Whether several calls may be made at once.
    parallel_tool_calls: bool,
    /// The temperature that is used.
    temperature: f32,
    /// The `top_p` that is used.
    top_p: f32,
    /// Whether the model calls functions.
    #[schema(value_type = ChoiceSchema)]
    tool_choice: Value,
    /// The functions it may call.
    tools: Vec<ToolObject>,
    /// What the text must look like.
    text: TextObject,
    /// How the model was to think.
    reasoning: ReasoningObject,
    /// `disabled`.
    truncation: &'static str,
    /// Always null: nothing is stored.
    previous_response_id: Option<String>,
    /// Always false.
    background: bool,
    /// Always false.
    store: bool,
    /// `default`.
    service_tier: &'static str,
    /// Changes when answers may.
    system_fingerprint: String,
    /// What the client calls the functions that the model is shown.
    #[serde(skip)]
    pub(super) called: BTreeMap<String, Called>,
}

/// What the text must look like.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct TextObject {
    /// Its format.
    format: FormatObject,
    /// `medium`.
    verbosity: Verbosity,
}

/// How much is said: nothing can be chosen.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verbosity {
    /// As much as the model sees fit.
    #[default]
    Medium,
}

/// A format.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum FormatObject {
    /// Anything.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema {
        /// Its name.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        #[schema(value_type = Object)]
        schema: Map<String, Value>,
        /// Whether it must be followed. It is, also where this is false.
        strict: bool,
    },
}

/// How the model was to think.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReasoningObject {
    /// How much.
    pub(super) effort: Option<String>,
    /// Null, or `auto`.
    pub(super) summary: Option<String>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ResponseObject {
    #[serde(flatten)]
    head: Head,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    status: &'static str,
    /// When it was complete, in seconds since 1970.
    completed_at: Option<u64>,
    /// Why it failed.
    error: Option<FailureObject>,
    /// Why it is incomplete.
    incomplete_details: Option<IncompleteObject>,
    /// Reasoning, text and calls.
    output: Vec<OutputItem>,
    /// Its tokens, once it has ended.
    usage: Option<ResponseUsage>,
}

/// Why an answer failed.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct FailureObject {
    /// `server_error`, or `invalid_prompt`.
    code: &'static str,
    /// A sentence.
    message: String,
}

/// Why an answer is incomplete.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct IncompleteObject {
    /// `max_output_tokens`, also where the context was full before.
    reason: &'static str,
}

/// A piece of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    /// What the model thought.
    Reasoning {
        /// Its name.
        id: String,
        /// Always empty.
        #[schema(value_type = Vec<Object>)]
        summary: [(); 0],
        /// Its text.
        content: Vec<ContentPart>,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
    /// What it says.
    Message {
        /// Its name.
        id: String,
        /// `assistant`.
        role: &'static str,
        /// Its text.
        content: Vec<ContentPart>,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
    /// A call.
    FunctionCall {
        /// Its name.
        id: String,
        /// What its result must refer to.
        call_id: String,
        /// The function.
        name: String,
        /// The namespace it is in, if it is in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// Its arguments, as JSON in text.
        arguments: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
    /// A call of a tool that takes free text.
    CustomToolCall {
        /// Its name.
        id: String,
        /// What its result must refer to.
        call_id: String,
        /// The tool.
        name: String,
        /// The namespace it is in, if it is in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// The text.
        input: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
}

/// A text.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ContentPart {
    /// Of reasoning.
    ReasoningText {
        /// The text.
        text: String,
    },
    /// Of a message.
    OutputText {
        /// The text.
        text: String,
        /// Always empty.
        #[schema(value_type = Vec<Object>)]
        annotations: [(); 0],
        /// Always empty.
        #[schema(value_type = Vec<Object>)]
        logprobs: [(); 0],
    },
}

/// Tokens of a response.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct ResponseUsage {
    /// Of the prompt.
    input_tokens: usize,
    /// More about them.
    input_tokens_details: InputTokensDetails,
    /// Of the answer.
    output_tokens: usize,
    /// More about them.
    output_tokens_details: OutputTokensDetails,
    /// Their sum.
    total_tokens: usize,
}

/// More about the tokens of a prompt.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
struct InputTokensDetails {
    /// Those found in the cache.
    cached_tokens: usize,
    /// Always 0: the cache is written as a matter of course, and not counted.
    cache_write_tokens: usize,
}

/// More about the tokens of an answer.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = ResponseTokensDetails)]
struct OutputTokensDetails {
    /// Those of the reasoning.
    reasoning_tokens: usize,
}

impl Head {
    pub(super) fn new(served: &Served, request: &ResponsesRequest) -> Self {
        let given = request.tool_choice.clone().filter(|choice| !choice.is_null());
        Self {
            id: new_id("resp_"),
            object: "response",
            created_at: now(),
            model: request.model.clone().unwrap_or_else(|| served.name().to_owned()),
            instructions: request.instructions.clone(),
            metadata: request.metadata.clone().unwrap_or_default(),
            max_output_tokens: request.max_output_tokens.and_then(|limit| limit.0),
            parallel_tool_calls: request.parallel_tool_calls.unwrap_or(true),
            temperature: 1.0,
            top_p: 1.0,
            tool_choice: given.unwrap_or_else(|| Value::from("auto")),
            tools: Vec::new(),
            text: TextObject::default(),
            reasoning: request.reasoning_object(),
            truncation: "disabled",
            previous_response_id: None,
            background: false,
            store: false,
            service_tier: "default",
            system_fingerprint: served.system_fingerprint.clone(),
            called: BTreeMap::new(),
        }
    }

    /// Adds what is known once the request has been read, and how tokens are chosen.
    pub(super) fn complete(&mut self, echo: Echo, sampling: Option<&Sampling>) {
        (self.text, self.tools, self.called) = (echo.text, echo.tools, echo.called);
        if let Some(sampling) = sampling {
            (self.temperature, self.top_p) = (sampling.temperature, sampling.top_p);
        }
    }
}

impl Head {
    /// What the client calls a function.
    pub(super) fn called(&self, shown: &str) -> Called {
        let own = || Called { name: shown.to_owned(), ..Called::default() };
        self.called.get(shown).cloned().unwrap_or_else(own)
    }

    /// Whether a tool takes free text.
    pub(super) fn is_custom(&self, shown: &str) -> bool {
        self.called.get(shown).is_some_and(|called| called.custom)
    }
}

/// The text in the arguments that a tool for free text is called with; none if they were cut off.
pub(super) fn free_text(arguments: &str) -> String {
    let arguments: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
    arguments.get(INPUT).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl TextObject {
    pub(super) fn new(format: FormatObject) -> Self {
        Self { format, verbosity: Verbosity::Medium }
    }
}

impl ContentPart {
    /// The text of a block; none for a call, which has arguments instead.
    pub(super) fn of(kind: &BlockKind, text: String) -> Option<Self> {
        match kind {
            BlockKind::Reasoning => Some(Self::ReasoningText { text }),
            BlockKind::Text => Some(Self::OutputText { text, annotations: [], logprobs: [] }),
            BlockKind::Call(_) => None,
        }
    }
}

/// The name of a block's item.
pub(super) fn item_id(head: &Head, block: &Block) -> String {
    let prefix = match &block.kind {
        BlockKind::Reasoning => "rs_",
        BlockKind::Text => "msg_",
        BlockKind::Call(name) if head.is_custom(name) => "ctc_",
        BlockKind::Call(_) => "fc_",
    };
    format!("{prefix}{}", block.id)
}

impl OutputItem {
    /// A block as it begins, without its text.
    pub(super) fn begun(head: &Head, block: &Block) -> Self {
        Self::new(head, block, None, "in_progress")
    }

    /// A block that is over.
    pub(super) fn done(head: &Head, block: &Block) -> Self {
        let status = if block.complete { "completed" } else { "incomplete" };
        Self::new(head, block, Some(block.text.clone()), status)
    }

    fn new(head: &Head, block: &Block, text: Option<String>, status: &'static str) -> Self {
        let id = item_id(head, block);
        let content =
            |text: Option<String>| text.and_then(|text| ContentPart::of(&block.kind, text));
        match &block.kind {
            BlockKind::Reasoning => {
                let content = content(text).into_iter().collect();
                Self::Reasoning { id, summary: [], content, status }
            }
            BlockKind::Text => {
                let content = content(text).into_iter().collect();
                Self::Message { id, role: "assistant", content, status }
            }
            BlockKind::Call(shown) => {
                let call_id = format!("call_{}", block.id);
                let Called { name, namespace, custom } = head.called(shown);
                let text = text.unwrap_or_default();
                match custom {
                    true => {
                        let input = free_text(&text);
                        Self::CustomToolCall { id, call_id, name, namespace, input, status }
                    }
                    false => {
                        let arguments = text;
                        Self::FunctionCall { id, call_id, name, namespace, arguments, status }
                    }
                }
            }
        }
    }
}

impl ResponseUsage {
    fn new(ending: &Ending) -> Self {
        let usage = ending.finish.usage;
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputTokensDetails {
                cached_tokens: usage.cached_tokens,
                cache_write_tokens: 0,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails {
                reasoning_tokens: ending.reasoning_tokens,
            },
            total_tokens: usage.prompt_tokens.saturating_add(usage.completion_tokens),
        }
    }
}

impl ResponseObject {
    /// An answer that has only begun.
    pub(super) fn begun(head: &Head) -> Self {
        Self {
            head: head.clone(),
            status: "in_progress",
            completed_at: None,
            error: None,
            incomplete_details: None,
            output: Vec::new(),
            usage: None,
        }
    }

    /// An answer whose blocks are all closed.
    pub(super) fn finished(head: &Head, blocks: &Blocks, ending: &Ending) -> Self {
        let cut = ending.end == TurnEnd::Length;
        Self {
            status: if cut { "incomplete" } else { "completed" },
            completed_at: (!cut).then(now),
            incomplete_details: cut.then_some(IncompleteObject { reason: "max_output_tokens" }),
            output: blocks.all().iter().map(|block| OutputItem::done(head, block)).collect(),
            usage: Some(ResponseUsage::new(ending)),
            ..Self::begun(head)
        }
    }

    /// An answer that failed on its way.
    pub(super) fn failed(head: &Head, blocks: &Blocks, error: &ApiError) -> Self {
        let code = if error.status().is_client_error() { "invalid_prompt" } else { "server_error" };
        Self {
            status: "failed",
            error: Some(FailureObject { code, message: error.detail().message.clone() }),
            output: blocks.all().iter().map(|block| OutputItem::done(head, block)).collect(),
            ..Self::begun(head)
        }
    }
}
