//! What is asked for.

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Conversation, Exchange};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::api::chat::messages::{MessageRequest, ToolRequest, tool_choice, tools};
use crate::api::chat::turn::{self, Turn, local_time};
use crate::api::tools::{Choice, ChoiceSchema};
use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{
    MaxTokens, Reading, StreamOptions, StreamUsage, StructuredOutputs, TokenLimit,
    generation_request,
};

/// Variables that templates are given anyway, as transformers has it.
const OWN_VARIABLES: [&str; 5] =
    ["messages", "tools", "documents", "add_generation_prompt", "strftime_now"];

/// OpenAI's and vLLM's.
const MOST_LOGPROBS: u64 = 20;

generation_request! {
    /// A conversation to be continued.
    pub struct ChatRequest {
        /// The model; the one there is, if absent.
        pub model: Option<String>,
        /// The conversation so far.
        #[schema(value_type = Vec<MessageRequest>, min_items = 1)]
        pub messages: Option<Vec<MessageRequest>>,
        /// The functions the model may call; tools that the server would have to run are left out.
        #[schema(value_type = Option<Vec<ToolRequest>>)]
        pub tools: Option<Vec<Value>>,
        /// `auto`, `none`, `required`, the function to call, or `allowed_tools`.
        #[schema(value_type = Option<ChoiceSchema>)]
        pub tool_choice: Option<Value>,
        /// Whether several calls may be made at once; `true` if absent.
        pub parallel_tool_calls: Option<bool>,
        /// What the content must look like.
        pub response_format: Option<ResponseFormat>,
        /// What the content must look like, in vLLM's words.
        pub structured_outputs: Option<StructuredOutputs>,
        /// Say each token's log-probability.
        pub logprobs: Option<bool>,
        /// And so many of the most probable tokens'.
        #[schema(maximum = 20)]
        pub top_logprobs: Option<u64>,
        /// The most tokens of the answer, the reasoning among them; in place of `max_tokens`.
        #[schema(value_type = Option<i64>, minimum = -1)]
        pub max_completion_tokens: Option<TokenLimit>,
        /// Answer with server-sent events.
        pub stream: Option<bool>,
        /// What the stream says besides.
        pub stream_options: Option<StreamOptions>,
        /// Give back the ids of the prompt's tokens and of the answer's.
        pub return_token_ids: Option<bool>,
        /// How much to think: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`. Without effect where the
        /// template has nothing of the kind.
        pub reasoning_effort: Option<String>,
        /// The same, as OpenRouter writes it.
        pub reasoning: Option<ChatReasoning>,
        /// Whether to think, as DeepSeek writes it: `{"type": "enabled"}` or `disabled`.
        pub thinking: Option<ChatThinking>,
        /// Whether to think, as Qwen writes it.
        pub enable_thinking: Option<bool>,
        /// Variables for the chat template, such as `enable_thinking`.
        #[schema(value_type = Option<Object>)]
        pub chat_template_kwargs: Option<Map<String, Value>>,
        /// Whether an answer is to begin after the last message; `true` unless `continue_final_message` is.
        pub add_generation_prompt: Option<bool>,
        /// Go on with the last message, one of the assistant.
        pub continue_final_message: Option<bool>,
        /// Must be `["text"]`.
        #[schema(value_type = Option<Vec<Modality>>, min_items = 1, max_items = 1)]
        pub modalities: Option<Vec<String>>,
    }
}

/// How much to think.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatReasoning {
    /// As `reasoning_effort`.
    effort: Option<String>,
    /// Whether to think.
    enabled: Option<bool>,
}

/// Whether to think.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatThinking {
    /// `enabled`, `adaptive` or `disabled`.
    #[serde(rename = "type")]
    kind: ThinkingKind,
}

/// Whether to think.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThinkingKind {
    /// It thinks.
    Enabled,
    /// It thinks where it sees fit.
    Adaptive,
    /// As `adaptive`.
    Auto,
    /// It does not.
    Disabled,
}

/// What answers are made of.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[allow(dead_code)]
pub enum Modality {
    /// Text.
    Text,
}

/// What the content must look like.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    kind: FormatKind,
    /// The schema.
    json_schema: Option<NamedSchema>,
}

/// Kinds of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FormatKind {
    /// Anything.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON of a schema.
    JsonSchema,
}

/// A schema with a name.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NamedSchema {
    /// Its name. Not looked at.
    #[allow(dead_code)]
    name: Option<String>,
    /// What it is for. Not looked at.
    #[allow(dead_code)]
    description: Option<String>,
    /// The schema.
    #[schema(value_type = Option<Object>)]
    schema: Option<Value>,
    /// Whether it must be followed. It always is.
    #[allow(dead_code)]
    strict: Option<bool>,
}

fn missing(parameter: &str) -> ApiError {
    ApiError::parameter(parameter, format!("{parameter} is missing")).with_code("missing_parameter")
}

fn unsupported(parameter: &str, message: String) -> ApiError {
    ApiError::parameter(parameter, message).with_code("unsupported_parameter")
}

