//! One turn of a conversation: what all dialects of chat have in common.
//!
//! A handler turns its request into a [`Turn`], prepares it where that keeps nobody waiting, and submits the jobs:
//!
//! ```text
//! let prepared = state.blocking(move |state| turn.prepare(state)).await?;
//! let updates = submit(&state, &record, prepared.jobs)?;
//! ```
//!
//! For a whole answer, [`replies`], or [`follow`] where the order of its parts matters. For a stream, one [`Splitter`]
//! for each choice, which takes the updates of its job and gives back what is to be told.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde_json::{Map, Value};
use stablemate_conversation::{
    Conversation, ConversationError, Exchange, Loosened, Message, Output, Parser, Part, Prompt,
    Thinking, Tool, ToolChoice, Written,
};
use stablemate_grammar::{Grammar, GrammarError};
use stablemate_text::LocalTime;

use crate::error::ApiError;
use crate::generation::{Finish, Job, Recipe, TokenLogprobs, Update, Updates};
use crate::state::AppState;
use crate::wire::{Controls, MaxTokens, Reading};

/// What is asked of the model, in no dialect.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The conversation, its tools, and whether the model calls them.
    pub(crate) exchange: Exchange,
    /// The functions it may call of those it is shown; all of them, if absent.
    pub(crate) allowed: Option<BTreeSet<String>>,
    /// Whether it may make several calls.
    pub(crate) parallel: bool,
    /// What its content must look like, and the parameter that says so.
    pub(crate) content: Option<(&'static str, Grammar)>,
    /// The parameters that all generating requests have.
    pub(crate) controls: Controls,
    /// The most tokens of an answer, reasoning and calls among them.
    pub(crate) max_tokens: MaxTokens,
    /// Report the log-probabilities of the answer's tokens, and of so many of the most probable ones.
    pub(crate) logprobs: Option<usize>,
    /// Report the ids of the answer's tokens.
    pub(crate) returns_ids: bool,
    /// The parameter that the messages come from, for errors.
    pub(crate) prompt_parameter: &'static str,
}

/// A turn, ready for the engine.
pub(crate) struct Prepared {
    /// One for each choice.
    pub(crate) jobs: Vec<Job>,
    /// What takes the choices apart: each needs its own clone.
    pub(crate) splitter: Splitter,
}

/// Where conversations' clocks stand: servers tell the time in UTC.
pub(crate) fn local_time() -> LocalTime {
    LocalTime { time: SystemTime::now(), utc_offset_seconds: 0 }
}

impl Turn {
    /// Renders, tokenises, and compiles the grammars: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong: messages that the template refuses, tools that cannot be honoured, a
    /// prompt that is too long.
    pub(crate) fn prepare(
        &self,
        state: &AppState,
        reading: &Reading,
    ) -> Result<Prepared, ApiError> {
        let conversation = state.conversation()?;
        self.check_bytes(state)?;
        let prompt = conversation.prompt(&self.exchange).map_err(refused)?;
        let choice = &self.exchange.choice;
        let callable = self.callable()?;
        let grammar = self.grammar(state, &callable, prompt.thinking, reading)?;
        let calls = !callable.is_empty() && *choice != ToolChoice::None;
        let recipe = Recipe {
            controls: self.controls.clone(),
            max_tokens: self.max_tokens,
            prompt_parameter: self.prompt_parameter,
            logprobs: self.logprobs,
            prompt_logprobs: None,
            grammar,
            keep_special: conversation.has_special_marks(calls),
            returns_ids: self.returns_ids,
            reasoning: prompt.thinking,
        };
        let ids = self.encode(state, &prompt)?;
        let jobs = recipe.jobs(state, &ids)?;
        let splitter = Splitter::new(conversation.parser(&prompt, &callable, choice));
        Ok(Prepared { jobs, splitter })
    }

    /// The functions the model may call.
    fn callable(&self) -> Result<Vec<Tool>, ApiError> {
        let tools = &self.exchange.tools;
        let Some(allowed) = &self.allowed else { return Ok(tools.clone()) };
        let known = |name: &&String| tools.iter().any(|tool| tool.name == **name);
        if let Some(name) = allowed.iter().find(|name| !known(name)) {
            let message = format!("tool_choice allows {name:?}, which is none of the tools");
            return Err(ApiError::parameter("tool_choice", message).with_code("invalid_value"));
        }
        Ok(tools.iter().filter(|tool| allowed.contains(&tool.name)).cloned().collect())
    }

