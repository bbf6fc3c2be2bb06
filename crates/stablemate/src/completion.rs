//! Text as it is made.

use crate::Error;
use crate::executor::Executor;
use stablemate_engine::{FinishReason, Generation, Sampling};
use stablemate_text::{Detokenizer, StopStrings};
use std::time::{Duration, Instant};

/// How to continue a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// How tokens are chosen; greedily unless told otherwise.
    pub sampling: Sampling,
    /// The most tokens to make; `None`: until the model ends the text or the context is full.
    pub max_tokens: Option<usize>,
    /// Tokens that are made before the model may end the text.
    pub min_tokens: usize,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// Go on after end-of-sequence tokens.
    pub ignore_end: bool,
}

/// What one step added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The token, or `None` for text that was held back until the end.
    pub token: Option<u32>,
    /// Text that became certain: whole characters, not the beginning of a stop string. Empty without
    /// a tokenizer.
    pub text: String,
}

/// How long the parts took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// From asking for the first token to having it; compiling included.
    pub first_token: Duration,
    /// From the first token to the last.
    pub rest: Duration,
}

/// A continuation under way: an iterator over its pieces.
pub struct Completion<'m> {
    generation: Generation<'m, Executor>,
    prompt: Vec<u32>,
    detokenizer: Option<Detokenizer>,
    stops: StopStrings,
    flushed: bool,
    begin: Option<Instant>,
    timings: Timings,
}

impl<'m> Completion<'m> {
    pub(crate) fn new(
        generation: Generation<'m, Executor>,
        prompt: Vec<u32>,
        detokenizer: Option<Detokenizer>,
        stops: StopStrings,
    ) -> Self {
        let timings = Timings::default();
        Self { generation, prompt, detokenizer, stops, flushed: false, begin: None, timings }
    }

    /// The prompt's token ids.
    pub fn prompt_ids(&self) -> &[u32] {
        &self.prompt
    }

    /// Whether pieces carry text.
    pub fn has_text(&self) -> bool {
        self.detokenizer.is_some()
    }

    /// Why it ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.generation.finish_reason()
    }

    /// How long the parts took so far.
    pub fn timings(&self) -> Timings {
        self.timings
    }

    fn piece(&mut self, token: u32) -> Piece {
        let Some(detokenizer) = &mut self.detokenizer else {
            return Piece { token: Some(token), text: String::new() };
        };
        let found = self.stops.push(&detokenizer.push(token));
        if found.matched.is_some() {
            self.generation.finish(FinishReason::Stop);
        }
        Piece { token: Some(token), text: found.text }
    }

    /// Text that was held back, once nothing can follow it.
    fn flush(&mut self) -> Option<Piece> {
        if std::mem::replace(&mut self.flushed, true) {
            return None;
        }
        let rest = self.detokenizer.as_mut().map_or_else(String::new, Detokenizer::finish);
        let found = self.stops.push(&rest);
        let text = found.text + &self.stops.finish();
        (!text.is_empty()).then_some(Piece { token: None, text })
    }
}

impl Iterator for Completion<'_> {
    type Item = Result<Piece, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let Some(next) = self.generation.next() else { return self.flush().map(Ok) };
        let elapsed = begin.elapsed();
        if self.timings.first_token.is_zero() {
            self.timings.first_token = elapsed;
        }
        self.timings.rest = elapsed - self.timings.first_token;
        Some(next.map(|token| self.piece(token)).map_err(Error::from))
    }
}
