//! `cargo xtask test`: every check of this project, the quick ones first; the first that fails ends it.

use std::time::Duration;

use anyhow::{Error, Result};
use clap::ValueEnum;

use crate::checks::{self, directions, invariants, length};
use crate::freshness;
use crate::install::{Installation, Profile};
use crate::process;
use crate::report::{self, Heading};
use crate::workspace::Workspace;

/// The stages, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Stage {
    /// Formatting
    Fmt,
    /// Which crate uses which
    Directions,
    /// What certain crates never do
    Invariants,
    /// Compiler and clippy warnings
    Clippy,
    /// Warnings of the documentation
    Doc,
    /// Unit, snapshot, fixture and end-to-end tests
    Test,
}

impl Stage {
    /// The name that `--only` takes.
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Directions => "directions",
            Self::Invariants => "invariants",
            Self::Clippy => "clippy",
            Self::Doc => "doc",
            Self::Test => "test",
        }
    }

    /// What it does, for its heading.
    fn what(self) -> &'static str {
        match self {
            Self::Fmt => "cargo fmt --all --check",
            Self::Directions => {
                "which crate uses which (the tables of xtask/src/checks/directions.rs)"
            }
            Self::Invariants => {
                "environment, unsafe and printing only where they belong (xtask/src/checks/invariants.rs)"
            }
            Self::Clippy => "cargo clippy --workspace --all-targets -- -D warnings",
            Self::Doc => "cargo doc --workspace --lib --no-deps, no warnings",
            Self::Test => {
                "cargo test --workspace, after building the product and installing the compiler with it"
            }
        }
    }

    fn run(self, workspace: &Workspace, installation: &Installation) -> Result<()> {
        let cargo = |arguments: &[&str]| -> Result<std::process::Command> {
            let mut command = installation.tools().cargo(workspace)?;
            command.args(arguments);
            Ok(command)
        };
        match self {
            Self::Fmt => process::run(&mut cargo(&["fmt", "--all", "--check"])?),
            Self::Directions => {
                checks::enforce(directions::check(workspace, installation.tools())?)
            }
            Self::Invariants => checks::enforce(invariants::check(workspace)?),
            Self::Clippy => process::run(&mut cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])?),
            Self::Doc => {
                let mut command = cargo(&["doc", "--workspace", "--lib", "--no-deps"])?;
                process::run(command.env("RUSTDOCFLAGS", "-D warnings"))
            }
            Self::Test => {
                let binary = installation.build(Profile::Development)?;
                installation.compiler(&binary)?;
                let mut command = cargo(&["test", "--workspace", "--no-fail-fast"])?;
                command.env("STABLEMATE_TEST_DATA", workspace.data());
                // Snapshots are compared here, never written; CI tells the same to other tools.
                command.env("INSTA_UPDATE", "no").env("CI", "1");
                process::run(&mut command)
            }
        }
    }
}

/// Installs what is missing and runs the stages: all of them, or those named.
pub fn run(workspace: &Workspace, only: &[Stage]) -> Result<()> {
    let mut times = Vec::new();
    let heading = Heading::print("set-up", "Debian packages, cmake, the model");
    let installation = Installation::prepare(workspace).and_then(|installation| {
        installation.verify_model()?;
        Ok(installation)
    })?;
    times.push(("set-up", heading.done()));

    for &stage in selected(only) {
        let heading = Heading::print(stage.name(), stage.what());
        let outcome = stage.run(workspace, &installation);
        freshness::settle();
        outcome.map_err(|error| explained(stage, &error))?;
        times.push((stage.name(), heading.done()));
    }
    summarise(workspace, &times)
}

/// The crates whose tests interpret or count, and run nothing that is compiled first.
const QUICK: &[&str] = &["stablemate-graph", "stablemate-models", "stablemate-engine"];

/// The checks of an edit: formatting, the rules, and lints and tests of [`QUICK`]. Models' tests run every
/// fixture's graph through an interpreter.
pub fn quick(workspace: &Workspace) -> Result<()> {
    let installation = Installation::prepare(workspace)?;
    for stage in [Stage::Fmt, Stage::Directions, Stage::Invariants] {
        let heading = Heading::print(stage.name(), stage.what());
        stage.run(workspace, &installation).map_err(|error| explained(stage, &error))?;
        heading.done();
    }
    for verb in ["clippy", "test"] {
        let heading = Heading::print(verb, "graph, models, engine");
        let mut command = installation.tools().cargo(workspace)?;
        command.arg(verb);
        QUICK.iter().for_each(|name| _ = command.args(["-p", name]));
        if verb == "clippy" {
            command.args(["--all-targets", "--", "-D", "warnings"]);
        }
        process::run(command.env("INSTA_UPDATE", "no").env("CI", "1"))?;
        heading.done();
    }
    Ok(())
}

fn selected(only: &[Stage]) -> impl Iterator<Item = &Stage> {
    Stage::value_variants().iter().filter(|stage| only.is_empty() || only.contains(stage))
}

fn explained(stage: Stage, error: &Error) -> Error {
    let name = stage.name();
    let hint = match stage {
        Stage::Fmt => {
            "\nTo format: cargo fmt --all. (If cargo has no such command: rustup component add rustfmt)"
        }
        Stage::Clippy => "\n(If cargo has no such command: rustup component add clippy)",
        _ => "",
    };
    anyhow::anyhow!(
        "the stage `{name}` failed: {error:#}\nTo run it alone: cargo xtask test --only {name}{hint}"
    )
}

fn summarise(workspace: &Workspace, times: &[(&str, Duration)]) -> Result<()> {
    println!("\n== summary");
    for (name, time) in times {
        println!("{name:<12} ok  {:>12}", report::duration(*time));
    }
    println!(
        "{:<12}     {:>12}",
        "in all",
        report::duration(times.iter().map(|(_, time)| *time).sum())
    );
    for warning in length::warnings(workspace)? {
        println!("warning: {warning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_command_line_takes() {
        for stage in Stage::value_variants() {
            assert_eq!(Stage::from_str(stage.name(), false), Ok(*stage));
        }
    }

    #[test]
    fn stages_keep_their_order() {
        let chosen: Vec<Stage> = selected(&[Stage::Test, Stage::Fmt]).copied().collect();
        assert_eq!(chosen, [Stage::Fmt, Stage::Test]);
        assert_eq!(selected(&[]).count(), Stage::value_variants().len());
    }

    #[test]
    fn a_failure_says_how_to_run_the_stage_alone() {
        let message = explained(Stage::Clippy, &anyhow::anyhow!("cargo clippy failed")).to_string();
        assert!(message.contains("cargo clippy failed"), "{message}");
        assert!(message.contains("cargo xtask test --only clippy"), "{message}");
    }
}