    /// What the model's text must look like, and the parameter that says so.
    fn grammar(
        &self,
        state: &AppState,
        tools: &[Tool],
        thinking: Thinking,
        reading: &Reading,
    ) -> Result<Option<(&'static str, Grammar)>, ApiError> {
        let choice = &self.exchange.choice;
        if self.content.is_none() && tools.is_empty() && *choice == ToolChoice::Auto {
            return Ok(None);
        }
        let content = self.content.as_ref();
        let grammars = state.grammars()?;
        if let Some((parameter, form)) = content {
            // A mistake in it is to be told by its own name, and not by that of the whole grammar.
            state.compile(parameter, form)?;
        }
        let form = content.map(|(_, grammar)| grammar);
        let output = Output { tools, choice, parallel: self.parallel, content: form, thinking };
        let Written { grammar, loosened } =
            state.conversation()?.grammar(&output, &grammars).map_err(refused)?;
        for Loosened { name, pointer, keyword, .. } in loosened {
            reading.warn(&format!(
                "the schema of the function {name} is followed as far as it can be: {keyword} at {pointer:?} is not"
            ));
            tracing::info!(function = ?name, pointer, keyword, "a schema is followed loosely");
        }
        let parameter = content.map_or("tools", |(parameter, _)| *parameter);
        Ok(grammar.map(|grammar| (parameter, grammar)))
    }

    /// Refuses a conversation whose texts alone have too many bytes for the context, before anything is made of them.
    fn check_bytes(&self, state: &AppState) -> Result<(), ApiError> {
        let of_message = |message: &Message| {
            let calls = message.calls.iter().map(|call| call.arguments.len());
            let texts = message.content.iter().map(String::len);
            // Templates show all of this, but often leave out reasoning.
            texts.chain(calls).fold(0_usize, usize::saturating_add)
        };
        let bytes = self.exchange.messages.iter().map(of_message);
        state.check_bytes(self.prompt_parameter, bytes.fold(0, usize::saturating_add))
    }

    fn encode(&self, state: &AppState, prompt: &Prompt) -> Result<Vec<u32>, ApiError> {
        let conversation = state.conversation()?;
        let tokenizer = state.tokenizer()?;
        let parse_special = state.options().parse_special;
        let encode = |text: &str| match parse_special {
            true => tokenizer.encode(text, false),
            false => conversation.encode(prompt),
        };
        state.encode(self.prompt_parameter, &prompt.text, encode)
    }

    /// The number of tokens of the prompt. Takes its time, as [`Self::prepare`].
    ///
    /// # Errors
    /// As [`Self::prepare`], where they come from the messages.
    pub(crate) fn count(&self, state: &AppState) -> Result<usize, ApiError> {
        self.check_bytes(state)?;
        let prompt = state.conversation()?.prompt(&self.exchange).map_err(refused)?;
        Ok(self.encode(state, &prompt)?.len())
    }

    /// The text of the prompt. Takes its time, as [`Self::prepare`].
    ///
    /// # Errors
    /// As [`Self::prepare`], where they come from the messages.
    pub(crate) fn text(&self, state: &AppState) -> Result<String, ApiError> {
        self.check_bytes(state)?;
        let prompt = state.conversation()?.prompt(&self.exchange).map_err(refused)?;
        Ok(prompt.text)
    }
}

/// A 400 that names the message, the tool or the variable at fault.
fn refused(error: ConversationError) -> ApiError {
    let message = error.to_string();
    let (parameter, code) = match &error {
        ConversationError::NoTemplate => {
            return ApiError::invalid(message).with_code("no_chat_template");
        }
        ConversationError::Message { index, .. } => (format!("messages[{index}]"), "invalid_value"),
        ConversationError::Tool { place, .. } => (place.clone(), "invalid_value"),
        ConversationError::Parameters { place, source, .. } => {
            let pointer = match source {
                GrammarError::Schema { pointer, .. } => pointer.as_str(),
                _ => "",
            };
            (format!("{place}.function.parameters{pointer}"), "invalid_grammar")
        }
        ConversationError::Choice { .. } => ("tool_choice".to_owned(), "invalid_value"),
        ConversationError::Variable { name } => {
            (format!("chat_template_kwargs.{name}"), "unknown_parameter")
        }
        ConversationError::Unsupported(_) => {
            ("response_format".to_owned(), "unsupported_parameter")
        }
        _ => ("messages".to_owned(), "invalid_conversation"),
    };
    ApiError::parameter(parameter, message).with_code(code)
}

/// An error of a turn in the words of another dialect: `places` are the parameters that the messages came from, and
/// `schema` is what a tool calls the schema of its arguments.
pub(crate) fn renamed(error: ApiError, places: &[String], schema: &str) -> ApiError {
    let parameter = error.detail().param.clone().unwrap_or_default();
    for (index, place) in places.iter().enumerate() {
        let from = format!("messages[{index}]");
        if parameter.starts_with(&from) {
            return error.renamed(&from, place);
        }
    }
    match parameter.split_once(".function.parameters") {
        Some((tool, _)) if tool.starts_with("tools[") => {
            error.renamed(&format!("{tool}.function.parameters"), &format!("{tool}.{schema}"))
        }
        _ => error,
    }
}

