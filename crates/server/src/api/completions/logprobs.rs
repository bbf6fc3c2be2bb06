//! Log-probabilities and prompts, as completions show them.

use serde::Serialize;
use serde_json::{Map, Value};
use stablemate_engine::Logprobs;
use utoipa::ToSchema;

use crate::api::prompt::Prompt;
use crate::error::ApiError;
use crate::generation::{Recipe, TokenLogprobs, TokenText};
use crate::state::AppState;

/// Tokens with their log-probabilities, as columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub(crate) struct LogprobsObject {
    /// How each reads; what is no text as `bytes:\xe6\x9d`.
    tokens: Vec<String>,
    /// Its log-probability; none for the first token of a prompt. Written with the digits of `top_logprobs`:
    /// clients compare the two.
    token_logprobs: Vec<Option<f64>>,
    /// The most probable tokens there, and the token itself.
    #[schema(value_type = Vec<Option<std::collections::HashMap<String, f32>>>)]
    top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Characters before it in the text.
    text_offset: Vec<usize>,
}

impl LogprobsObject {
    fn push(
        &mut self,
        text: &TokenText,
        offset: usize,
        logprob: Option<f32>,
        top: &[(TokenText, f32)],
    ) {
        let label = text.label();
        self.top_logprobs.push(logprob.map(|logprob| {
            let top = top.iter().map(|(text, logprob)| (text.label(), *logprob));
            // Of tokens that read alike, the more probable one comes first and stays.
            let mut map = Map::new();
            for (label, logprob) in top.chain([(label.clone(), logprob)]) {
                map.entry(label).or_insert_with(|| number(logprob));
            }
            map
        }));
        self.tokens.push(label);
        self.token_logprobs.push(logprob.map(|logprob| f64::from(finite(logprob))));
        self.text_offset.push(offset);
    }

    /// Adds tokens of an answer that follows so many characters.
    pub(super) fn extend(&mut self, tokens: &[TokenLogprobs], before: usize) {
        for TokenLogprobs { text, offset, logprob, top, .. } in tokens {
            self.push(text, before + offset, Some(*logprob), top);
        }
    }
}

/// JSON has no infinities: what is impossible is as improbable as a number can say, as in vLLM.
fn finite(logprob: f32) -> f32 {
    if logprob.is_finite() { logprob } else { -9999.0 }
}

fn number(logprob: f32) -> Value {
    Value::from(finite(logprob))
}

/// A prompt that is given back.
#[derive(Clone, Debug)]
pub(super) struct Echo {
    /// Its text.
    pub(super) text: String,
    /// Its characters.
    pub(super) characters: usize,
    /// Its tokens and the characters before each, if log-probabilities were asked for.
    tokens: Vec<(TokenText, usize)>,
    texts: Option<std::sync::Arc<crate::generation::TokenTexts>>,
}

impl Echo {
    pub(super) fn new(
        state: &AppState,
        prompt: &Prompt,
        recipe: &Recipe,
    ) -> Result<Self, ApiError> {
        let mut stream = state.tokenizer()?.stream(!recipe.keep_special);
        let texts = recipe.prompt_logprobs.map(|_| state.texts()).transpose()?;
        let (mut text, mut characters, mut tokens) = (String::new(), 0, Vec::new());
        for id in &prompt.ids {
            if let Some(texts) = &texts {
                tokens.push((texts.get(*id), characters));
            }
            let piece = stream.push(*id);
            characters += piece.chars().count();
            text.push_str(&piece);
        }
        text.push_str(&stream.finish());
        let text = prompt.text.clone().unwrap_or(text);
        Ok(Self { characters: text.chars().count(), text, tokens, texts })
    }

    /// Whether its log-probabilities are asked for.
    pub(super) fn has_logprobs(&self) -> bool {
        self.texts.is_some()
    }

    /// The columns of its tokens.
    pub(super) fn logprobs(&self, logprobs: &[Option<Logprobs>]) -> LogprobsObject {
        let mut columns = LogprobsObject::default();
        let Some(texts) = &self.texts else { return columns };
        for (index, (text, offset)) in self.tokens.iter().enumerate() {
            let found = logprobs.get(index).and_then(Option::as_ref);
            let top = found.iter().flat_map(|found| &found.top);
            let top: Vec<_> = top.map(|(id, logprob)| (texts.get(*id), *logprob)).collect();
            columns.push(text, *offset, found.map(|found| found.logprob), &top);
        }
        columns
    }
}
