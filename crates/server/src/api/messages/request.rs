//! What is asked for.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Conversation, Exchange, Role};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::api::chat::turn::{self, Prepared, Turn, local_time};
use crate::api::messages::content::{CacheControl, Messages};
use crate::api::messages::tools::{tool_choice, tools};
use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{Controls, Item, MaxTokens, OneOrMany, TextOrItems, shown};

/// A conversation to be continued.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MessagesRequest {
    /// The model; the one there is, if absent.
    pub(super) model: Option<String>,
    /// The conversation: `{"role", "content"}`, where content is a text or a list of blocks of the types `text`,
    /// `thinking`, `tool_use` and `tool_result`. If the last one is the assistant's, it is gone on with.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Value>,
    /// Instructions: a text, or a list of blocks of the type `text`.
    #[schema(value_type = Option<SystemSchema>)]
    system: Option<TextOrItems>,
    /// The most tokens of the answer, the thinking among them.
    #[schema(minimum = 1)]
    max_tokens: u64,
    /// Answer with server-sent events.
    pub(super) stream: Option<bool>,
    /// The functions the model may call: `{"name", "description", "input_schema"}`. Anthropic's own tools are not
    /// supported.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// `{"type": "auto"}`, `any`, `tool` with a `name`, or `none`; with `disable_parallel_tool_use`.
    #[schema(value_type = Option<Object>)]
    tool_choice: Option<Value>,
    /// Whether the model thinks first: `{"type": "enabled", "budget_tokens"}`, `adaptive` or `disabled`. As the model
    /// is used to, if absent. The budget is an advice that is not given on: only `max_tokens` is a limit.
    #[schema(value_type = Option<Object>)]
    thinking: Option<Value>,
    /// What the text must look like, and how much the model thinks.
    output_config: Option<OutputConfig>,
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
    /// Who asks. Not looked at.
    #[allow(dead_code)]
    metadata: Option<Metadata>,
    /// Must be `auto` or `standard_only`.
    #[allow(dead_code)]
    service_tier: Option<ServiceTier>,
    /// Accepted, here and in blocks: every prompt is looked up in the cache.
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
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
    #[allow(dead_code)]
    cache_control: Option<CacheControl>,
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

/// Who asks.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// Who asks. Not looked at.
    #[allow(dead_code)]
    user_id: Option<String>,
}

/// How urgent it is: there is but one way.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ServiceTier {
    /// As it comes.
    Auto,
    /// As it comes.
    StandardOnly,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFormat {
    schema: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ThinkingRequest {
    budget_tokens: Option<u64>,
    display: Option<String>,
}

/// Whether the model is to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Usual,
    Enabled,
    Adaptive,
    Disabled,
}

fn unsupported(parameter: &str, message: &str) -> ApiError {
    ApiError::parameter(parameter, format!("{parameter} {message}"))
        .with_code("unsupported_parameter")
}

impl Wish {
    fn of(thinking: Option<Value>, max_tokens: Option<u64>) -> Result<Self, ApiError> {
        let Some(thinking) = thinking.filter(|thinking| !thinking.is_null()) else {
            return Ok(Self::Usual);
        };
        let item = Item::new(thinking, "thinking".to_owned())?;
        let wish = match item.kind.as_deref() {
            Some("enabled") => Self::Enabled,
            Some("adaptive") => Self::Adaptive,
            Some("disabled") => Self::Disabled,
            _ => return Err(item.refused("\"enabled\", \"adaptive\" or \"disabled\"")),
        };
        let ThinkingRequest { budget_tokens, display } = item.read()?;
        let parameter = "thinking.budget_tokens";
        match (wish, budget_tokens, max_tokens) {
            (Self::Enabled, None, _) => {
                let message = format!("{parameter} is missing");
                return Err(ApiError::parameter(parameter, message).with_code("missing_parameter"));
            }
            (Self::Enabled, Some(budget), Some(most)) if budget >= most => {
                let message =
                    format!("{parameter} is {budget}, but must be below max_tokens, {most}");
                return Err(ApiError::parameter(parameter, message));
            }
            (Self::Adaptive | Self::Disabled, Some(_), _) => {
                return Err(unsupported(parameter, "is given, but the type is not \"enabled\""));
            }
            _ => {}
        }
        match display.as_deref() {
            None | Some("summarized") => Ok(wish),
            Some(_) => {
                let message = "must be \"summarized\" or absent: what the model thinks is told";
                Err(unsupported("thinking.display", message))
            }
        }
    }

