//! Python virtual environments under `target/`, each with exactly the packages of one requirements.txt.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::install::debian;
use crate::process;
use crate::workspace::Tools;

/// How packages are compiled that come as source. They find the tools on their PATH.
#[derive(Default)]
pub struct Compilation<'a> {
    /// Environment variables for pip.
    pub settings: &'a [(&'a str, &'a str)],
    /// By clang, which is installed when it is needed.
    pub clang: bool,
}

/// What an environment's stamp says when all of it is there.
fn stamp(requirements: &str, compilation: &Compilation<'_>) -> String {
    let by = if compilation.clang { "# compiled by clang\n" } else { "" };
    format!("{requirements}{by}")
}

/// A virtual environment with exactly what `requirements` asks for, made anew when that has changed or is to be compiled by something
/// else; returns its Python.
pub fn provide(
    folder: &Path,
    requirements: &Path,
    tools: &Tools,
    compilation: &Compilation<'_>,
) -> Result<PathBuf> {
    let wanted =
        fs::read_to_string(requirements).with_context(|| requirements.display().to_string())?;
    let wanted = self::stamp(&wanted, compilation);
    let stamp = folder.join("installed-requirements.txt");
    let python = folder.join("bin/python");
    // Until the end of this function: a second run would begin by clearing what the first has half done.
    let _lock = lock(folder)?;
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
        .envs(compilation.settings.iter().copied());
    if compilation.clang {
        let [c, cxx] = debian::require_clang()?;
        command.env("CC", c).env("CXX", cxx);
    }
    tools.put_on_path(&mut command)?;
    process::run_showing_errors(&mut command)
        .with_context(|| format!("could not install the packages of {}", requirements.display()))?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())?;
    Ok(python)
}

/// Waits until nobody else installs into this folder. The lock is a file beside it, and ends with the file's handle.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.with_extension("lock");
    let take = || -> std::io::Result<File> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    take().with_context(|| format!("cannot lock {}", path.display()))
}

/// Whether the environment was made for these requirements, to the end.
fn is_installed(stamp: &Path, wanted: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_installs_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let environment = folder.path().join("deep/environment");
        let first = lock(&environment).unwrap();
        let second = thread::spawn({
            let environment = environment.clone();
            move || lock(&environment).unwrap()
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!second.is_finished());
        drop(first);
        second.join().unwrap();
    }

    #[test]
    fn only_what_was_finished_for_the_same_packages_counts() {
        let folder = tempfile::tempdir().unwrap();
        let requirements = folder.path().join("requirements.txt");
        fs::write(&requirements, "some-package==1\n").unwrap();
        let environment = folder.path().join("environment");
        let stamp = environment.join("installed-requirements.txt");
        fs::create_dir(&environment).unwrap();
        fs::write(&stamp, "some-package==1\n").unwrap();
        let python =
            provide(&environment, &requirements, &Tools::none(), &Compilation::default()).unwrap();
        assert_eq!(python, environment.join("bin/python"));
        let by_clang = Compilation { clang: true, ..Compilation::default() };
        assert!(!is_installed(&stamp, &self::stamp("some-package==1\n", &by_clang)));
        assert!(!is_installed(&stamp, "some-package==2\n"));
        assert!(!is_installed(&folder.path().join("none"), "some-package==1\n"));
    }
}
