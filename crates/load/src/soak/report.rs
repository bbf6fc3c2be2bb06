//! What a soak saw, and what of it is wrong.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::render::{self, Table, mebibytes};
use crate::{Gauges, Memory};

/// An answer that was another one alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The request's number, from 0.
    pub request: usize,
    /// Its temperature.
    pub temperature: f64,
    /// The text it got during the load.
    pub among_others: String,
    /// The text it got alone, or what went wrong.
    pub alone: String,
}

/// What a soak saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SoakReport {
    /// The server.
    pub url: String,
    /// The model.
    pub model: String,
    /// What everything random followed from.
    pub seed: u64,
    /// Requests in all.
    pub requests: usize,
    /// Answered completely.
    pub completed: usize,
    /// Whose clients left as they meant to.
    pub left: usize,
    /// The others, by status or kind.
    pub failures: BTreeMap<String, usize>,
    /// The first failure in words.
    pub first_failure: Option<String>,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Tokens of the complete answers.
    pub output_tokens: u64,
    /// The server's gauges before; `None` if it has no metrics.
    pub before: Option<Gauges>,
    /// The server's gauges after it came to rest, or did not.
    pub after: Option<Gauges>,
    /// Answers that were asked for again.
    pub compared: usize,
    /// Those that came out otherwise.
    pub differences: Vec<Difference>,
    /// The server's memory, if its process was given.
    pub memory: Option<Memory>,
    /// The growth that is not called a leak, in bytes.
    pub memory_growth_allowed: u64,
}

impl SoakReport {
    /// What the server did wrong, a sentence each; empty if all is well. What could not be seen (no metrics, no
    /// process) is no fault; [`SoakReport::unseen`] names it.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        // A full queue is an answer, and the right one.
        let failed: usize =
            self.failures.iter().filter(|(kind, _)| *kind != "429").map(|(_, count)| count).sum();
        if failed > 0 {
            let kinds: Vec<String> =
                self.failures.iter().map(|(kind, count)| format!("{count} × {kind}")).collect();
            faults.push(format!(
                "{failed} requests failed ({}); the first: {}",
                kinds.join(", "),
                self.first_failure.as_deref().unwrap_or("unknown")
            ));
        }
        if self.completed == 0 {
            faults.push("not one request was answered completely".to_owned());
        }
        if let Some(after) = &self.after {
            let named = [
                (after.running, "requests still run"),
                (after.waiting, "requests still wait"),
                (after.owned_blocks, "cache blocks are still owned"),
            ];
            let left = named.iter().filter_map(|(value, what)| Some((value.as_ref()?, what)));
            faults.extend(
                left.filter(|(value, _)| **value != 0.0)
                    .map(|(value, what)| format!("{value} {what} after the last client has gone")),
            );
            let before = self.before.and_then(|before| before.blocks);
            if let (Some(before), Some(after)) = (before, after.blocks)
                && before != after
            {
                faults.push(format!("there were {before} cache blocks, now there are {after}"));
            }
        } else if self.before.is_some() {
            faults.push("the server's metrics can no longer be read".to_owned());
        }
        if let Some(first) = self.differences.first() {
            faults.push(format!(
                "{} of {} answers are others when asked alone; the first is request {} (temperature {}): {:?} among others, {:?} alone",
                self.differences.len(),
                self.compared,
                first.request,
                first.temperature,
                first.among_others,
                first.alone
            ));
        }
        if let Some(memory) = &self.memory
            && memory.growth() > self.memory_growth_allowed
        {
            faults.push(format!(
                "resident memory grew by {} after the warm-up; {} are allowed",
                mebibytes(memory.growth()),
                mebibytes(self.memory_growth_allowed)
            ));
        }
        faults
    }

    /// What could not be watched.
    pub fn unseen(&self) -> Vec<&'static str> {
        let after = self.after.unwrap_or_default();
        let named = [
            (after.running.is_some(), "running requests"),
            (after.waiting.is_some(), "waiting requests"),
            (after.owned_blocks.is_some(), "owned cache blocks"),
            (self.memory.is_some(), "resident memory"),
        ];
        named.iter().filter(|(seen, _)| !seen).map(|(_, what)| *what).collect()
    }

    /// As JSON: the fields of this struct.
    pub fn json(&self) -> String {
        render::json(self)
    }

    /// As a Markdown table and a list of faults.
    pub fn markdown(&self) -> String {
        format!("{}\n{}", self.rows().markdown(), self.verdict())
    }

    /// As a table for a terminal and a list of faults.
    pub fn table(&self) -> String {
        format!("{}{}", self.rows().plain(), self.verdict())
    }

    fn verdict(&self) -> String {
        let mut text: String =
            self.faults().iter().map(|fault| format!("- fault: {fault}\n")).collect();
        if text.is_empty() {
            text += "- no faults\n";
        }
        let unseen = self.unseen();
        if !unseen.is_empty() {
            text += &format!("- not watched: {}\n", unseen.join(", "));
        }
        text
    }

    fn rows(&self) -> Table {
        let gauge = |value: Option<f64>| value.map_or("?".to_owned(), |value| value.to_string());
        let after = self.after.unwrap_or_default();
        let mut rows = vec![
            ("requests", self.requests.to_string()),
            ("answered completely", self.completed.to_string()),
            ("left early", self.left.to_string()),
            ("failed", self.failures.values().sum::<usize>().to_string()),
            ("seconds", format!("{:.1}", self.seconds)),
            ("tokens of complete answers", self.output_tokens.to_string()),
            ("answers compared", self.compared.to_string()),
            ("of these different", self.differences.len().to_string()),
            ("running at the end", gauge(after.running)),
            ("waiting at the end", gauge(after.waiting)),
            ("owned blocks at the end", gauge(after.owned_blocks)),
            ("blocks", gauge(after.blocks)),
        ];
        if let Some(memory) = &self.memory {
            rows.push(("memory at the start", mebibytes(memory.at_start)));
            rows.push(("memory after the warm-up", mebibytes(memory.warm)));
            rows.push(("highest memory", mebibytes(memory.highest)));
            rows.push(("memory at the end", mebibytes(memory.at_end)));
        }
        Table {
            header: vec!["soak", ""],
            rows: rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect(),
        }
    }
}
