//! In: the URL of a completion server, and a description of load.
//! Out: what was measured: rates, latencies, errors, leaks; as values, JSON, a table or Markdown.
//! Never: knows a model, the engine or IREE; it sees a server only through HTTP, as any client does.
//!
//! Four loads: [`sweep`] (throughput and latency by number of clients), [`steady`] (do running streams keep
//! their pace while long prompts arrive), [`prefix`] (what a shared prefix saves) and [`soak`] (many requests
//! with random departures: nothing may leak, and every answer must be what it is alone).
//!
//! Prompts are random token ids, so their lengths are exact for every model. They follow from the seed alone,
//! never from timing. A server that remembers prefixes has seen the prompts of an earlier run with the same seed.

mod client;
mod error;
mod metrics;
mod prefix;
mod prompts;
mod render;
mod soak;
mod sse;
mod statistics;
mod steady;
mod sweep;

pub use client::{Answer, Client, Completion, Departure, Dialect, Failure, Target, Usage};
pub use error::LoadError;
pub use metrics::{Gauges, Metrics};
pub use prefix::{Prefix, PrefixPair, PrefixReport, prefix};
pub use prompts::{Lengths, Prompts, TokenIds};
pub use soak::{Difference, Memory, Soak, SoakReport, soak};
pub use statistics::Quantiles;
pub use steady::{Steady, SteadyReport, steady};
pub use sweep::{Level, Sweep, SweepReport, sweep};

/// How far a load has come; handed to the caller's observer from any thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress<'text> {
    /// What is being done, in words.
    pub label: &'text str,
    /// Requests that have ended.
    pub done: usize,
    /// Requests in all; 0 where that is not known.
    pub total: usize,
}

/// Who wants to know how far a load has come.
pub type Observer<'observer> = &'observer (dyn Fn(Progress<'_>) + Sync);
