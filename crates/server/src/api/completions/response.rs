//! What is answered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::completions::logprobs::{Echo, LogprobsObject};
use crate::api::{TimingsObject, UsageObject, new_id, now};
use crate::generation::{Answer, Finish, Stop};
use crate::options::Served;

/// What all objects of an answer begin with.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CompletionHead)]
pub(crate) struct Head {
    /// The answer's name.
    id: String,
    /// Always `text_completion`.
    object: &'static str,
    /// When it was begun, in seconds since 1970.
    created: u64,
    /// The model, as the request named it.
    model: String,
    /// Changes when answers may.
    system_fingerprint: String,
}

/// Continuations of texts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CompletionResponse {
    #[serde(flatten)]
    head: Head,
    /// `n` for each prompt, in order.
    choices: Vec<CompletionChoice>,
    /// Tokens of all.
    usage: UsageObject,
    /// Times, if there is but one choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsObject>,
}

/// A continuation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    /// Which.
    pub(super) index: usize,
    /// The text.
    pub(super) text: String,
    /// Of its tokens, if asked for.
    pub(super) logprobs: Option<LogprobsObject>,
    /// `stop` or `length`; none while a stream goes on.
    pub(super) finish_reason: Option<&'static str>,
    /// The stop string or the token of `stop_token_ids` that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stop_reason: Option<StopReason>,
    /// The ids of the prompt's tokens, if `return_token_ids` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_token_ids: Option<Vec<u32>>,
    /// The ids of its tokens, if `return_token_ids` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) token_ids: Option<Vec<u32>>,
}

/// What ended a text, as vLLM says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum StopReason {
    /// A stop string.
    Text(String),
    /// An end token.
    Token(u32),
}

impl From<Stop> for StopReason {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Text(text) => Self::Text(text),
            Stop::Token(id) => Self::Token(id),
        }
    }
}

impl Head {
    pub(super) fn new(served: &Served, model: Option<String>) -> Self {
        Self {
            id: new_id("cmpl-"),
            object: "text_completion",
            created: now(),
            model: model.unwrap_or_else(|| served.name().to_owned()),
            system_fingerprint: served.system_fingerprint.clone(),
        }
    }
}

/// A choice, and what it adds to the usage.
pub(super) struct Completion {
    choice: CompletionChoice,
    finish: Finish,
    first: bool,
}

impl Completion {
    /// The choice `index` of an answer; whether it is the `first` of its prompt; the ids of the prompt's tokens, if ids
    /// were asked for.
    pub(super) fn new(
        index: usize,
        first: bool,
        echo: Option<&Echo>,
        answer: Answer,
        prompt_token_ids: Option<Vec<u32>>,
    ) -> Self {
        let (mut text, mut before, mut logprobs) = (String::new(), 0, None);
        if let Some(echo) = echo {
            text.push_str(&echo.text);
            before = echo.characters;
            logprobs = echo.has_logprobs().then(|| echo.logprobs(&answer.prompt));
        }
        text.push_str(&answer.text);
        if !answer.tokens.is_empty() {
            logprobs.get_or_insert_default().extend(&answer.tokens, before);
        }
        let finish_reason = Some(answer.finish.reason.name());
        let stop_reason = answer.finish.stop.clone().map(StopReason::from);
        let token_ids = prompt_token_ids.is_some().then_some(answer.ids);
        let choice = CompletionChoice {
            index,
            text,
            logprobs,
            finish_reason,
            stop_reason,
            prompt_token_ids,
            token_ids,
        };
        Self { choice, finish: answer.finish, first }
    }
}

impl CompletionResponse {
    pub(super) fn new(head: Head, completions: Vec<Completion>) -> Self {
        let mut usage = UsageObject::default();
        for completion in &completions {
            usage.add(&completion.finish, completion.first);
        }
        let timings = match completions.as_slice() {
            [only] => Some(TimingsObject::new(&only.finish)),
            _ => None,
        };
        let choices = completions.into_iter().map(|completion| completion.choice).collect();
        Self { head, choices, usage, timings }
    }
}
