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

use std::time::SystemTime;

use serde_json::Value;
use stablemate_conversation::{
    Conversation, ConversationError, Exchange, Output, Parser, Part, ToolChoice,
};
use stablemate_grammar::{Grammar, GrammarError};
use stablemate_text::LocalTime;

use crate::error::ApiError;
use crate::generation::{Finish, Job, Recipe, TokenLogprobs, Update, Updates};
use crate::state::AppState;
use crate::wire::{Controls, MaxTokens};

/// What is asked of the model, in no dialect.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    /// The conversation, its tools, and whether the model calls them.
    pub(crate) exchange: Exchange,
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
    pub(crate) fn prepare(&self, state: &AppState) -> Result<Prepared, ApiError> {
        let conversation = state.conversation()?;
        let prompt = conversation.prompt(&self.exchange).map_err(refused)?;
        let Exchange { tools, choice, .. } = &self.exchange;
        let grammar = match (&self.content, tools.is_empty() && *choice == ToolChoice::Auto) {
            (None, true) => None,
            (content, _) => {
                let content = content.as_ref();
                let thinking = prompt.thinking;
                let form = content.map(|(_, grammar)| grammar);
                let output =
                    Output { tools, choice, parallel: self.parallel, content: form, thinking };
                let grammars = state.grammars()?;
                if let Some((parameter, form)) = content {
                    // A mistake in it is to be told by its own name, and not by that of the whole grammar.
                    state.compile(parameter, form)?;
                }
                let grammar = conversation.grammar(&output, &grammars).map_err(refused)?;
                let parameter = content.map_or("tools", |(parameter, _)| parameter);
                grammar.map(|grammar| (parameter, grammar))
            }
        };
        let recipe = Recipe {
            controls: self.controls.clone(),
            max_tokens: self.max_tokens,
            prompt_parameter: self.prompt_parameter,
            logprobs: self.logprobs,
            prompt_logprobs: None,
            grammar,
            keep_special: conversation
                .has_special_marks(!tools.is_empty() && *choice != ToolChoice::None),
        };
        let ids = encode(state, &prompt.text)?;
        let jobs = recipe.jobs(state, &ids)?;
        let splitter = Splitter::new(conversation.parser(&prompt, tools, choice));
        Ok(Prepared { jobs, splitter })
    }

    /// The number of tokens of the prompt. Takes its time, as [`Self::prepare`].
    ///
    /// # Errors
    /// As [`Self::prepare`], where they come from the messages.
    pub(crate) fn count(&self, state: &AppState) -> Result<usize, ApiError> {
        Ok(encode(state, &self.text(state)?)?.len())
    }

    /// The text of the prompt. Takes its time, as [`Self::prepare`].
    ///
    /// # Errors
    /// As [`Self::prepare`], where they come from the messages.
    pub(crate) fn text(&self, state: &AppState) -> Result<String, ApiError> {
        let prompt = state.conversation()?.prompt(&self.exchange).map_err(refused)?;
        Ok(prompt.text)
    }
}

fn encode(state: &AppState, prompt: &str) -> Result<Vec<u32>, ApiError> {
    Ok(state.tokenizer()?.encode(prompt, false)?)
}

/// A 400 that names the message, the tool or the variable at fault.
fn refused(error: ConversationError) -> ApiError {
    let message = error.to_string();
    let (parameter, code) = match &error {
        ConversationError::NoTemplate => {
            return ApiError::invalid(message).with_code("no_chat_template");
        }
        ConversationError::Message { index, .. } => (format!("messages[{index}]"), "invalid_value"),
        ConversationError::Tool { index, .. } => (format!("tools[{index}]"), "invalid_value"),
        ConversationError::Parameters { index, source, .. } => {
            let pointer = match source {
                GrammarError::Schema { pointer, .. } => pointer.as_str(),
                _ => "",
            };
            (format!("tools[{index}].function.parameters{pointer}"), "invalid_grammar")
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
                tokens.into_iter().chain(self.parts(parts, delta.made)).collect()
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
    ending: Option<Ending>,
}

impl Draft {
    fn take(&mut self, told: Told) {
        match told {
            Told::Tokens(tokens) => self.tokens.extend(tokens),
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
        let Draft { reasoning, content, calls, tokens, ending } = self;
        ending.map(|ending| Reply { reasoning, content, calls, tokens, ending })
    }
}

/// The template's variable for how much a model is to think, where a request says so in `parameter`.
///
/// # Errors
/// 400 if the template does not know.
pub(crate) fn effort(
    conversation: &Conversation,
    parameter: &str,
    effort: &str,
) -> Result<(&'static str, Value), ApiError> {
    if conversation.uses("reasoning_effort") {
        Ok(("reasoning_effort", Value::from(effort)))
    } else if conversation.uses("enable_thinking") && effort == "none" {
        Ok(("enable_thinking", Value::from(false)))
    } else {
        let message =
            format!("{parameter} is {effort:?}, but this model's chat template does not know it");
        Err(ApiError::parameter(parameter, message).with_code("unsupported_parameter"))
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
