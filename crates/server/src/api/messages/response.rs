//! What is answered.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::api::blocks::{Block, BlockKind, Blocks};
use crate::api::chat::turn::{Ending, TurnEnd};
use crate::api::new_id;
use crate::generation::Stop;
use crate::options::Served;

/// An answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MessageObject {
    /// The answer's name.
    id: String,
    /// `message`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `assistant`.
    role: &'static str,
    /// The model, as the request named it.
    model: String,
    /// Thinking, text and calls.
    content: Vec<ContentBlock>,
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`; null in a stream's beginning.
    stop_reason: Option<&'static str>,
    /// The one of `stop_sequences` that ended it.
    stop_sequence: Option<String>,
    /// Its tokens.
    usage: MessageUsage,
}

/// A piece of an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ContentBlock {
    /// What the model thought.
    Thinking {
        /// Its text.
        thinking: String,
        /// Always empty.
        signature: &'static str,
    },
    /// What it says.
    Text {
        /// The text.
        text: String,
    },
    /// A call.
    ToolUse {
        /// What its result must refer to.
        id: String,
        /// The function.
        name: String,
        /// Its arguments; empty if they were cut off, as `stop_reason` then tells.
        #[schema(value_type = Object)]
        input: Map<String, Value>,
    },
}

/// Tokens of a message. As Anthropic counts, the prompt has `input_tokens` + `cache_read_input_tokens` tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct MessageUsage {
    /// Of the prompt, without those found in the cache. In a stream's beginning, when that is not known, all of them.
    input_tokens: usize,
    /// Of the prompt, found in the cache.
    cache_read_input_tokens: usize,
    /// Always 0: prompts are kept as a matter of course, and this is not counted apart.
    cache_creation_input_tokens: usize,
    /// Of the answer.
    output_tokens: usize,
    /// More about them.
    output_tokens_details: OutputTokensDetails,
}

/// More about the tokens of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = MessageTokensDetails)]
struct OutputTokensDetails {
    /// Those of the thinking.
    thinking_tokens: usize,
}

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct CountObject {
    /// All of them.
    pub(super) input_tokens: usize,
}

/// Why an answer ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct StopObject {
    stop_reason: &'static str,
    stop_sequence: Option<String>,
}

impl StopObject {
    pub(super) fn new(ending: &Ending) -> Self {
        let (stop_reason, stop_sequence) = match (&ending.finish.stop, ending.end) {
            (Some(Stop::Text(text)), _) => ("stop_sequence", Some(text.clone())),
            (_, TurnEnd::Length) => ("max_tokens", None),
            (_, TurnEnd::Calls) => ("tool_use", None),
            (_, TurnEnd::Stop) => ("end_turn", None),
        };
        Self { stop_reason, stop_sequence }
    }
}

impl MessageUsage {
    pub(super) fn new(ending: &Ending) -> Self {
        let usage = ending.finish.usage;
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_tokens),
            cache_read_input_tokens: usage.cached_tokens,
            cache_creation_input_tokens: 0,
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputTokensDetails { thinking_tokens: ending.reasoning_tokens },
        }
    }
}

impl ContentBlock {
    /// A block as it begins.
    pub(super) fn begun(block: &Block) -> Self {
        Self::new(block, String::new(), Map::new())
    }

    fn done(block: &Block) -> Self {
        // What was cut off is no JSON.
        let input = serde_json::from_str(&block.text).unwrap_or_default();
        Self::new(block, block.text.clone(), input)
    }

    fn new(block: &Block, text: String, input: Map<String, Value>) -> Self {
        match &block.kind {
            BlockKind::Reasoning => Self::Thinking { thinking: text, signature: "" },
            BlockKind::Text => Self::Text { text },
            BlockKind::Call(name) => {
                Self::ToolUse { id: format!("toolu_{}", block.id), name: name.clone(), input }
            }
        }
    }
}

impl MessageObject {
    /// An answer that has only begun, to a prompt of so many tokens.
    pub(super) fn begun(served: &Served, model: Option<String>, prompt_tokens: usize) -> Self {
        Self {
            id: new_id("msg_"),
            kind: "message",
            role: "assistant",
            model: model.unwrap_or_else(|| served.name().to_owned()),
            content: Vec::new(),
            stop_reason: None,
            stop_sequence: None,
            usage: MessageUsage { input_tokens: prompt_tokens, ..MessageUsage::default() },
        }
    }

    /// The whole answer.
    pub(super) fn finished(self, blocks: &Blocks, ending: &Ending) -> Self {
        let StopObject { stop_reason, stop_sequence } = StopObject::new(ending);
        Self {
            content: blocks.all().iter().map(ContentBlock::done).collect(),
            stop_reason: Some(stop_reason),
            stop_sequence,
            usage: MessageUsage::new(ending),
            ..self
        }
    }
}
