//! What can be wrong with a grammar.

/// Why a vocabulary or a grammar cannot be used. A grammar that cannot be honoured exactly is never approximated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrammarError {
    /// No trie can be built from the tokenizer.
    #[error("no grammar can be used with this tokenizer: {message}")]
    Tokenizer {
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A JSON schema asks for something that is wrong, or that cannot be honoured exactly.
    #[error("JSON schema, at {pointer:?}: {keyword}: {message}")]
    Schema {
        /// JSON pointer (RFC 6901) of the sub-schema: `/properties/age`; empty for the whole schema.
        pointer: String,
        /// The keyword, the format or the type at fault: `not`, `minItems`; empty where no single one is.
        keyword: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A regular expression is wrong, or asks for what automata cannot do.
    #[error("regular expression: {message}")]
    Regex {
        /// What is wrong, and where.
        message: String,
    },
    /// A grammar is wrong.
    #[error("{format} grammar: {message}")]
    Grammar {
        /// The grammar's format: `Lark`, `GBNF`, `choice`.
        format: &'static str,
        /// What is wrong, and where.
        message: String,
    },
    /// A grammar is too large to be compiled or to be followed.
    #[error("the grammar is too large: {message}")]
    TooLarge {
        /// Which limit it exceeds.
        message: String,
    },
}