    /// The template's variable that says so, if it has one.
    fn variable(self, conversation: &Conversation) -> Result<Option<(String, Value)>, ApiError> {
        let switch = conversation.uses("enable_thinking");
        let set = |on: bool| Ok(Some(("enable_thinking".to_owned(), Value::from(on))));
        match self {
            Self::Enabled | Self::Adaptive if switch => set(true),
            Self::Disabled if switch => set(false),
            Self::Enabled if !conversation.reasons() => {
                let message = "is \"enabled\", but this model does not think: leave thinking out, or give \
                               {\"type\": \"disabled\"}";
                Err(unsupported("thinking.type", message))
            }
            Self::Disabled if conversation.reasons() => {
                let message = "is \"disabled\", but this model's chat template cannot turn it off";
                Err(unsupported("thinking.type", message))
            }
            Self::Usual | Self::Enabled | Self::Adaptive | Self::Disabled => Ok(None),
        }
    }
}

/// What both requests have: all that the prompt is made from.
struct Question {
    messages: Messages,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    wish: Wish,
    output_config: OutputConfig,
}

impl Question {
    fn turn(self, state: &AppState) -> Result<(Turn, Vec<String>), ApiError> {
        let Messages { messages, places } = self.messages;
        let Some(last) = messages.last() else {
            let message = "messages is empty, but must have one message or more";
            return Err(ApiError::parameter("messages", message).with_code("invalid_value"));
        };
        let continues = last.role == Role::Assistant;
        let tools = tools(self.tools.unwrap_or_default())?;
        let (choice, parallel) = tool_choice(self.tool_choice)?;
        let content = format(self.output_config.format)?;
        let conversation = state.conversation()?;
        let mut exchange = Exchange::new(messages, local_time());
        (exchange.tools, exchange.choice, exchange.continues) = (tools, choice, continues);
        exchange.variables.extend(self.wish.variable(conversation)?);
        if let Some(effort) = &self.output_config.effort {
            let (name, value) = turn::effort(conversation, "output_config.effort", effort)?;
            if exchange.variables.insert(name.to_owned(), value).is_some() {
                let message = "and thinking both say whether the model is to think: give one";
                return Err(unsupported("output_config.effort", message));
            }
        }
        let turn = Turn {
            exchange,
            parallel,
            content,
            controls: Controls::default(),
            max_tokens: MaxTokens::Unlimited,
            logprobs: None,
            prompt_parameter: "messages",
        };
        Ok((turn, places))
    }
}

/// What the text must look like.
fn format(format: Option<Value>) -> Result<Option<(&'static str, Grammar)>, ApiError> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(None) };
    let item = Item::new(format, "output_config.format".to_owned())?;
    if item.kind.as_deref() != Some("json_schema") {
        return Err(item.refused("\"json_schema\""));
    }
    let SchemaFormat { schema } = item.read()?;
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
    pub(super) fn prepare(self, state: &AppState) -> Result<Prepared, ApiError> {
        let controls = self.controls()?;
        if self.max_tokens == 0 {
            let message = "max_tokens is 0, but must be 1 or more";
            return Err(ApiError::parameter("max_tokens", message));
        }
        let question = Question {
            messages: Messages::of(self.system, self.messages)?,
            tools: self.tools,
            tool_choice: self.tool_choice,
            wish: Wish::of(self.thinking, Some(self.max_tokens))?,
            output_config: self.output_config.unwrap_or_default(),
        };
        let (mut turn, places) = question.turn(state)?;
        turn.controls = controls;
        turn.max_tokens = MaxTokens::Explicit { parameter: "max_tokens", tokens: self.max_tokens };
        turn.prepare(state).map_err(|error| in_our_words(error, &places))
    }
}

impl CountRequest {
    /// The tokens of the prompt. Takes its time: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn count(self, state: &AppState) -> Result<usize, ApiError> {
        let question = Question {
            messages: Messages::of(self.system, self.messages)?,
            tools: self.tools,
            tool_choice: self.tool_choice,
            wish: Wish::of(self.thinking, None)?,
            output_config: self.output_config.unwrap_or_default(),
        };
        let (turn, places) = question.turn(state)?;
        turn.count(state).map_err(|error| in_our_words(error, &places))
    }
}

/// An error of the turn, which speaks as chat completions do.
fn in_our_words(error: ApiError, places: &[String]) -> ApiError {
    turn::renamed(error, places, "input_schema")
        .renamed("stop", "stop_sequences")
        .renamed("response_format", "output_config.format")
}
