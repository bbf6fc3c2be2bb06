//! Measurements on request: what compares this program with another one asks both in turn.

use crate::output;
use anyhow::Context;
use serde::Deserialize;
use serde_json::{Value, json};
use stablemate::{Bench, Measurement};
use std::io::BufRead;

/// One measurement.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Request {
    /// A prompt of so many tokens.
    Prefill { tokens: usize },
    /// So many tokens of each of so many sequences, after so many tokens of context.
    Decode {
        tokens: usize,
        #[serde(default = "one")]
        sequences: usize,
        #[serde(default)]
        depth: usize,
    },
    /// How fast memory is read.
    Bandwidth {},
    /// How much memory was taken.
    Memory {},
}

fn one() -> usize {
    1
}

/// Answers each line of standard input with one line, until it ends.
pub fn run(mut bench: Bench, load_seconds: f64) -> anyhow::Result<()> {
    let ready = json!({
        "ready": true,
        "load_seconds": load_seconds,
        "weights_bytes": bench.executor().weight_bytes(),
        "resident_bytes": stablemate::resident(),
    });
    output::write(&format!("{ready}\n"))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("cannot read a request from standard input")?;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => answer(&mut bench, request),
            Err(error) => json!({"error": format!("{line:?} is no request: {error}")}),
        };
        output::write(&format!("{answer}\n"))?;
    }
    Ok(())
}

fn answer(bench: &mut Bench, request: Request) -> Value {
    let measured = match request {
        Request::Prefill { tokens } => bench.prefill(tokens),
        Request::Decode { tokens, sequences, depth } => bench.decode(tokens, sequences, depth),
        Request::Bandwidth {} => match bench.read_bandwidth() {
            Ok(rate) => return json!({"bytes_per_second": rate}),
            Err(error) => Err(error),
        },
        Request::Memory {} => {
            let (peak, now) = (bench.peak_resident(), stablemate::resident());
            return json!({"peak_resident_bytes": peak, "resident_bytes": now});
        }
    };
    match measured {
        Ok(measurement) => report(&measurement),
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn report(measurement: &Measurement) -> Value {
    json!({
        "seconds": measurement.elapsed.as_secs_f64(),
        "tokens": measurement.tokens,
        "tokens_per_second": measurement.rate(),
    })
}
