//! Errors of the hub.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::select::Unfit;

/// Why a model of a hub is not there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HubError {
    /// No variable says where models are kept.
    #[error(
        "no folder for downloaded models: set HF_HUB_CACHE or HF_HOME (HOME is not set either)"
    )]
    NoCacheFolder,
    /// The address of the hub is none.
    #[error("HF_ENDPOINT: `{endpoint}` is not an address that begins with http:// or https://")]
    InvalidEndpoint {
        /// What was given.
        endpoint: String,
    },
    /// The token cannot be sent.
    #[error(
        "HF_TOKEN (or the token file) holds characters that no token has: spaces, controls or non-ASCII"
    )]
    InvalidToken,
    /// The hub wants a token, or another one.
    #[error(
        "{endpoint} refuses `{model}` (status {status}{detail}): it is gated or private, or does not exist; {advice}"
    )]
    Refused {
        /// The hub.
        endpoint: String,
        /// The model.
        model: String,
        /// HTTP status: 401 or 403.
        status: u16,
        /// What the hub says about it.
        detail: String,
        /// What to do.
        advice: &'static str,
    },
    /// No such model, revision or file.
    #[error("{endpoint} has no {what} (status 404{detail})")]
    NotFound {
        /// The hub.
        endpoint: String,
        /// What was asked for.
        what: String,
        /// What the hub says about it.
        detail: String,
    },
    /// Any other refusal.
    #[error("{url}: the hub answers with status {status}{detail}")]
    Status {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
        /// What the hub says about it.
        detail: String,
    },
    /// No connection, or none that lasts.
    #[error("cannot reach the hub at {endpoint} (set by HF_ENDPOINT): {source}")]
    Unreachable {
        /// The hub.
        endpoint: String,
        /// Why.
        source: Box<ureq::Error>,
    },
    /// The server does not behave as a hub does.
    #[error("{url}: {message}")]
    BadReply {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        message: String,
    },
    /// The connection broke, again and again.
    #[error(
        "{file} of `{model}`: the download stopped after {done} of {total} bytes ({reason}); the next attempt goes on from there"
    )]
    Interrupted {
        /// The model.
        model: String,
        /// The file.
        file: String,
        /// Bytes in the cache.
        done: u64,
        /// Bytes needed.
        total: u64,
        /// Why.
        reason: String,
    },
    /// The bytes are not those that the hub announced.
    #[error(
        "{file} of `{model}`: the bytes received have the SHA-256 {found}, not {expected}; they were deleted, so try again"
    )]
    Corrupt {
        /// The model.
        model: String,
        /// The file.
        file: String,
        /// The hub's hash.
        expected: String,
        /// The hash of the bytes received.
        found: String,
    },
    /// The repository does not hold what is needed, or more than one model.
    #[error("`{model}` {unfit}")]
    Unfit {
        /// The model.
        model: String,
        /// What is wrong with it.
        unfit: Unfit,
    },
    /// The cache lacks something, and the hub is not to be asked.
    #[error(
        "`{model}`: {missing} is not in the cache ({}), and HF_HUB_OFFLINE forbids downloading it",
        cache.display()
    )]
    Offline {
        /// The model.
        model: String,
        /// The cache.
        cache: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HubError {
    /// Whether the same request may succeed a little later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } => true,
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
