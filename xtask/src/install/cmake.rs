//! cmake, with which IREE's runtime is built. Debian 12 has 3.25 and the runtime wants 3.26: where PATH has none that
//! is new enough, PyPI's wheel is unpacked under `target/`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::install::debian::Machine;
use crate::install::python::Python;
use crate::install::wheel::{self, Scratch};
use crate::process;
use crate::workspace::{Tools, Workspace};

/// The oldest version that builds IREE's runtime.
const OLDEST: (u32, u32) = (3, 26);

/// The version taken from PyPI.
const VERSION: &str = "4.4.4";

/// Where the programs are in the unpacked wheel.
const PROGRAMS: &str = "cmake/data/bin";

/// A cmake that is new enough, on PATH or unpacked before.
pub fn find(workspace: &Workspace, machine: &Machine) -> Option<Tools> {
    let is_good = |program: &Path| version(program).is_some_and(|version| version >= OLDEST);
    if process::find_program("cmake", &machine.path).is_some_and(|program| is_good(&program)) {
        return Some(Tools::none());
    }
    let folder = workspace.tools().join(format!("cmake-{VERSION}")).join(PROGRAMS);
    is_good(&folder.join("cmake")).then(|| Tools::with(folder))
}

/// Downloads and unpacks cmake.
pub fn install(workspace: &Workspace, python: &Python) -> Result<Tools> {
    let tools = workspace.tools();
    let scratch = Scratch::under(&tools)?;
    let wheel = python.download(&format!("cmake=={VERSION}"), scratch.path())?;
    let unpacked = scratch.path().join("unpacked");
    wheel::unpack(&wheel, &unpacked)?;
    let Some(found) = version(&unpacked.join(PROGRAMS).join("cmake")) else {
        bail!(
            "the cmake of {} does not run on this machine: install cmake {}.{} or newer",
            wheel.display(),
            OLDEST.0,
            OLDEST.1
        );
    };
    if found < OLDEST {
        bail!("the wheel cmake {VERSION} holds version {found:?}");
    }

    let destination = tools.join(format!("cmake-{VERSION}"));
    if destination.exists() {
        fs::remove_dir_all(&destination).with_context(|| destination.display().to_string())?;
    }
    fs::rename(&unpacked, &destination)
        .with_context(|| format!("cannot make {}", destination.display()))?;
    Ok(Tools::with(destination.join(PROGRAMS)))
}

/// The version a cmake program tells; `None` if it is missing or does not run.
fn version(program: &Path) -> Option<(u32, u32)> {
    parse(&process::ask(Command::new(program).arg("--version"))?)
}

/// Major and minor version in what `cmake --version` prints: `cmake version 3.25.1`.
fn parse(text: &str) -> Option<(u32, u32)> {
    let mut numbers =
        text.lines().next()?.strip_prefix("cmake version ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_not_text() {
        let old = parse("cmake version 3.25.1\n\nCMake suite maintained\n").unwrap();
        let new = parse("cmake version 3.100.0-rc2").unwrap();
        assert_eq!(old, (3, 25));
        assert!(old < OLDEST && new >= OLDEST);
        assert!(parse("cmake version 4.0").unwrap() >= OLDEST);
        assert!(parse(&format!("cmake version {VERSION}")).unwrap() >= OLDEST);
    }

    #[test]
    fn other_text_is_no_version() {
        for text in ["", "cmake version ", "cmake version x.y", "cmake version 3", "ninja 1.11.1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_program_has_no_version() {
        assert_eq!(version(Path::new("/nonexistent/cmake")), None);
        assert_eq!(version(Path::new("/bin/true")), None);
    }
}
