//! What is asked for.

use crate::api::prompt::{PromptSchema, Prompts};
use crate::error::ApiError;
use crate::generation::Recipe;
use crate::state::AppState;
use crate::wire::{
    MaxTokens, StreamOptions, StreamUsage, StructuredOutputs, TokenLimit, generation_request,
};
use stablemate_conversation::Thinking;

/// OpenAI's default.
const USUAL_TOKENS: usize = 16;

/// OpenAI allows 5, vLLM 20.
const MOST_LOGPROBS: u64 = 20;

generation_request! {
    /// Texts to be continued.
    pub struct CompletionRequest {
        /// The model; the one there is, if absent.
        pub model: Option<String>,
        /// One prompt or several, as texts or token ids.
        #[schema(value_type = PromptSchema)]
        pub prompt: Option<Prompts>,
        /// Answer with server-sent events.
        pub stream: Option<bool>,
        /// What the stream says besides.
        pub stream_options: Option<StreamOptions>,
        /// Give the prompt back before its continuation; with `logprobs` also those of its tokens.
        pub echo: Option<bool>,
        /// Say each token's log-probability and so many of the most probable tokens'.
        #[schema(maximum = 20)]
        pub logprobs: Option<u64>,
        /// Must be `n`: all answers are given back, none is chosen.
        #[schema(minimum = 1, maximum = 128)]
        pub best_of: Option<u64>,
        /// Not supported: must be absent or empty.
        pub suffix: Option<String>,
        /// Give back the ids of the prompt's tokens and of the answer's.
        pub return_token_ids: Option<bool>,
        /// What the answer must look like.
        pub structured_outputs: Option<StructuredOutputs>,
        /// Add the tokens that the model expects around a text; `true` if absent.
        pub add_special_tokens: Option<bool>,
        /// Leave special tokens out of the text; `true` if absent.
        pub skip_special_tokens: Option<bool>,
    }
}

/// The error of a request without a prompt.
pub(super) fn no_prompt() -> ApiError {
    ApiError::parameter("prompt", "prompt is missing").with_code("missing_parameter")
}

impl CompletionRequest {
    /// Checks what needs no model.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.prompt.is_none() {
            return Err(no_prompt());
        }
        let n = self.n.unwrap_or(1);
        if let Some(best_of) = self.best_of.filter(|best_of| *best_of != n) {
            let message = format!(
                "best_of is {best_of}, but must be {n}, as n is: all answers are given back"
            );
            return Err(ApiError::parameter("best_of", message));
        }
        if self.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
            let message = "suffix is not supported: it must be absent or empty";
            return Err(ApiError::parameter("suffix", message).with_code("unsupported_parameter"));
        }
        if let Some(logprobs) = self.logprobs.filter(|logprobs| *logprobs > MOST_LOGPROBS) {
            let message = format!("logprobs is {logprobs}, but may be {MOST_LOGPROBS} at most");
            return Err(ApiError::parameter("logprobs", message));
        }
        self.usage().map(drop)
    }

    /// What a stream says of the usage.
    ///
    /// # Errors
    /// 400 for options without a stream.
    pub(super) fn usage(&self) -> Result<StreamUsage, ApiError> {
        StreamOptions::usage(self.stream_options.as_ref(), self.stream.unwrap_or(false))
    }

    /// How the prompts are continued.
    ///
    /// # Errors
    /// 400 naming the parameter.
    pub(super) fn recipe(&self, state: &AppState) -> Result<Recipe, ApiError> {
        let usual = state.served()?.max_tokens.unwrap_or(USUAL_TOKENS);
        let logprobs = self.logprobs.and_then(|count| usize::try_from(count).ok());
        let structured = self.structured_outputs.as_ref().map(StructuredOutputs::grammar);
        let controls = self.controls();
        let max_tokens = controls.max_tokens.map_or(MaxTokens::Usual(usual), TokenLimit::limit);
        Ok(Recipe {
            controls,
            max_tokens,
            prompt_parameter: "prompt",
            logprobs,
            prompt_logprobs: logprobs.filter(|_| self.echo.unwrap_or(false)),
            grammar: structured.transpose()?,
            keep_special: !self.skip_special_tokens.unwrap_or(true),
            returns_ids: self.return_token_ids.unwrap_or(false),
            reasoning: Thinking::Never,
        })
    }
}
