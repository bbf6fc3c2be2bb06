//! `cargo xtask demo`: from whatever this machine has to an answer.

use std::process::Command;

use anyhow::Result;

use crate::install::{Installation, Profile};
use crate::process;
use crate::workspace::Workspace;

/// Installs and builds what is missing, then answers a prompt on stdout, as it is made.
pub fn run(workspace: &Workspace, prompt: &str) -> Result<()> {
    let installation = Installation::prepare(workspace)?;
    let binary = installation.build(Profile::Release)?;
    installation.compiler(&binary)?;

    let mut command = Command::new(&binary);
    command.arg("--data-folder").arg(workspace.data());
    command.arg("--cache-folder").arg(workspace.cache());
    command.arg("run").arg(installation.model()).arg(prompt);
    // Shown as one types it in the clone's folder.
    let root = format!("{}/", workspace.root().display());
    eprintln!("{}\n", process::describe(&command).replace(&root, ""));
    process::run(&mut command)
}
