//! From prompts to text: what all generating endpoints have in common.
//!
//! A handler makes [`Job`]s, [`submit`]s them, and reads [`Updates`]. Dropping those, be it with the handler's future
//! or with the body of a stream, cancels the jobs: the engine notices at its next step.

mod answers;
mod gate;
mod job;
mod output;
mod prefixes;
mod texts;

pub use answers::{Answer, Updates};
pub use job::{Job, Recipe, submit, submit_embeddings};
pub use output::{Delta, Finish, Stop, TokenLogprobs, Update};
pub use prefixes::Prefixes;
pub use texts::{TokenText, TokenTexts};
