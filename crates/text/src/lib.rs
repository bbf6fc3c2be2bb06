//! In: `tokenizer.json` and the files beside it, or GGUF metadata; text, token ids, messages.
//! Out: token ids ↔ text (streamed, too), stop strings found, messages → prompt.
//! Never: knows a model's weights, a device, HTTP, or the time.

mod chat;
mod decoder;
mod definition;
mod directory;
mod error;
mod gguf;
mod pending;
mod stop;
mod tokenizer;

pub use chat::{ChatInput, ChatTemplate, LocalTime};
pub use error::Error;
pub use stop::{StopStrings, StopText};
pub use tokenizer::{Detokenizer, Tokenizer};
