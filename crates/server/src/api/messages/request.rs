//! What is asked for.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Exchange, Role};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::api::chat::turn::{self, Prepared, Turn, Wish, local_time};
use crate::api::messages::content::Messages;
use crate::api::messages::tools::{tool_choice, tools};
use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{Controls, Item, MaxTokens, OneOrMany, Reading, TextOrItems, TokenLimit, shown};

/// A conversation to be continued.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesRequest {
    /// The model; the one there is, if absent.
    pub(super) model: Option<String>,
    /// The conversation: `{"role", "content"}`, where content is a text or a list of blocks of the types `text`,
    /// `thinking`, `tool_use`, `tool_result`, and texts of `document` and `search_result`. If the last one is the
    /// assistant's, it is gone on with.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    /// Instructions: a text, or a list of blocks of the type `text`.
    #[schema(value_type = Option<SystemSchema>)]
    system: Option<TextOrItems>,
    /// The most tokens of the answer, the thinking among them: an upper bound, beyond which the context is one, too.
    #[schema(value_type = i64, minimum = 1)]
    max_tokens: TokenLimit,
    /// Answer with server-sent events.
    pub(super) stream: Option<bool>,
    /// The functions the model may call: `{"name", "description", "input_schema", "strict"}`. Anthropic's own tools
    /// are left out of the prompt.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `{"type": "auto"}`, `any`, `tool` with a `name`, or `none`; with `disable_parallel_tool_use`.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    /// Whether the model thinks first: `{"type": "enabled", "budget_tokens"}`, `adaptive` or `disabled`. As the model
    /// is used to, if absent, and where its template has nothing by which to tell.
    #[schema(value_type = Option<Object>)]
    thinking: Option<Value>,
    /// What the text must look like, and how much the model thinks.
    output_config: Option<OutputConfig>,
    /// The older place of `output_config.format`.
    #[schema(value_type = Option<Object>)]
    output_format: Option<Value>,
    /// The answer ends before one of these.
    stop_sequences: Option<Vec<String>>,
    /// Logits are divided by this; 0 chooses the most probable token.
    #[schema(minimum = 0, maximum = 1)]
    temperature: Option<f64>,
    /// Keep the fewest most probable tokens whose probabilities reach this sum.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    top_p: Option<f64>,
    /// Keep the `k` most probable tokens.
    #[schema(minimum = 0, format = "uint64")]
    top_k: Option<u64>,
}

/// A conversation whose tokens are to be counted.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountRequest {
    /// The model; the one there is, if absent.
    pub(super) model: Option<String>,
    /// As of `/v1/messages`.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    /// As of `/v1/messages`.
    #[schema(value_type = Option<SystemSchema>)]
    system: Option<TextOrItems>,
    /// As of `/v1/messages`.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// As of `/v1/messages`.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    /// As of `/v1/messages`.
    #[schema(value_type = Option<Object>)]
    thinking: Option<Value>,
    /// As of `/v1/messages`.
    output_config: Option<OutputConfig>,
    /// As of `/v1/messages`.
    #[schema(value_type = Option<Object>)]
    output_format: Option<Value>,
}

/// A text, or blocks.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub(crate) enum SystemSchema {
    /// A text.
    Text(String),
    /// Blocks.
    #[schema(value_type = Vec<Object>)]
    Blocks(Vec<Map<String, Value>>),
}

