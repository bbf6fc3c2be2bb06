//! The command `stablemate`.
//!
//! In: arguments, the environment and the terminal.
//! Out: calls of the library, and what they return, printed.
//! Never: holds logic.

mod arguments;
mod commands;
mod environment;
mod names;
mod output;
mod progress;

use arguments::{Arguments, Command, LogFormat};
use clap::Parser;
use std::io::IsTerminal;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log(&arguments);
    match run(&arguments) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", output::explained(&error));
            ExitCode::FAILURE
        }
    }
}

/// Logs to standard error: what `RUST_LOG` asks for; otherwise failures, and when serving a line per request.
fn log(arguments: &Arguments) {
    let serve = match &arguments.command {
        Command::Serve(serve) => Some(serve.log_format),
        _ => None,
    };
    let level = if serve.is_some() { LevelFilter::INFO } else { LevelFilter::ERROR };
    let filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    let colours = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(colours);
    match serve {
        Some(LogFormat::Json) => log.json().flatten_event(true).init(),
        _ => log.init(),
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let environment = environment::Environment::new(arguments)?;
    let done = match &arguments.command {
        Command::Run(command) => commands::run::run(command, &environment),
        Command::Chat(command) => commands::chat::run(command, &environment),
        Command::Serve(command) => commands::serve::run(command, &environment),
        Command::Emit(command) => commands::emit::run(command, &environment),
        Command::Compile(command) => commands::compile::run(command, &environment),
        Command::Inspect(command) => commands::inspect::run(command, &environment),
        Command::Logits(command) => commands::logits::run(command, &environment),
        Command::Tokenize(command) => commands::tokenize::run(command, &environment),
        Command::Bench(command) => commands::bench::run(command, &environment),
        Command::Soak(command) => commands::load::soak(command, &environment),
        Command::Verify(command) => return commands::verify::run(command, &environment),
        Command::Quantize(command) => commands::quantize::run(command, &environment),
        Command::Setup(command) => commands::setup::run(command, &environment),
        Command::Doctor => return commands::doctor::run(&environment),
    };
    done.map(|()| ExitCode::SUCCESS)
}