impl ChatRequest {
    /// Checks what needs no model.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.messages.as_ref().ok_or_else(|| missing("messages"))?.is_empty() {
            let message = "messages is empty, but must have one message or more";
            return Err(ApiError::parameter("messages", message).with_code("invalid_value"));
        }
        if let Some(kinds) = self.modalities.as_ref().filter(|kinds| *kinds != &["text"]) {
            let message = format!("modalities is {kinds:?}, but must be [\"text\"]");
            return Err(unsupported("modalities", message));
        }
        self.logprobs()?;
        self.usage().map(drop)
    }

    /// What a stream says of the usage.
    ///
    /// # Errors
    /// 400 for options without a stream.
    pub(super) fn usage(&self) -> Result<StreamUsage, ApiError> {
        StreamOptions::usage(self.stream_options.as_ref(), self.stream.unwrap_or(false))
    }

    fn logprobs(&self) -> Result<Option<usize>, ApiError> {
        let top = self.top_logprobs.unwrap_or(0);
        if top > MOST_LOGPROBS {
            let message = format!("top_logprobs is {top}, but may be {MOST_LOGPROBS} at most");
            return Err(ApiError::parameter("top_logprobs", message));
        }
        match self.logprobs.unwrap_or(false) {
            true => Ok(usize::try_from(top).ok()),
            false if top > 0 => {
                let message = format!("top_logprobs is {top}, but logprobs is not true");
                Err(ApiError::parameter("top_logprobs", message))
            }
            false => Ok(None),
        }
    }

    fn max_tokens(&self, state: &AppState) -> Result<MaxTokens, ApiError> {
        // A client that gives both means the same by them, or the smaller one.
        let given = [self.max_completion_tokens, self.max_tokens].into_iter().flatten();
        let least = given.min_by_key(|limit| limit.0.unwrap_or(u64::MAX));
        match least {
            Some(limit) => Ok(limit.limit()),
            None => {
                let usual = state.served()?.max_tokens;
                Ok(usual.map_or(MaxTokens::Unlimited, MaxTokens::Usual))
            }
        }
    }

    fn content(&self) -> Result<Option<(&'static str, Grammar)>, ApiError> {
        let format = self.response_format.as_ref().map(|format| match format.kind {
            FormatKind::Text => Ok::<_, ApiError>(None),
            FormatKind::JsonObject => Ok(Some(("response_format", Grammar::JsonObject))),
            FormatKind::JsonSchema => {
                let schema = format.json_schema.as_ref();
                let schema = schema.ok_or_else(|| missing("response_format.json_schema"))?;
                let parameter = "response_format.json_schema.schema";
                let schema = schema.schema.clone().ok_or_else(|| missing(parameter))?;
                Ok(Some((parameter, Grammar::JsonSchema(schema))))
            }
        });
        let format = format.transpose()?.flatten();
        if let Some(ResponseFormat { kind, json_schema: Some(_) }) = &self.response_format
            && *kind != FormatKind::JsonSchema
        {
            let parameter = "response_format.json_schema";
            let message = format!("{parameter} is given, but the type is not \"json_schema\"");
            return Err(ApiError::parameter(parameter, message));
        }
        let structured = self.structured_outputs.as_ref().map(StructuredOutputs::grammar);
        match (format, structured.transpose()?) {
            (Some(_), Some((parameter, _))) => {
                let message = "structured_outputs and response_format cannot both be given";
                Err(ApiError::parameter(parameter, message))
            }
            (format, structured) => Ok(format.or(structured)),
        }
    }

    /// The template's variables.
    fn variables(
        &self,
        conversation: &Conversation,
        reading: &Reading,
    ) -> Result<Map<String, Value>, ApiError> {
        let mut variables = self.chat_template_kwargs.clone().unwrap_or_default();
        if let Some(name) = OWN_VARIABLES.iter().find(|name| variables.contains_key(**name)) {
            let parameter = format!("chat_template_kwargs.{name}");
            let message = format!("{parameter} cannot be set: templates get {name} from elsewhere");
            return Err(ApiError::parameter(parameter, message).with_code("invalid_value"));
        }
        let wish = self.wish();
        turn::forget_reasoning(&mut variables, conversation, reading);
        for (name, value) in
            wish.variables(conversation, ("ChatRequest", "reasoning_effort"), reading)?
        {
            // The template's own words are the more exact ones.
            variables.entry(name).or_insert(value);
        }
        Ok(variables)
    }

    /// How the model is to think, in all the ways that clients say it.
    fn wish(&self) -> turn::Wish {
        let reasoning = self.reasoning.clone();
        let (effort, enabled) = reasoning.map_or((None, None), |r| (r.effort, r.enabled));
        let thinking = self.thinking.as_ref().and_then(|thinking| match thinking.kind {
            ThinkingKind::Enabled => Some(true),
            ThinkingKind::Disabled => Some(false),
            ThinkingKind::Adaptive | ThinkingKind::Auto => None,
        });
        turn::Wish {
            effort: self.reasoning_effort.clone().or(effort),
            on: self.enable_thinking.or(thinking).or(enabled),
        }
    }

    /// What is asked, in no dialect.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn turn(mut self, state: &AppState, reading: &Reading) -> Result<Turn, ApiError> {
        let conversation = state.conversation()?;
        let variables = self.variables(conversation, reading)?;
        let continues = self.continue_final_message.unwrap_or(false);
        if self.add_generation_prompt.unwrap_or(!continues) == continues {
            let message = "of add_generation_prompt and continue_final_message one must be true";
            return Err(ApiError::parameter("add_generation_prompt", message));
        }
        let messages = self.messages.take().unwrap_or_default().into_iter().enumerate();
        let messages = messages.map(|(index, message)| message.message(index, reading));
        let mut exchange = Exchange::new(messages.collect::<Result<_, _>>()?, local_time());
        let Choice { choice, allowed } = tool_choice(self.tool_choice.as_ref())?;
        exchange.choice = choice;
        exchange.tools = tools(self.tools.take().unwrap_or_default(), reading)?;
        exchange.variables = variables;
        exchange.continues = continues;
        Ok(Turn {
            exchange,
            allowed,
            parallel: self.parallel_tool_calls.unwrap_or(true),
            content: self.content()?,
            controls: self.controls(),
            max_tokens: self.max_tokens(state)?,
            logprobs: self.logprobs()?,
            returns_ids: self.return_token_ids.unwrap_or(false),
            prompt_parameter: "messages",
        })
    }
}
