//! In: a clean clone on Debian with Rust. Out: an installed, built, demonstrated or checked workspace.
//! Developer commands, run as `cargo xtask <command>`; `--help` lists them.
//! Never: is part of the product, or depends on it; what the product can do itself, its own binary is asked to do.

mod bench;
mod checks;
mod compat;
mod demo;
mod fixtures;
mod freshness;
mod install;
mod process;
mod report;
mod synth;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::install::{Installation, Profile};
use crate::workspace::Workspace;

/// Developer commands of the workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing, build the product and let a small model answer a prompt
    Demo {
        /// What to ask
        #[arg(default_value = "What is the capital of France?")]
        prompt: String,
    },
    /// Install what is missing, then run every check of this project
    Test {
        /// Run these stages only (several: --only fmt,clippy)
        #[arg(long, value_enum, value_delimiter = ',')]
        only: Vec<test::Stage>,
        /// Formatting, rules, and the crates whose tests need no compiler: graph, models, engine
        #[arg(long, conflicts_with = "only")]
        quick: bool,
    },
    /// Install what building and testing need; prints on stdout the line plain cargo needs, if any
    Setup,
    /// Measure against llama.cpp, both in turn, on models with random weights
    Bench(bench::Arguments),
    /// Write a model of a published shape with random weights, for measuring; prints its path
    Synth {
        /// The shape: llama-3.2-1b, llama-3.1-8b, smollm2-135m or tiny
        #[arg(long, default_value = "llama-3.2-1b", value_parser = synth::Shape::find)]
        shape: &'static synth::Shape,
        /// How the matrices are stored
        #[arg(long, value_enum)]
        encoding: synth::Encoding,
        /// The .gguf file, or MLX's directory [default: in target/stablemate-bench]
        #[arg(long, value_name = "PATH")]
        output: Option<PathBuf>,
    },
    /// Run other people's clients, tests and tools, and a browser, against a server
    Compat {
        /// Suites to run (all, when none is named)
        #[arg(value_name = "SUITE")]
        suites: Vec<String>,
        /// Only list them
        #[arg(long)]
        list: bool,
    },
    /// Make the reference answers in fixtures/ again, with the Python programs of oracle/
    Fixtures {
        /// Programs to run (all, when none is named)
        #[arg(value_name = "PROGRAM")]
        programs: Vec<String>,
        /// Only say what would be run
        #[arg(long)]
        list: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Demo { prompt } => demo::run(&workspace, &prompt),
        Command::Test { quick: true, .. } => test::quick(&workspace),
        Command::Test { only, .. } => test::run(&workspace, &only),
        Command::Setup => setup(&workspace),
        Command::Bench(arguments) => bench::run(&workspace, &arguments),
        Command::Synth { shape, encoding, output } => {
            let path = synth::provide(&workspace, shape, encoding, output.as_deref())?;
            println!("{}", path.display());
            Ok(())
        }
        Command::Compat { suites, list } => compat::run(&workspace, &suites, list),
        Command::Fixtures { programs, list } => fixtures::run(&workspace, &programs, list),
    }
}

/// Installs everything and says what plain cargo needs. The line alone goes to stdout, so that a shell can evaluate it.
fn setup(workspace: &Workspace) -> Result<()> {
    let installation = Installation::prepare(workspace)?;
    installation.verify_model()?;
    let binary = installation.build(Profile::Development)?;
    installation.compiler(&binary)?;
    eprintln!("Everything is installed.");
    if let Some(line) = installation.tools().export_line() {
        eprintln!("For plain cargo commands, first:");
        println!("{line}");
    }
    Ok(())
}