/// What the text must look like, and how much the model thinks.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputConfig {
    /// For models whose template knows.
    effort: Option<String>,
    /// `{"type": "json_schema", "schema"}`.
    #[schema(value_type = Option<Object>)]
    format: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFormat {
    schema: Map<String, Value>,
    #[allow(dead_code, reason = "a schema needs no name")]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingRequest {}

/// Whether the model is to think; `None` where it decides.
fn thinks(thinking: Option<Value>, reading: &Reading) -> Result<Option<bool>, ApiError> {
    let Some(thinking) = thinking.filter(|thinking| !thinking.is_null()) else { return Ok(None) };
    let item = Item::new(thinking, "thinking".to_owned())?;
    let wish = match item.kind.as_deref() {
        Some("enabled") => Some(true),
        Some("adaptive") => None,
        Some("disabled") => Some(false),
        _ => return Err(item.refused("\"enabled\", \"adaptive\" or \"disabled\"")),
    };
    let ThinkingRequest {} = item.read(reading)?;
    Ok(wish)
}

/// What both requests have: all that the prompt is made from.
struct Question {
    messages: Messages,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    wish: Wish,
    format: Option<Value>,
}

impl Question {
    fn turn(self, state: &AppState, reading: &Reading) -> Result<(Turn, Vec<String>), ApiError> {
        let Messages { messages, places } = self.messages;
        let Some(last) = messages.last() else {
            let message = "messages is empty, but must have one message or more";
            return Err(ApiError::parameter("messages", message).with_code("invalid_value"));
        };
        let continues = last.role == Role::Assistant;
        let tools = tools(self.tools.unwrap_or_default(), reading)?;
        let (choice, parallel) = tool_choice(self.tool_choice, reading)?;
        let content = format(self.format, reading)?;
        let conversation = state.conversation()?;
        let mut exchange = Exchange::new(messages, local_time());
        (exchange.tools, exchange.choice, exchange.continues) = (tools, choice, continues);
        let place = ("MessagesRequest", "thinking");
        exchange.variables.extend(self.wish.variables(conversation, place, reading)?);
        let turn = Turn {
            exchange,
            allowed: None,
            parallel,
            content,
            controls: Controls::default(),
            max_tokens: MaxTokens::Unlimited,
            logprobs: None,
            returns_ids: false,
            prompt_parameter: "messages",
        };
        Ok((turn, places))
    }
}

/// What the text must look like.
fn format(
    format: Option<Value>,
    reading: &Reading,
) -> Result<Option<(&'static str, Grammar)>, ApiError> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    let item = Item::new(format, "output_config.format".to_owned())?;
    if item.kind.as_deref() != Some("json_schema") {
        return Err(item.refused("\"json_schema\""));
    }
    let SchemaFormat { schema, .. } = item.read(reading)?;
    Ok(Some(("output_config.format.schema", Grammar::JsonSchema(Value::Object(schema)))))
}

impl MessagesRequest {
    /// How tokens are chosen.
    fn controls(&self) -> Result<Controls, ApiError> {
        if let Some(temperature) = self.temperature.filter(|t| !(0.0..=1.0).contains(t)) {
            let message = format!("temperature is {}, but must be from 0 to 1", shown(temperature));
            return Err(ApiError::parameter("temperature", message));
        }
        let top_k = self.top_k.map(|k| i64::try_from(k).unwrap_or(i64::MAX));
        let stop = self.stop_sequences.clone().map(OneOrMany::Many);
        let (temperature, top_p) = (self.temperature, self.top_p);
        Ok(Controls { temperature, top_p, top_k, stop, ..Controls::default() })
    }

    /// Makes the turn ready for the engine. Takes its time: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn prepare(self, state: &AppState, reading: &Reading) -> Result<Prepared, ApiError> {
        let controls = self.controls()?;
        if self.max_tokens == TokenLimit(Some(0)) {
            let message = "max_tokens is 0, but must be 1 or more";
            return Err(ApiError::parameter("max_tokens", message));
        }
        let OutputConfig { effort, format } = self.output_config.unwrap_or_default();
        let question = Question {
            messages: Messages::of(self.system, self.messages, reading)?,
            tools: self.tools,
            tool_choice: self.tool_choice,
            wish: Wish { effort, on: thinks(self.thinking, reading)? },
            format: format.or(self.output_format),
        };
        let (mut turn, places) = question.turn(state, reading)?;
        turn.controls = controls;
        turn.max_tokens = self.max_tokens.limit();
        turn.prepare(state, reading).map_err(|error| in_our_words(error, &places))
    }
}

impl CountRequest {
    /// The tokens of the prompt. Takes its time: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn count(self, state: &AppState, reading: &Reading) -> Result<usize, ApiError> {
        let OutputConfig { effort, format } = self.output_config.unwrap_or_default();
        let question = Question {
            messages: Messages::of(self.system, self.messages, reading)?,
            tools: self.tools,
            tool_choice: self.tool_choice,
            wish: Wish { effort, on: thinks(self.thinking, reading)? },
            format: format.or(self.output_format),
        };
        let (turn, places) = question.turn(state, reading)?;
        turn.count(state).map_err(|error| in_our_words(error, &places))
    }
}

/// An error of the turn, which speaks as chat completions do.
fn in_our_words(error: ApiError, places: &[String]) -> ApiError {
    turn::renamed(error, places, "input_schema")
        .renamed("stop", "stop_sequences")
        .renamed("response_format", "output_config.format")
}
