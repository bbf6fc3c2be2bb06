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

use arguments::{Arguments, Command};
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let environment = environment::Environment::new(arguments)?;
    let done = match &arguments.command {
        Command::Run(command) => commands::run::run(command, &environment),
        Command::Chat(command) => commands::chat::run(command, &environment),
        Command::Emit(command) => commands::emit::run(command, &environment),
        Command::Compile(command) => commands::compile::run(command, &environment),
        Command::Inspect(command) => commands::inspect::run(command, &environment),
        Command::Logits(command) => commands::logits::run(command, &environment),
        Command::Tokenize(command) => commands::tokenize::run(command, &environment),
        Command::Bench(command) => commands::bench::run(command, &environment),
        Command::Verify(command) => return commands::verify::run(command, &environment),
        Command::Quantize(command) => commands::quantize::run(command, &environment),
        Command::Setup(command) => commands::setup::run(command, &environment),
        Command::Doctor => return commands::doctor::run(&environment),
    };
    done.map(|()| ExitCode::SUCCESS)
}
