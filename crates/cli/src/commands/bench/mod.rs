//! `stablemate bench`

mod session;
mod table;

use crate::arguments::{BenchArguments, ModelArgument, ReportFormat};
use crate::environment::Environment;
use crate::output;
use serde_json::{Value, json};
use stablemate::{Bench, Measurement, Preparation};

pub fn run(arguments: &BenchArguments, environment: &Environment) -> anyhow::Result<()> {
    if let Some(server) = &arguments.server.server {
        anyhow::ensure!(arguments.model.is_empty(), "give a model or --server, not both");
        return super::load::bench(server, &arguments.server, arguments.output, environment);
    }
    let mut options = arguments.load.clone();
    let (sequences, tokens) = room(arguments);
    options.ctx_size = Some(options.ctx_size.unwrap_or(0).max(tokens));
    let model = environment.load(&ModelArgument { model: arguments.model.clone() }, &options)?;
    let load_seconds = model.load_time().as_secs_f64();
    let bench = Bench::new(model, sequences, tokens)?;
    if arguments.session {
        return session::run(bench, load_seconds);
    }
    let report = measure(bench, arguments, load_seconds)?;
    environment.bars.clear();
    output::write(&match arguments.output {
        ReportFormat::Json => format!("{report}\n"),
        ReportFormat::Table => table::plain(&report),
        ReportFormat::Markdown => table::markdown(&report),
    })
}

/// Sequences and tokens of each that the measurements need.
fn room(arguments: &BenchArguments) -> (usize, usize) {
    let most = |values: &[usize]| values.iter().copied().max().unwrap_or(0);
    let tokens = most(&arguments.prompt).max(most(&arguments.depth) + arguments.generate);
    (most(&arguments.batch).max(1), tokens.max(1))
}

/// All measurements, as one JSON object.
fn measure(
    mut bench: Bench,
    arguments: &BenchArguments,
    load_seconds: f64,
) -> anyhow::Result<Value> {
    let prompts: Vec<usize> = arguments.prompt.iter().copied().filter(|n| *n > 0).collect();
    let generations = || {
        let depths = arguments.depth.iter().filter(|_| arguments.generate > 0);
        depths.flat_map(|depth| arguments.batch.iter().map(move |batch| (*batch, *depth)))
    };
    // Everything once, to warm up.
    for &tokens in &prompts {
        bench.prefill(tokens)?;
    }
    for (sequences, depth) in generations() {
        bench.decode(arguments.generate, sequences, depth)?;
    }
    let mut rows = Vec::new();
    for &tokens in &prompts {
        let runs = repeat(arguments.repetitions, || Ok(bench.prefill(tokens)?))?;
        let mut row = summary(&format!("prefill {tokens}"), &runs);
        row["time_to_first_token_seconds"] = json!(median(&runs).elapsed.as_secs_f64());
        rows.push(row);
    }
    for (sequences, depth) in generations() {
        rows.push(decode(&mut bench, arguments, sequences, depth)?);
    }
    let executor = bench.executor();
    Ok(json!({
        "model": arguments.model,
        "threads": executor.threads(),
        "arithmetic": executor.arithmetic(),
        "weight_bytes": executor.weight_bytes(),
        "load_seconds": load_seconds,
        "peak_resident_bytes": bench.peak_resident(),
        "programs": executor.preparations().iter().map(program).collect::<Vec<_>>(),
        "measurements": rows,
    }))
}

/// Generation, and between its repetitions how fast memory is read: what else the machine does then
/// concerns both.
fn decode(
    bench: &mut Bench,
    arguments: &BenchArguments,
    sequences: usize,
    depth: usize,
) -> anyhow::Result<Value> {
    let steps = arguments.generate;
    let mut bandwidths = Vec::new();
    let runs = repeat(arguments.repetitions, || {
        bandwidths.push(bench.read_bandwidth()?);
        Ok(bench.decode(steps, sequences, depth)?)
    })?;
    bandwidths.sort_by(f64::total_cmp);
    let bandwidth = bandwidths[bandwidths.len() / 2];
    let mut row = summary(&format!("decode {steps} x {sequences} at {depth}"), &runs);
    let bytes = bench.bytes_per_step(sequences, depth + steps / 2) as f64;
    let reached = bytes * median(&runs).rate() / sequences as f64;
    row["bytes_per_token"] = json!(bytes / sequences as f64);
    row["read_bytes_per_second"] = json!(reached);
    row["machine_bytes_per_second"] = json!(bandwidth);
    row["bandwidth_share"] = json!(reached / bandwidth);
    Ok(row)
}

/// Sorted by speed.
fn repeat(
    repetitions: usize,
    mut run: impl FnMut() -> anyhow::Result<Measurement>,
) -> anyhow::Result<Vec<Measurement>> {
    let mut runs = (0..repetitions).map(|_| run()).collect::<anyhow::Result<Vec<_>>>()?;
    runs.sort_by(|a, b| a.rate().total_cmp(&b.rate()));
    Ok(runs)
}

/// Of sorted ones.
fn median(runs: &[Measurement]) -> Measurement {
    runs[runs.len() / 2]
}

fn summary(test: &str, runs: &[Measurement]) -> Value {
    json!({
        "test": test,
        "tokens_per_second": median(runs).rate(),
        "slowest": runs.first().map(Measurement::rate),
        "fastest": runs.last().map(Measurement::rate),
        "repetitions": runs.len(),
    })
}

fn program(preparation: &Preparation) -> Value {
    json!({
        "step_tokens": preparation.bucket.tokens,
        "seconds": preparation.seconds,
        "cached": preparation.from_cache,
    })
}
