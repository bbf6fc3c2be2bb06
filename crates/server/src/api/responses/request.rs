//! What is asked for.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Conversation, Exchange, Tool};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::api::chat::turn::{self, Prepared, Turn, local_time};
use crate::api::responses::input::Messages;
use crate::api::responses::object::{FormatObject, ReasoningObject, TextObject};
use crate::api::responses::tools::{FunctionObject, functions, tool_choice};
use crate::api::tools::ChoiceSchema;
use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{Item, MaxTokens, TextOrItems, generation_request, refuse_values};

/// What `include` may ask for: nothing that is ever left out of an answer here.
const INCLUDED: [&str; 7] = [
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
];

generation_request! {
    /// A conversation to be continued. It is sent whole, since nothing is stored.
    pub struct ResponsesRequest {
        /// The model; the one there is, if absent.
        pub model: Option<String>,
        /// The text of the user; or a list of items of the types `message` (parts of which are `input_text` or
        /// `output_text`), `function_call`, `function_call_output` and `reasoning`.
        #[schema(value_type = InputSchema)]
        pub input: Option<TextOrItems>,
        /// A system message before all others.
        pub instructions: Option<String>,
        /// The functions the model may call: `{"type": "function", "name", "description", "parameters", "strict"}`.
        /// OpenAI's own tools are not supported.
        #[schema(value_type = Option<Vec<Object>>)]
        pub tools: Option<Vec<Value>>,
        /// `auto`, `none`, `required`, or `{"type": "function", "name"}`.
        #[schema(value_type = Option<ChoiceSchema>)]
        pub tool_choice: Option<Value>,
        /// Whether several calls may be made at once; `true` if absent.
        pub parallel_tool_calls: Option<bool>,
        /// What the text must look like.
        pub text: Option<TextRequest>,
        /// The most tokens of the answer, the reasoning among them.
        #[schema(minimum = 1)]
        pub max_output_tokens: Option<u64>,
        /// How the model thinks.
        pub reasoning: Option<ReasoningRequest>,
        /// Notes that are told back.
        #[schema(value_type = Option<Object>)]
        pub metadata: Option<BTreeMap<String, String>>,
        /// What answers are to hold besides. Of OpenAI's values those are accepted that leave out nothing here.
        pub include: Option<Vec<String>>,
        /// Must be `disabled`: what does not fit is refused.
        #[schema(pattern = "^disabled$")]
        pub truncation: Option<String>,
        /// Answer with server-sent events.
        pub stream: Option<bool>,
        /// How they look.
        pub stream_options: Option<ResponseStreamOptions>,
        /// Must be `false` or absent: nothing is stored.
        pub store: Option<bool>,
        /// Must be `false`.
        pub background: Option<bool>,
        /// Must be null: nothing is stored.
        #[schema(value_type = Option<Object>)]
        pub previous_response_id: Option<Value>,
        /// Must be null: nothing is stored.
        #[schema(value_type = Option<Object>)]
        pub conversation: Option<Value>,
        /// Must be null: nothing is stored.
        #[schema(value_type = Option<Object>)]
        pub prompt: Option<Value>,
        /// Must be null: no conversation is shortened.
        #[schema(value_type = Option<Object>)]
        pub context_management: Option<Value>,
        /// Must be 0.
        #[schema(maximum = 0)]
        pub top_logprobs: Option<u64>,
        /// Must be null: it counts OpenAI's own tools.
        #[schema(value_type = Option<Object>)]
        pub max_tool_calls: Option<Value>,
        /// Must be `auto` or `default`.
        #[schema(pattern = "^(auto|default)$")]
        pub service_tier: Option<String>,
        /// Who asks. Not looked at.
        #[allow(dead_code)]
        pub user: Option<String>,
        /// Who asks. Not looked at.
        #[allow(dead_code)]
        pub safety_identifier: Option<String>,
        /// Not looked at: every prompt is looked up in the cache.
        #[allow(dead_code)]
        pub prompt_cache_key: Option<String>,
        /// Not looked at: prompts are kept while there is room.
        #[allow(dead_code)]
        pub prompt_cache_retention: Option<String>,
    }
}

