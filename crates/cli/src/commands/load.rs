//! `stablemate bench --server` and `stablemate soak`

use crate::arguments::{
    Pattern, ReportFormat, ServerLoadArguments, SoakArguments, TargetArguments,
};
use crate::environment::Environment;
use crate::output;
use stablemate_load::{
    Dialect, Lengths, Observer, Prefix, Progress, Soak, Steady, Sweep, Target, TokenIds,
};
use std::time::SystemTime;

/// Measures a server.
pub fn bench(
    server: &str,
    arguments: &ServerLoadArguments,
    format: ReportFormat,
    environment: &Environment,
) -> anyhow::Result<()> {
    let target = target(server, &arguments.target);
    let seed = seed(&arguments.target);
    let observer = |progress: Progress<'_>| show(environment, &progress);
    let report = match arguments.pattern {
        Pattern::Sweep => sweep(&target, arguments, seed, format, &observer),
        Pattern::Steady => steady(&target, arguments, seed, format, &observer),
        Pattern::Prefix => prefix(&target, arguments, seed, format, &observer),
    };
    environment.bars.clear();
    output::write(&report?)
}

/// Tries to make a server leak, grow or err; fails if it does.
pub fn soak(arguments: &SoakArguments, environment: &Environment) -> anyhow::Result<()> {
    let load = Soak {
        requests: arguments.requests,
        concurrency: arguments.concurrency,
        prompt: lengths(arguments.prompt_tokens),
        output: lengths(arguments.output_tokens),
        departures: arguments.departures,
        samples: arguments.samples,
        process: arguments.process,
        memory_growth: arguments.memory_growth << 20,
        token_ids: token_ids(&arguments.target)?,
        seed: seed(&arguments.target),
        ..Soak::default()
    };
    let observer = |progress: Progress<'_>| show(environment, &progress);
    let report =
        stablemate_load::soak(&target(&arguments.server, &arguments.target), &load, &observer);
    environment.bars.clear();
    let report = report?;
    output::write(&rendered(
        arguments.output,
        || report.table(),
        || report.markdown(),
        || report.json(),
    ))?;
    for unseen in report.unseen() {
        output::note(&format!("not watched: {unseen}"));
    }
    let faults = report.faults();
    anyhow::ensure!(faults.is_empty(), "the server did wrong: {}", faults.join("; "));
    Ok(())
}

fn sweep(
    target: &Target,
    arguments: &ServerLoadArguments,
    seed: u64,
    format: ReportFormat,
    observer: Observer<'_>,
) -> anyhow::Result<String> {
    let base = Sweep::default();
    let load = Sweep {
        concurrencies: arguments.concurrency.clone(),
        requests_per_client: arguments.requests,
        prompt: arguments.prompt_tokens.map_or(base.prompt, lengths),
        output: arguments.output_tokens.map_or(base.output, lengths),
        prefix: arguments.prefix.unwrap_or(base.prefix),
        token_ids: token_ids(&arguments.target)?,
        seed,
        ..base
    };
    let report = stablemate_load::sweep(target, &load, observer)?;
    Ok(rendered(format, || report.table(), || report.markdown(), || report.json()))
}

fn steady(
    target: &Target,
    arguments: &ServerLoadArguments,
    seed: u64,
    format: ReportFormat,
    observer: Observer<'_>,
) -> anyhow::Result<String> {
    let base = Steady::default();
    let load = Steady {
        streams: arguments.streams,
        output: arguments.output_tokens.map_or(base.output, |(_, high)| high),
        newcomers: arguments.newcomers,
        newcomer_prompt: arguments.prompt_tokens.map_or(base.newcomer_prompt, lengths),
        token_ids: token_ids(&arguments.target)?,
        seed,
        ..base
    };
    let report = stablemate_load::steady(target, &load, observer)?;
    Ok(rendered(format, || report.table(), || report.markdown(), || report.json()))
}

fn prefix(
    target: &Target,
    arguments: &ServerLoadArguments,
    seed: u64,
    format: ReportFormat,
    observer: Observer<'_>,
) -> anyhow::Result<String> {
    let base = Prefix::default();
    let load = Prefix {
        prefix: arguments.prefix.unwrap_or(base.prefix),
        token_ids: token_ids(&arguments.target)?,
        seed,
        ..base
    };
    let report = stablemate_load::prefix(target, &load, observer)?;
    Ok(rendered(format, || report.table(), || report.markdown(), || report.json()))
}

fn rendered(
    format: ReportFormat,
    table: impl Fn() -> String,
    markdown: impl Fn() -> String,
    json: impl Fn() -> String,
) -> String {
    let text = match format {
        ReportFormat::Table => table(),
        ReportFormat::Markdown => markdown(),
        ReportFormat::Json => json(),
    };
    format!("{}\n", text.trim_end())
}

fn target(server: &str, arguments: &TargetArguments) -> Target {
    Target {
        api_key: arguments.api_key.clone(),
        model: arguments.model_name.clone(),
        dialect: if arguments.compatible { Dialect::Compatible } else { Dialect::Extended },
        ..Target::new(server)
    }
}

/// The seed that was given, or the clock's, which is told.
fn seed(arguments: &TargetArguments) -> u64 {
    arguments.load_seed.unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_millis() as u64;
        output::note(&format!("--load-seed {seed} gives the same prompts again"));
        seed
    })
}

fn lengths((lowest, highest): (usize, usize)) -> Lengths {
    Lengths { lowest, highest }
}

fn token_ids(arguments: &TargetArguments) -> anyhow::Result<TokenIds> {
    let Some((lowest, highest)) = arguments.token_ids else { return Ok(TokenIds::default()) };
    Ok(TokenIds { lowest: u32::try_from(lowest)?, highest: u32::try_from(highest)? })
}

fn show(environment: &Environment, progress: &Progress<'_>) {
    environment.bars.count(progress.label, progress.done, progress.total);
}
