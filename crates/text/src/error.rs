//! What can go wrong between text and token ids.

use std::path::PathBuf;

/// Why a tokenizer could not be loaded, a text not be encoded, or a chat template not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file exists but could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file or its metadata says something that cannot be right.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file, or `GGUF`.
        origin: String,
        /// The key, the value found, and what would be right.
        message: String,
    },
    /// The tokenizer is of a kind that cannot be reproduced exactly here.
    #[error("{origin}: {message}")]
    Unsupported {
        /// The file, or `GGUF`.
        origin: String,
        /// The key, the value found, and which values are supported.
        message: String,
    },
    /// The tokenizer library could not encode a text.
    #[error("cannot encode a text of {bytes} bytes: {message}")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the library said.
        message: String,
    },
    /// A stop string of length zero, which every text contains.
    #[error("stop string {index} is empty: it would end every text before it begins")]
    EmptyStopString {
        /// Position in the given list.
        index: usize,
    },
    /// A chat template is not valid Jinja.
    #[error("chat template, line {line}: {message}")]
    TemplateSyntax {
        /// Line of the template source, from 1; 0 if unknown.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The template itself refused the conversation, by `raise_exception`.
    #[error("the chat template refuses this conversation: {message}")]
    TemplateRaised {
        /// The template's own words.
        message: String,
    },
    /// Rendering failed: an operation the template asked for is not possible with these messages.
    #[error("chat template, line {line}: {message}")]
    TemplateRender {
        /// Line of the template source, from 1; 0 if unknown.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// Rendering was stopped because it used more than it may.
    #[error("the chat template was stopped: it exceeded {limit} {unit}")]
    TemplateLimit {
        /// How much is allowed.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
}

impl Error {
    /// An [`Error::Invalid`] about `origin`.
    pub(crate) fn invalid(origin: &str, message: impl Into<String>) -> Error {
        Error::Invalid { origin: origin.to_owned(), message: message.into() }
    }

    /// An [`Error::Unsupported`] about `origin`.
    pub(crate) fn unsupported(origin: &str, message: impl Into<String>) -> Error {
        Error::Unsupported { origin: origin.to_owned(), message: message.into() }
    }
}
