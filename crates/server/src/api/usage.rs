//! What answers of all dialects of OpenAI's tell besides the text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use utoipa::ToSchema;

use crate::generation::Finish;

/// Tokens of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageObject {
    /// Of the prompts.
    pub prompt_tokens: usize,
    /// Of all answers.
    pub completion_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
    /// More about the prompts.
    pub prompt_tokens_details: PromptTokensDetails,
    /// More about the answers, where they may begin with reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_tokens_details: Option<CompletionTokensDetails>,
}

/// More about the tokens of prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Those found in the cache.
    pub cached_tokens: usize,
}

/// More about the tokens of answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Those of the reasoning.
    pub reasoning_tokens: usize,
}

impl UsageObject {
    /// Of an answer that is still being made.
    pub fn so_far(prompt_tokens: usize, completion_tokens: usize) -> Self {
        let total_tokens = prompt_tokens.saturating_add(completion_tokens);
        Self { prompt_tokens, completion_tokens, total_tokens, ..Self::default() }
    }

    /// Adds an answer; its prompt counts only if it is the `first` one of it.
    pub fn add(&mut self, finish: &Finish, first: bool) {
        if first {
            self.prompt_tokens += finish.usage.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += finish.usage.cached_tokens;
        }
        self.completion_tokens += finish.usage.completion_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }

    /// Adds that so many tokens of an answer were reasoning.
    pub fn add_reasoning(&mut self, tokens: usize) {
        self.completion_tokens_details.get_or_insert_default().reasoning_tokens += tokens;
    }
}

/// How long an answer took, in llama.cpp's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TimingsObject {
    /// Tokens of the prompt found in the cache.
    pub cache_n: usize,
    /// Tokens of the prompt that were computed.
    pub prompt_n: usize,
    /// Milliseconds they took.
    pub prompt_ms: f64,
    /// Of them in a second.
    pub prompt_per_second: f64,
    /// Tokens of the answer.
    pub predicted_n: usize,
    /// Milliseconds they took, from the first one's arrival on.
    pub predicted_ms: f64,
    /// Of them in a second, not counting the first.
    pub predicted_per_second: f64,
    /// Milliseconds in the queue.
    pub queued_ms: f64,
}

impl TimingsObject {
    /// The times of an answer.
    pub fn new(finish: &Finish) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let rate = |count: usize, time: Duration| match time.as_secs_f64() {
            seconds if seconds > 0.0 => count as f64 / seconds,
            _ => 0.0,
        };
        let (usage, timings) = (finish.usage, finish.timings);
        let computed = usage.prompt_tokens.saturating_sub(usage.cached_tokens);
        Self {
            cache_n: usage.cached_tokens,
            prompt_n: computed,
            prompt_ms: milliseconds(timings.prompt),
            prompt_per_second: rate(computed, timings.prompt),
            predicted_n: usage.completion_tokens,
            predicted_ms: milliseconds(timings.predicted),
            predicted_per_second: rate(
                usage.completion_tokens.saturating_sub(1),
                timings.predicted,
            ),
            queued_ms: milliseconds(timings.queued),
        }
    }
}

/// A name for an answer that no other has.
pub(crate) fn new_id(prefix: &str) -> String {
    format!("{prefix}{}", uuid::Uuid::new_v4().simple())
}

/// The time in seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