/// Why a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TurnEnd {
    /// The model had no more to say, or came upon what stops it.
    Stop,
    /// It had said all it may.
    Length,
    /// It waits for the results of its calls.
    Calls,
}

/// What happens in one choice, in order; [`Told::Finished`] is the last.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Told {
    /// More of the reasoning, the content or a call.
    Part(Part),
    /// Tokens with their log-probabilities, reasoning and marks among them. They come with the text that they begin
    /// in, or later.
    Tokens(Vec<TokenLogprobs>),
    /// The ids of the tokens that were made, if they were asked for.
    Ids(Vec<u32>),
    /// Nothing follows.
    Finished(Ending),
}

/// How a choice ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    /// Why.
    pub(crate) end: TurnEnd,
    /// How its job ended.
    pub(crate) finish: Finish,
    /// The tokens until the last of the reasoning came, marks among them. Where tokens are held back, because their
    /// text may begin a mark or a stop string, a few more.
    pub(crate) reasoning_tokens: usize,
}

/// Takes one choice apart as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Splitter {
    parser: Parser,
    /// Calls that are complete.
    calls: usize,
    /// See [`Ending`].
    reasoning_tokens: usize,
}

/// A whole turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    /// What the model thought; empty if it did not.
    pub(crate) reasoning: String,
    /// What it said; empty if it only called.
    pub(crate) content: String,
    /// Its calls. The arguments of the last one may be cut off if it ended by [`TurnEnd::Length`].
    pub(crate) calls: Vec<ReplyCall>,
    /// Its tokens, if log-probabilities were asked for.
    pub(crate) tokens: Vec<TokenLogprobs>,
    /// Their ids, if those were asked for.
    pub(crate) ids: Vec<u32>,
    /// How it ended.
    pub(crate) ending: Ending,
}

/// A call of a whole turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyCall {
    /// The function.
    pub(crate) name: String,
    /// JSON.
    pub(crate) arguments: String,
}

impl Splitter {
    fn new(parser: Parser) -> Splitter {
        Splitter { parser, calls: 0, reasoning_tokens: 0 }
    }

    /// What is to be told of an update of the choice's job.
    pub(crate) fn update(&mut self, update: Update) -> Vec<Told> {
        match update {
            Update::Delta(delta) => {
                let parts = self.parser.push(&delta.text);
                let tokens = (!delta.tokens.is_empty()).then_some(Told::Tokens(delta.tokens));
                let ids = (!delta.ids.is_empty()).then_some(Told::Ids(delta.ids));
                let told = tokens.into_iter().chain(ids);
                told.chain(self.parts(parts, delta.made)).collect()
            }
            Update::Finished(finish) => {
                let parts = self.parser.finish();
                let mut told = self.parts(parts, finish.usage.completion_tokens);
                let (end, reasoning_tokens) = (self.end(&finish), self.reasoning_tokens);
                told.push(Told::Finished(Ending { end, finish, reasoning_tokens }));
                told
            }
            Update::PromptLogprobs(_) | Update::Embedding(_) | Update::Failed(_) => Vec::new(),
        }
    }

    fn parts(&mut self, parts: Vec<Part>, made: usize) -> Vec<Told> {
        if parts.iter().any(|part| matches!(part, Part::Reasoning(_))) {
            self.reasoning_tokens = made;
        }
        let ended = parts.iter().filter(|part| matches!(part, Part::CallEnd { .. }));
        self.calls = self.calls.saturating_add(ended.count());
        parts.into_iter().map(Told::Part).collect()
    }

    fn end(&self, finish: &Finish) -> TurnEnd {
        match finish.reason.name() {
            "length" => TurnEnd::Length,
            _ if self.calls > 0 => TurnEnd::Calls,
            _ => TurnEnd::Stop,
        }
    }
}

/// Tells what happens in each choice, each with its own splitter, until all have ended.
///
/// # Errors
/// The first failure; the other jobs are cancelled.
pub(crate) async fn follow(
    mut updates: Updates,
    splitters: &mut [Splitter],
    mut tell: impl FnMut(usize, Told),
) -> Result<(), ApiError> {
    while let Some((index, update)) = updates.next().await {
        if let Update::Failed(failure) = update {
            return Err(failure.into());
        }
        let told = splitters.get_mut(index).map(|splitter| splitter.update(update));
        told.into_iter().flatten().for_each(|told| tell(index, told));
    }
    Ok(())
}

