//! What is noted of a request while it is answered.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

/// Warnings that a request's answer carries at most, and the letters of each.
const MOST_WARNINGS: usize = 16;
const LONGEST_WARNING: usize = 200;

/// What is noted of a request while it is answered, for its line in the log. Clones share it. A handler takes it as
/// an argument and passes it on with its jobs.
#[derive(Clone, Debug, Default)]
pub struct Record {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    prompt: AtomicU64,
    cached: AtomicU64,
    made: AtomicU64,
    warnings: Mutex<Vec<String>>,
}

impl Record {
    pub(crate) fn add_prompt(&self, tokens: usize, cached: usize) {
        self.counts.prompt.fetch_add(tokens as u64, Ordering::Relaxed);
        self.counts.cached.fetch_add(cached as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_token(&self) {
        self.counts.made.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the client something about its request that is no error, in a header of the answer.
    pub(crate) fn warn(&self, message: &str) {
        let printable = |letter: char| if matches!(letter, ' '..='~') { letter } else { '?' };
        let message: String = message.chars().take(LONGEST_WARNING).map(printable).collect();
        let mut warnings = self.counts.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if warnings.len() < MOST_WARNINGS && !warnings.contains(&message) {
            warnings.push(message);
        }
    }

    /// All that was told so.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.counts.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tokens of prompts, those of them from the cache, and tokens made.
    pub(crate) fn tokens(&self) -> (u64, u64, u64) {
        let Counts { prompt, cached, made, .. } = &*self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(prompt), read(cached), read(made))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Record {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}