/// A text, or items.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)]
pub(crate) enum InputSchema {
    /// The text of the user.
    Text(String),
    /// Items.
    #[schema(value_type = Vec<Object>)]
    Items(Vec<Map<String, Value>>),
}

/// How events look.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResponseStreamOptions {
    /// OpenAI's padding against guessing tokens by their length: `false`, there is none here.
    include_obfuscation: Option<bool>,
}

/// What the text must look like.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// `{"type": "text"}`, `{"type": "json_object"}` or `{"type": "json_schema", "name", "schema"}`.
    #[schema(value_type = Option<Object>)]
    format: Option<Value>,
    /// Must be `medium`.
    #[schema(pattern = "^medium$")]
    verbosity: Option<String>,
}

/// How the model thinks.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasoningRequest {
    /// How much, for models whose template knows; `none` where thinking can be turned off.
    pub(super) effort: Option<String>,
    /// Must be `auto`: the reasoning is told whole, and no summary made.
    pub(super) summary: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFormat {
    name: String,
    description: Option<String>,
    schema: Map<String, Value>,
    /// Whether it must be followed. It always is.
    strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// A grammar, and the parameter that asks for it.
type Form = (&'static str, Grammar);

fn unsupported(parameter: &str, message: String) -> ApiError {
    ApiError::parameter(parameter, message).with_code("unsupported_parameter")
}

/// Refuses a string that is none of those that mean what is done anyway.
fn only(parameter: &str, value: Option<&String>, allowed: &[&str]) -> Result<(), ApiError> {
    match value {
        Some(value) if !allowed.contains(&value.as_str()) => {
            let allowed = allowed.join("\" or \"");
            Err(unsupported(
                parameter,
                format!("{parameter} is {value:?}, but must be \"{allowed}\""),
            ))
        }
        _ => Ok(()),
    }
}

impl ResponsesRequest {
    /// Checks what needs no model.
    fn check(&self) -> Result<(), ApiError> {
        let stored = "nothing is stored, so send the conversation itself as input";
        refuse_values(
            "",
            &[
                ("previous_response_id", &self.previous_response_id, stored),
                ("conversation", &self.conversation, stored),
                ("prompt", &self.prompt, stored),
                ("context_management", &self.context_management, "no conversation is shortened"),
                ("max_tool_calls", &self.max_tool_calls, "it counts calls of OpenAI's own tools"),
            ],
        )?;
        for (parameter, value, why) in [
            ("store", self.store, "nothing is stored"),
            ("background", self.background, "an answer lives as long as its connection"),
            (
                "stream_options.include_obfuscation",
                self.stream_options.as_ref().and_then(|options| options.include_obfuscation),
                "no padding is added",
            ),
        ] {
            if value == Some(true) {
                let message = format!("{parameter} is true, but must be false: {why}");
                return Err(unsupported(parameter, message));
            }
        }
        if self.stream_options.is_some() && self.stream != Some(true) {
            let message = "stream_options is given, but stream is not true";
            return Err(ApiError::parameter("stream_options", message));
        }
        if let Some(top) = self.top_logprobs.filter(|top| *top > 0) {
            let message = format!("top_logprobs is {top}, but must be 0: use chat completions");
            return Err(unsupported("top_logprobs", message));
        }
        only("truncation", self.truncation.as_ref(), &["disabled"])?;
        only("service_tier", self.service_tier.as_ref(), &["auto", "default"])?;
        let verbosity = self.text.as_ref().and_then(|text| text.verbosity.as_ref());
        only("text.verbosity", verbosity, &["medium"])?;
        let summary = self.reasoning.as_ref().and_then(|reasoning| reasoning.summary.as_ref());
        only("reasoning.summary", summary, &["auto"])?;
        for (index, value) in self.include.iter().flatten().enumerate() {
            only(&format!("include[{index}]"), Some(value), &INCLUDED)?;
        }
        self.check_numbers()
    }

    fn check_numbers(&self) -> Result<(), ApiError> {
        if let Some(n) = self.n.filter(|n| *n != 1) {
            return Err(unsupported("n", format!("n is {n}, but must be 1: a response is one")));
        }
        if self.max_tokens.is_some() {
            let message = "max_tokens is not known here: it is called max_output_tokens";
            return Err(unsupported("max_tokens", message.to_owned()));
        }
        if self.max_output_tokens == Some(0) {
            let message = "max_output_tokens is 0, but must be 1 or more";
            return Err(ApiError::parameter("max_output_tokens", message));
        }
        Ok(())
    }

    /// What the text must look like: as it is told back, and as a grammar.
    fn format(&self) -> Result<(TextObject, Option<Form>), ApiError> {
        let format = self.text.as_ref().and_then(|text| text.format.clone());
        let Some(format) = format.filter(|format| !format.is_null()) else {
            return Ok((TextObject::default(), None));
        };
        let item = Item::new(format, "text.format".to_owned())?;
        let (format, grammar) = match item.kind.as_deref() {
            Some("text") => item.read::<NoFields>().map(|_| (FormatObject::Text, None))?,
            Some("json_object") => {
                item.read::<NoFields>()?;
                (FormatObject::JsonObject, Some(("text.format", Grammar::JsonObject)))
            }
            Some("json_schema") => {
                let SchemaFormat { name, description, schema, strict } = item.read()?;
                let grammar = Grammar::JsonSchema(Value::Object(schema.clone()));
                let strict = strict.unwrap_or(true);
                let format = FormatObject::JsonSchema { name, description, schema, strict };
                (format, Some(("text.format.schema", grammar)))
            }
            _ => return Err(item.refused("\"text\", \"json_object\" or \"json_schema\"")),
        };
        Ok((TextObject::new(format), grammar))
    }

    fn variables(&self, conversation: &Conversation) -> Result<Map<String, Value>, ApiError> {
        let effort = self.reasoning.as_ref().and_then(|reasoning| reasoning.effort.as_ref());
        let effort = effort.map(|effort| turn::effort(conversation, "reasoning.effort", effort));
        Ok(effort.transpose()?.map(|(name, value)| (name.to_owned(), value)).into_iter().collect())
    }

    /// As told back: how the model was to think.
    pub(super) fn reasoning_object(&self) -> ReasoningObject {
        let ReasoningRequest { effort, summary } = self.reasoning.clone().unwrap_or_default();
        ReasoningObject { effort, summary }
    }

    /// Makes the turn ready for the engine; also what of it is told back. Takes its time: to be called inside
    /// [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn prepare(mut self, state: &AppState) -> Result<(Prepared, Echo), ApiError> {
        self.check()?;
        let (text, content) = self.format()?;
        let tools = functions(self.tools.take().unwrap_or_default())?;
        let input = self.input.take().ok_or_else(|| {
            ApiError::parameter("input", "input is missing").with_code("missing_parameter")
        })?;
        let Messages { messages, places } = Messages::of(self.instructions.take(), input)?;
        if messages.is_empty() {
            let message = "input is empty, but must have one item or more";
            return Err(ApiError::parameter("input", message).with_code("invalid_value"));
        }
        let choice = tool_choice(self.tool_choice.as_ref())?;
        let mut exchange = Exchange::new(messages, local_time());
        exchange.choice = choice;
        exchange.tools = tools.iter().map(Tool::from).collect();
        exchange.variables = self.variables(state.conversation()?)?;
        let parameter = "max_output_tokens";
        let usual = || state.served().map(|served| served.max_tokens);
        let max_tokens = match self.max_output_tokens {
            Some(tokens) => MaxTokens::Explicit { parameter, tokens },
            None => usual()?.map_or(MaxTokens::Unlimited, MaxTokens::Usual),
        };
        let turn = Turn {
            exchange,
            parallel: self.parallel_tool_calls.unwrap_or(true),
            content,
            controls: self.controls(),
            max_tokens,
            logprobs: None,
            prompt_parameter: "input",
        };
        let prepared = turn.prepare(state).map_err(|error| in_our_words(error, &places))?;
        Ok((prepared, Echo { text, tools }))
    }
}

/// What is told back of a request once it has been read.
pub(super) struct Echo {
    pub(super) text: TextObject,
    pub(super) tools: Vec<FunctionObject>,
}

/// An error of the turn, which speaks as chat completions do.
fn in_our_words(error: ApiError, places: &[String]) -> ApiError {
    turn::renamed(error, places, "parameters")
        .renamed("messages", "input")
        .renamed("response_format", "text.format")
}
