//! What is answered.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::chat::turn::{Ending, Reply, ReplyCall, TurnEnd};
use crate::api::{StopReason, TimingsObject, UsageObject, new_id, now};
use crate::generation::{TokenLogprobs, TokenText};
use crate::options::Served;

/// What all objects of an answer begin with.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ChatHead)]
pub(crate) struct Head {
    /// The answer's name.
    id: String,
    /// `chat.completion`, or `chat.completion.chunk` in a stream.
    object: &'static str,
    /// When it was begun, in seconds since 1970.
    created: u64,
    /// The model, as the request named it.
    model: String,
    /// Changes when answers may.
    system_fingerprint: String,
}

impl Head {
    pub(super) fn new(served: &Served, model: Option<String>, stream: bool) -> Self {
        Self {
            id: new_id("chatcmpl-"),
            object: if stream { "chat.completion.chunk" } else { "chat.completion" },
            created: now(),
            model: model.unwrap_or_else(|| served.name().to_owned()),
            system_fingerprint: served.system_fingerprint.clone(),
        }
    }
}

/// Answers in a conversation.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatResponse {
    #[serde(flatten)]
    head: Head,
    /// `n` of them.
    choices: Vec<ChatChoice>,
    /// Tokens of all.
    usage: UsageObject,
    /// Times, if there is but one choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<TimingsObject>,
    /// The ids of the prompt's tokens, if `return_token_ids` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_token_ids: Option<Vec<u32>>,
}

/// An answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    /// Which.
    index: usize,
    /// The assistant's message.
    message: ChatMessage,
    /// Of its tokens, if asked for.
    logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    finish_reason: &'static str,
    /// The stop string or the token of `stop_token_ids` that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_reason: Option<StopReason>,
    /// The ids of its tokens, if `return_token_ids` is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_ids: Option<Vec<u32>>,
}

/// The assistant's message.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ChatMessage {
    /// `assistant`.
    role: &'static str,
    /// What it says; none where it only calls.
    content: Option<String>,
    /// Always none.
    refusal: Option<String>,
    /// What it thought before.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    /// Its calls.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCallObject>,
}

/// A call.
#[derive(Clone, Debug, Serialize, ToSchema)]
struct ToolCallObject {
    /// What its result must refer to.
    id: String,
    /// `function`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// What is called.
    function: FunctionObject,
}

/// What is called.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CalledFunctionObject)]
struct FunctionObject {
    /// The function.
    name: String,
    /// Its arguments, as JSON in text.
    arguments: String,
}

/// Log-probabilities of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct ChatLogprobs {
    /// Of all tokens: reasoning and marks of calls among them.
    content: Vec<ChatToken>,
    /// Always none.
    #[schema(value_type = Option<Vec<Object>>)]
    refusal: Option<Vec<()>>,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
struct ChatToken {
    #[serde(flatten)]
    token: TokenObject,
    /// The most probable ones there.
    top_logprobs: Vec<TokenObject>,
}

/// A token and its log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = TokenLogprob)]
struct TokenObject {
    /// How it reads.
    token: String,
    /// Its log-probability.
    logprob: f32,
    /// Its bytes.
    bytes: Vec<u8>,
}

impl TokenObject {
    fn new(text: &TokenText, logprob: f32) -> Self {
        // JSON has no infinities.
        let logprob = if logprob.is_finite() { logprob } else { -9999.0 };
        Self { token: text.text.clone(), logprob, bytes: text.bytes.clone() }
    }
}

impl ChatLogprobs {
    /// Of these tokens; none if there are none.
    pub(super) fn of(tokens: &[TokenLogprobs]) -> Option<Self> {
        let content = tokens.iter().map(|token| ChatToken {
            token: TokenObject::new(&token.text, token.logprob),
            top_logprobs: token.top.iter().map(|(text, p)| TokenObject::new(text, *p)).collect(),
        });
        (!tokens.is_empty()).then(|| Self { content: content.collect(), refusal: None })
    }
}

/// OpenAI's word for an end.
pub(super) fn finish_reason(end: TurnEnd) -> &'static str {
    match end {
        TurnEnd::Stop => "stop",
        TurnEnd::Length => "length",
        TurnEnd::Calls => "tool_calls",
    }
}

/// A name for a call that no other has.
pub(super) fn call_id() -> String {
    new_id("call_")
}

impl From<ReplyCall> for ToolCallObject {
    fn from(ReplyCall { name, arguments }: ReplyCall) -> Self {
        Self { id: call_id(), kind: "function", function: FunctionObject { name, arguments } }
    }
}

impl ChatResponse {
    pub(super) fn new(head: Head, replies: Vec<Reply>, prompt_token_ids: Option<Vec<u32>>) -> Self {
        let mut usage = UsageObject::default();
        for (index, reply) in replies.iter().enumerate() {
            usage.add(&reply.ending.finish, index == 0);
            usage.add_reasoning(reply.ending.reasoning_tokens);
        }
        let timings = match replies.as_slice() {
            [only] => Some(TimingsObject::new(&only.ending.finish)),
            _ => None,
        };
        let choices = replies.into_iter().enumerate();
        let with_ids = prompt_token_ids.is_some();
        let choices =
            choices.map(|(index, reply)| ChatChoice::new(index, reply, with_ids)).collect();
        Self { head, choices, usage, timings, prompt_token_ids }
    }
}

impl ChatChoice {
    fn new(index: usize, reply: Reply, with_ids: bool) -> Self {
        let Reply { reasoning, content, calls, tokens, ids, ending } = reply;
        let Ending { end, finish, .. } = ending;
        let silent = content.is_empty() && !calls.is_empty();
        let message = ChatMessage {
            role: "assistant",
            content: (!silent).then_some(content),
            refusal: None,
            reasoning_content: (!reasoning.is_empty()).then_some(reasoning),
            tool_calls: calls.into_iter().map(ToolCallObject::from).collect(),
        };
        let stop_reason = finish.stop.map(StopReason::from);
        let logprobs = ChatLogprobs::of(&tokens);
        let token_ids = with_ids.then_some(ids);
        let finish_reason = finish_reason(end);
        Self { index, message, logprobs, finish_reason, stop_reason, token_ids }
    }
}
