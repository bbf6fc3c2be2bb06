//! Why a load could not be put on a server at all. What single requests met is a [`crate::Failure`] and is counted.

/// Why a load did not take place.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A parameter of the load makes no sense.
    #[error("{name} is {value}: {wanted}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What it is.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// Nobody answers at the URL.
    #[error("no server answers at {url}: {reason}")]
    Unreachable {
        /// The URL that was asked.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// Something answers, but not as a completion server does.
    #[error("{url} answered {status}: {message}")]
    Refused {
        /// The URL that was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        message: String,
    },
    /// An answer that cannot be read.
    #[error("{url} answered something else than expected: {reason}")]
    Unreadable {
        /// The URL that was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not one request of a measurement came through.
    #[error("{what}: none of the {requests} requests was answered; the first failure: {first}")]
    NothingMeasured {
        /// Which measurement.
        what: String,
        /// How many requests were sent.
        requests: usize,
        /// What the first one met.
        first: String,
    },
    /// The memory of a process cannot be read.
    #[error("the memory of process {process} cannot be read from {path}: {reason}")]
    Process {
        /// Its id.
        process: u32,
        /// The file that should say it.
        path: String,
        /// What went wrong.
        reason: String,
    },
}

/// An error about a parameter.
pub(crate) fn parameter(
    name: &'static str,
    value: impl std::fmt::Display,
    wanted: &'static str,
) -> LoadError {
    LoadError::Parameter { name, value: value.to_string(), wanted }
}
