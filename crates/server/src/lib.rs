//! In: HTTP requests in OpenAI's or Anthropic's JSON, and an engine that runs a model.
//! Out: answers in OpenAI's or Anthropic's JSON, whole or as server-sent events; metrics; a page to chat with.
//! Never: loads a model, knows IREE or a device; wire types are derived nowhere else.

mod api;
mod encoding;
mod error;
mod generation;
mod half_closed;
mod layers;
mod listen;
mod metrics;
mod options;
mod sse;
mod state;
mod wire;

pub use listen::{ServeError, Stopper, serve};
pub use options::{Callbacks, Loading, Options, Served, Tls};
/// How a model converses: part of [`Served`].
pub use stablemate_conversation::Conversation;
