//! In: a chat template, messages with tools, and the text a model writes.
//! Out: a prompt, a grammar for what may be written, and the text taken apart into reasoning, content and calls.
//! Never: HTTP, the JSON of any interface, engines.

mod capabilities;
mod conversation;
mod error;
mod forgery;
mod format;
mod grammar;
mod message;
mod parser;
mod render;

pub use conversation::{Conversation, Exchange, Prompt, Thinking};
pub use error::ConversationError;
pub use format::ToolFormat;
pub use grammar::{Loosened, Output, Written};
pub use message::{Call, Message, Role, Tool, ToolChoice};
pub use parser::{Parser, Part};
