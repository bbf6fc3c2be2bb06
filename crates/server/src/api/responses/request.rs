//! What is asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use stablemate_conversation::{Exchange, ToolChoice};
use stablemate_grammar::Grammar;
use utoipa::ToSchema;

use crate::api::chat::turn::{self, Prepared, Turn, Wish, local_time};
use crate::api::responses::input::Messages;
use crate::api::responses::object::{FormatObject, ReasoningObject, TextObject};
use crate::api::responses::tools::{Called, ToolObject, Tools, tool_choice};
use crate::api::tools::{Choice, ChoiceSchema};
use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{Item, MaxTokens, Reading, TextOrItems, TokenLimit, generation_request};

/// What `include` may ask for: nothing that is ever left out of an answer here.
const INCLUDED: [&str; 9] = [
    "web_search_call.results",
    "code_interpreter_call.results",
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
        /// The functions the model may call: `{"type": "function", "name", "description", "parameters", "strict"}`; also
        /// `custom`, whose calls are free text, and `namespace`, which is flattened. OpenAI's own tools are left out.
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
        #[schema(value_type = Option<i64>, minimum = -1)]
        pub max_output_tokens: Option<TokenLimit>,
        /// How the model thinks.
        pub reasoning: Option<ReasoningRequest>,
        /// Notes that are told back.
        #[schema(value_type = Option<Object>)]
        pub metadata: Option<BTreeMap<String, String>>,
        /// What answers are to hold besides. Of OpenAI's values those are accepted that leave out nothing here.
        pub include: Option<Vec<String>>,
        /// `disabled` or `auto`: what does not fit is refused with either.
        #[schema(pattern = "^(auto|disabled)$")]
        pub truncation: Option<String>,
        /// Answer with server-sent events.
        pub stream: Option<bool>,
        /// How they look.
        pub stream_options: Option<ResponseStreamOptions>,
        /// Must be 0.
        #[schema(maximum = 0)]
        pub top_logprobs: Option<u64>,
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
#[serde(rename = "StreamOptions")]
pub struct ResponseStreamOptions {}

/// What the text must look like.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextRequest {
    /// `{"type": "text"}`, `{"type": "json_object"}` or `{"type": "json_schema", "name", "schema"}`.
    #[schema(value_type = Option<Object>)]
    format: Option<Value>,
}

/// How the model thinks.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasoningRequest {
    /// How much: `none`, `minimal`, `low`, `medium`, `high`, `xhigh` or `max`. Without effect where the template has
    /// nothing of the kind.
    pub(super) effort: Option<String>,
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
        if self.stream_options.is_some() && self.stream != Some(true) {
            let message = "stream_options is given, but stream is not true";
            return Err(ApiError::parameter("stream_options", message));
        }
        if let Some(top) = self.top_logprobs.filter(|top| *top > 0) {
            let message = format!("top_logprobs is {top}, but must be 0: use chat completions");
            return Err(unsupported("top_logprobs", message));
        }
        only("truncation", self.truncation.as_ref(), &["disabled", "auto"])?;
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
        if self.max_output_tokens == Some(TokenLimit(Some(0))) {
            let message = "max_output_tokens is 0, but must be 1 or more";
            return Err(ApiError::parameter("max_output_tokens", message));
        }
        Ok(())
    }

    /// What the text must look like: as it is told back, and as a grammar.
    fn format(&self, reading: &Reading) -> Result<(TextObject, Option<Form>), ApiError> {
        let format = self.text.as_ref().and_then(|text| text.format.clone());
        let Some(format) = format.filter(|format| !format.is_null()) else {
            return Ok((TextObject::default(), None));
        };
        let item = Item::new(format, "text.format".to_owned())?;
        let (format, grammar) = match item.kind.as_deref() {
            Some("text") => item.read::<NoFields>(reading).map(|_| (FormatObject::Text, None))?,
            Some("json_object") => {
                item.read::<NoFields>(reading)?;
                (FormatObject::JsonObject, Some(("text.format", Grammar::JsonObject)))
            }
            Some("json_schema") => {
                let SchemaFormat { name, description, schema, strict } = item.read(reading)?;
                let grammar = Grammar::JsonSchema(Value::Object(schema.clone()));
                let strict = strict.unwrap_or(true);
                let format = FormatObject::JsonSchema { name, description, schema, strict };
                (format, Some(("text.format.schema", grammar)))
            }
            _ => return Err(item.refused("\"text\", \"json_object\" or \"json_schema\"")),
        };
        Ok((TextObject::new(format), grammar))
    }

    /// As told back: how the model was to think.
    pub(super) fn reasoning_object(&self) -> ReasoningObject {
        let effort = self.reasoning.clone().and_then(|reasoning| reasoning.effort);
        ReasoningObject { effort, summary: None }
    }

    /// Makes the turn ready for the engine; also what of it is told back. Takes its time: to be called inside
    /// [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn prepare(
        mut self,
        state: &AppState,
        reading: &Reading,
    ) -> Result<(Prepared, Echo), ApiError> {
        self.check()?;
        let (text, content) = self.format(reading)?;
        let tools = Tools::of(self.tools.take().unwrap_or_default(), reading)?;
        let input = self.input.take().ok_or_else(|| {
            ApiError::parameter("input", "input is missing").with_code("missing_parameter")
        })?;
        let instructions = self.instructions.take();
        let Messages { messages, places } = Messages::of(instructions, input, &tools, reading)?;
        if messages.is_empty() {
            let message = "input is empty, but must have one item or more";
            return Err(ApiError::parameter("input", message).with_code("invalid_value"));
        }
        let Choice { choice, allowed } = tool_choice(self.tool_choice.as_ref())?;
        let mut exchange = Exchange::new(messages, local_time());
        exchange.choice = match choice {
            ToolChoice::Named(name) => ToolChoice::Named(tools.shown_name(&name, None)),
            choice => choice,
        };
        exchange.tools.clone_from(&tools.shown);
        let effort = self.reasoning.take().and_then(|reasoning| reasoning.effort);
        let place = ("ReasoningRequest", "effort");
        let wish = Wish { effort, on: None };
        let variables = wish.variables(state.conversation()?, place, reading);
        exchange.variables.extend(variables.map_err(|e| e.renamed("effort", "reasoning.effort"))?);
        let usual = || state.served().map(|served| served.max_tokens);
        let max_tokens = match self.max_output_tokens {
            Some(limit) => limit.limit(),
            None => usual()?.map_or(MaxTokens::Unlimited, MaxTokens::Usual),
        };
        let shown = |names: BTreeSet<String>| {
            names.into_iter().map(|name| tools.shown_name(&name, None)).collect()
        };
        let turn = Turn {
            exchange,
            allowed: allowed.map(shown),
            parallel: self.parallel_tool_calls.unwrap_or(true),
            content,
            controls: self.controls(),
            max_tokens,
            logprobs: None,
            returns_ids: false,
            prompt_parameter: "input",
        };
        let prepared =
            turn.prepare(state, reading).map_err(|error| in_our_words(error, &places))?;
        Ok((prepared, Echo { text, tools: tools.objects, called: tools.called }))
    }
}

/// What is told back of a request once it has been read.
pub(super) struct Echo {
    pub(super) text: TextObject,
    pub(super) tools: Vec<ToolObject>,
    /// What the client calls the functions that the model is shown.
    pub(super) called: BTreeMap<String, Called>,
}

/// An error of the turn, which speaks as chat completions do.
fn in_our_words(error: ApiError, places: &[String]) -> ApiError {
    turn::renamed(error, places, "parameters")
        .renamed("messages", "input")
        .renamed("response_format", "text.format")
}
