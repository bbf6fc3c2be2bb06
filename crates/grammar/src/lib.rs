//! In: a tokenizer, and a JSON schema, a regular expression or a grammar.
//! Out: a `Constraint` of the engine, which says after every token which tokens may follow.
//! Never: HTTP, models.

mod error;
mod follow;
mod grammars;
mod lark;
mod pattern;
mod schema;
mod vocabulary;

pub use error::GrammarError;
pub use grammars::{Grammar, Grammars};
