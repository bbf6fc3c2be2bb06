//! What is happening while a caller waits.

use std::sync::Arc;

/// A step of something that takes time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of a file downloaded so far.
    Download {
        /// File name.
        file: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Bytes of the compiler unpacked so far.
    Install {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Bytes of weights read so far.
    Load {
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A step is being compiled.
    CompileBegin {
        /// Which: `step of 16 tokens`.
        what: String,
    },
    /// A step has been compiled.
    CompileEnd {
        /// Which.
        what: String,
    },
}

/// Receives progress, from any thread.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;
