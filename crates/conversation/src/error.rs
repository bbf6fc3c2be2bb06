//! What can be wrong with a conversation.

use stablemate_grammar::GrammarError;

/// Why a conversation has no prompt, or its answer no grammar.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversationError {
    /// The model comes without a chat template and none was given.
    #[error("the model has no chat template: give one, or ask for a completion of a plain prompt")]
    NoTemplate,
    /// The template is broken, or refuses these messages.
    #[error(transparent)]
    Template(#[from] stablemate_text::Error),
    /// A message that is no message.
    #[error("messages[{index}]: {message}")]
    Message {
        /// Position in the list of messages.
        index: usize,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// A tool that cannot be called.
    #[error("{place}: the function {name:?}: {message}")]
    Tool {
        /// Where it stands in the request.
        place: String,
        /// The function's name.
        name: String,
        /// What is wrong, and what would be right.
        message: String,
    },
    /// The parameters of a tool cannot be turned into a grammar.
    #[error("{place}: the parameters of the function {name:?}: {source}")]
    Parameters {
        /// Where it stands in the request.
        place: String,
        /// The function's name.
        name: String,
        /// What is wrong, with the JSON pointer into the parameters.
        source: GrammarError,
    },
    /// A call is required that no tool can answer.
    #[error("the tool choice asks for {wanted}, but the tools are [{known}]")]
    Choice {
        /// The name asked for, or "any function".
        wanted: String,
        /// The names there are.
        known: String,
    },
    /// A template variable that this template does not read.
    #[error("the chat template does not use the variable {name:?}")]
    Variable {
        /// The variable's name.
        name: String,
    },
    /// A wish for the text that cannot be combined with this model's reasoning.
    #[error("{0}")]
    Unsupported(String),
}
