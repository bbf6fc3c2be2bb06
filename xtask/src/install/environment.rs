//! Python virtual environments under `target/`, each with exactly the packages of one requirements.txt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::debian;
use crate::process;
use crate::workspace::Tools;

/// A virtual environment with exactly what `requirements` asks for, made anew when that has changed; returns its
/// Python.
///
/// `settings` are environment variables for pip, for packages that are compiled: those find `tools` on their PATH.
pub fn provide(
    folder: &Path,
    requirements: &Path,
    tools: &Tools,
    settings: &[(&str, &str)],
) -> Result<PathBuf> {
    let wanted =
        fs::read_to_string(requirements).with_context(|| requirements.display().to_string())?;
    let stamp = folder.join("installed-requirements.txt");
    let python = folder.join("bin/python");
    if is_installed(&stamp, &wanted) {
        return Ok(python);
    }
    eprintln!(
        "Installing {} into {}: this takes minutes.",
        requirements.display(),
        folder.display()
    );
    debian::require_virtual_environments()?;
    process::run_showing_errors(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder),
    )?;
    let mut command = Command::new(&python);
    command
        .args(["-m", "pip", "install", "--disable-pip-version-check", "--requirement"])
        .arg(requirements)
        .envs(settings.iter().copied());
    tools.put_on_path(&mut command)?;
    process::run_showing_errors(&mut command)
        .with_context(|| format!("could not install the packages of {}", requirements.display()))?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(python)
}

/// Whether the environment was made for these requirements, to the end.
fn is_installed(stamp: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted)
}
