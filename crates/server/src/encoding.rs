//! Texts to tokens, at a cost that is known before.
//!
//! Encoding takes up to a hundred times the memory of the text. So a text that cannot fit is refused by its bytes, or by
//! the tokens of its beginning, and what is encoded at the same time is bounded.

use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

use stablemate_text::Tokenizer;

use crate::error::ApiError;
use crate::state::AppState;

/// Bytes that are encoded at the same time; a longer text is encoded alone.
const MOST_AT_ONCE: usize = 1 << 20;

/// A text of so many bytes is encoded whatever the context, where no context is to hold it.
const ALWAYS: usize = 1 << 20;

/// Bytes for each token of the context that the beginning of a text has, whose tokens are counted first. Texts have
/// three to five.
const BEGINNING: usize = 8;

/// Shorter texts are encoded at once.
const SHORT: usize = 64 << 10;

/// What is being encoded.
#[derive(Default)]
pub(crate) struct Encodings {
    bytes: Mutex<usize>,
    freed: Condvar,
    longest: OnceLock<usize>,
}

/// A text's turn to be encoded.
struct Turn<'e> {
    encodings: &'e Encodings,
    bytes: usize,
}

impl Encodings {
    /// Waits for room; to be called where waiting keeps nobody waiting.
    fn begin(&self, bytes: usize) -> Turn<'_> {
        let mut under_way = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        while *under_way > 0 && under_way.saturating_add(bytes) > MOST_AT_ONCE {
            under_way = self.freed.wait(under_way).unwrap_or_else(PoisonError::into_inner);
        }
        *under_way = under_way.saturating_add(bytes);
        Turn { encodings: self, bytes }
    }

    /// Bytes of the longest token.
    fn longest(&self, tokenizer: &Tokenizer) -> usize {
        *self.longest.get_or_init(|| {
            let ids = (0..tokenizer.vocabulary_size()).filter_map(|id| u32::try_from(id).ok());
            let lengths = ids.filter_map(|id| tokenizer.token_bytes(id)).map(|bytes| bytes.len());
            lengths.max().unwrap_or(1).max(1)
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut under_way = self.encodings.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        *under_way = under_way.saturating_sub(self.bytes);
        self.encodings.freed.notify_all();
    }
}

fn too_long(parameter: &str, tokens: usize, context: usize) -> ApiError {
    let message = format!(
        "the prompt has {tokens} tokens or more, but the context holds {context}, the answer included"
    );
    ApiError::parameter(parameter, message).with_code("context_length_exceeded")
}

impl AppState {
    /// Refuses a text of so many bytes if no tokens could write it in the context.
    ///
    /// # Errors
    /// 400 with both numbers.
    pub(crate) fn check_bytes(&self, parameter: &str, bytes: usize) -> Result<(), ApiError> {
        let context = self.served()?.engine.context();
        let least = bytes / self.encodings().longest(self.tokenizer()?);
        if least > context { Err(too_long(parameter, least, context)) } else { Ok(()) }
    }

    /// Encodes a text that the context must hold. Takes its time: to be called inside [`AppState::blocking`].
    ///
    /// # Errors
    /// 400 naming `parameter`, with both numbers if the text is too long.
    pub(crate) fn encode(
        &self,
        parameter: &str,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, stablemate_text::Error>,
    ) -> Result<Vec<u32>, ApiError> {
        self.check_bytes(parameter, text.len())?;
        let context = self.served()?.engine.context();
        let wrong = |error| ApiError::from(error).with_parameter(parameter);
        let beginning = context.saturating_mul(BEGINNING).max(SHORT);
        if text.len() > beginning.saturating_mul(2) {
            let end = (0..=beginning).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
            let beginning = text.get(..end).unwrap_or_default();
            let _turn = self.encodings().begin(beginning.len());
            let tokens = self.tokenizer()?.encode(beginning, false).map_err(wrong)?.len();
            // The last tokens may be others where the text goes on.
            if tokens > context.saturating_add(context / 8).saturating_add(64) {
                return Err(too_long(parameter, tokens, context));
            }
        }
        let _turn = self.encodings().begin(text.len());
        encode(text).map_err(wrong)
    }

    /// Encodes a text that need not fit, if it is not much too long for that.
    ///
    /// # Errors
    /// As [`AppState::encode`].
    pub(crate) fn encode_any(
        &self,
        parameter: &str,
        text: &str,
        encode: impl Fn(&str) -> Result<Vec<u32>, stablemate_text::Error>,
    ) -> Result<Vec<u32>, ApiError> {
        if text.len() > ALWAYS {
            return self.encode(parameter, text, encode);
        }
        let _turn = self.encodings().begin(text.len());
        encode(text).map_err(|error| ApiError::from(error).with_parameter(parameter))
    }
}