/// Waits for the whole turns of so many choices.
///
/// # Errors
/// As [`follow`].
pub(crate) async fn replies(
    updates: Updates,
    splitter: &Splitter,
    choices: usize,
) -> Result<Vec<Reply>, ApiError> {
    let mut drafts = vec![Draft::default(); choices];
    follow(updates, &mut vec![splitter.clone(); choices], |index, told| {
        if let Some(draft) = drafts.get_mut(index) {
            draft.take(told);
        }
    })
    .await?;
    let replies = drafts.into_iter().map(Draft::done).collect::<Option<_>>();
    replies.ok_or_else(|| ApiError::internal("an answer never ended"))
}

#[derive(Clone, Default)]
struct Draft {
    reasoning: String,
    content: String,
    calls: Vec<ReplyCall>,
    tokens: Vec<TokenLogprobs>,
    ids: Vec<u32>,
    ending: Option<Ending>,
}

impl Draft {
    fn take(&mut self, told: Told) {
        match told {
            Told::Tokens(tokens) => self.tokens.extend(tokens),
            Told::Ids(ids) => self.ids.extend(ids),
            Told::Finished(ending) => self.ending = Some(ending),
            Told::Part(Part::Reasoning(text)) => self.reasoning.push_str(&text),
            Told::Part(Part::Content(text)) => self.content.push_str(&text),
            Told::Part(Part::CallBegin { name, .. }) => {
                self.calls.push(ReplyCall { name, arguments: String::new() });
            }
            Told::Part(Part::CallArguments { text, .. }) => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(&text);
                }
            }
            Told::Part(Part::CallEnd { .. }) => {}
        }
    }

    fn done(self) -> Option<Reply> {
        let Draft { reasoning, content, calls, tokens, ids, ending } = self;
        ending.map(|ending| Reply { reasoning, content, calls, tokens, ids, ending })
    }
}

/// Words for how much a model is to think, from least to most.
const EFFORTS: [&str; 7] = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];

/// Variables by which templates are told whether and how much to think.
const REASONING: [&str; 5] =
    ["enable_thinking", "thinking", "reasoning_effort", "thinking_budget", "preserve_thinking"];

/// How a model is to think.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// How much.
    pub(crate) effort: Option<String>,
    /// Whether at all.
    pub(crate) on: Option<bool>,
}

impl Wish {
    /// The template's variables that say so. Without effect where the template has none.
    ///
    /// # Errors
    /// 400 for an effort that is none.
    pub(crate) fn variables(
        &self,
        conversation: &Conversation,
        (scope, field): (&'static str, &'static str),
        reading: &Reading,
    ) -> Result<Vec<(String, Value)>, ApiError> {
        let effort = self.effort.as_deref().filter(|effort| !["auto", "default"].contains(effort));
        if let Some(effort) = effort.filter(|effort| !EFFORTS.contains(effort)) {
            let message =
                format!("{field} is {effort:?}, but must be one of {}", EFFORTS.join(", "));
            return Err(ApiError::parameter(field, message).with_code("invalid_value"));
        }
        let mut variables = Vec::new();
        if let Some(effort) = effort.filter(|_| conversation.uses("reasoning_effort")) {
            let known = conversation.nearest(effort, &EFFORTS);
            variables.push(("reasoning_effort".to_owned(), Value::from(known)));
        }
        if let Some(on) = self.on.or(effort.map(|effort| effort != "none")) {
            let switch = ["enable_thinking", "thinking"].into_iter();
            let mut switch = switch.filter(|name| conversation.asks(name));
            variables.extend(switch.next().map(|name| (name.to_owned(), Value::from(on))));
        }
        if variables.is_empty() && (effort.is_some() || self.on.is_some()) {
            let reason =
                "this model's chat template has nothing by which to tell how much to think";
            reading.ignore(scope, field, reason);
        }
        Ok(variables)
    }
}

/// Takes the variables about reasoning out of those of a request that the template does not have.
pub(crate) fn forget_reasoning(
    variables: &mut Map<String, Value>,
    conversation: &Conversation,
    reading: &Reading,
) {
    for name in REASONING {
        if !conversation.uses(name) && variables.shift_remove(name).is_some() {
            let reason =
                "this model's chat template has nothing by which to tell how much to think";
            reading.ignore("chat_template_kwargs", name, reason);
        }
    }
}

impl AppState {
    /// How the model converses.
    ///
    /// # Errors
    /// 503 while it is being loaded, 400 if it has no template.
    pub(crate) fn conversation(&self) -> Result<&Conversation, ApiError> {
        self.served()?.conversation.as_ref().map_err(|reason| {
            let message = format!("this model cannot chat: {reason}");
            ApiError::invalid(message).with_code("no_chat_template")
        })
    }
}
