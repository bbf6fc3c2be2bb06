//! Debian packages: a C and C++ compiler and make (IREE's runtime is C), libclang (its bindings are generated),
//! Python with pip (the only way to PyPI that needs no address of its own).
//!
//! Detection looks at files and programs, not at dpkg: what came from elsewhere counts as well.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::install::python::Python;
use crate::process;

/// Something the machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// What it is, in words.
    what: &'static str,
    /// The Debian package that brings it.
    package: &'static str,
}

const C: Missing = Missing { what: "a C compiler (cc)", package: "gcc" };
const C_LIBRARY: Missing = Missing { what: "the C library's headers", package: "libc6-dev" };
const CXX: Missing = Missing { what: "a C++ compiler (c++)", package: "g++" };
const MAKE: Missing = Missing { what: "make", package: "make" };
const LIBCLANG: Missing = Missing { what: "libclang with its headers", package: "libclang-dev" };
const PYTHON: Missing = Missing { what: "Python 3 (python3)", package: "python3" };
const PIP: Missing = Missing { what: "pip (python3 -m pip)", package: "python3-pip" };
const VENV: Missing = Missing { what: "Python's venv", package: "python3-venv" };

const CLANG: Missing = Missing { what: "clang 16", package: "clang-16" };
const OPENMP: Missing = Missing { what: "clang's OpenMP", package: "libomp-16-dev" };

/// What is looked at to see what is there. Tests look at a made-up one.
pub struct Machine {
    /// The folders of PATH.
    pub path: Vec<PathBuf>,
    /// The root of the file system.
    root: PathBuf,
    /// Whether a variable that replaces a default program or library is set (CC, CXX, CMAKE_GENERATOR, LIBCLANG_PATH).
    is_set: fn(&str) -> bool,
    /// Whether some Python has pip.
    has_pip: fn() -> bool,
}

impl Machine {
    /// The machine we run on.
    pub fn this() -> Self {
        Self {
            path: super::path_folders(),
            root: "/".into(),
            is_set: |name| env::var_os(name).is_some_and(|value| !value.is_empty()),
            has_pip: || Python::find().is_ok(),
        }
    }

    /// What building needs and this machine lacks, and what downloading needs if there is something to download.
    pub fn missing(&self, downloads: bool) -> Vec<Missing> {
        let has = |name: &str| process::find_program(name, &self.path).is_some();
        let or_set = |variable: &str, name: &str| (self.is_set)(variable) || has(name);
        let mut missing = Vec::new();
        if !or_set("CC", "cc") {
            missing.extend([C, C_LIBRARY]);
        }
        if !or_set("CXX", "c++") {
            missing.push(CXX);
        }
        if !or_set("CMAKE_GENERATOR", "make") {
            missing.push(MAKE);
        }
        if !(self.is_set)("LIBCLANG_PATH") && !self.has_libclang() {
            missing.push(LIBCLANG);
        }
        if downloads && !(self.has_pip)() {
            if !has("python3") {
                missing.push(PYTHON);
            }
            missing.push(PIP);
        }
        missing
    }

    /// libclang alone does not do: generating bindings also reads clang's own headers, which Debian packs apart. Debian
    /// has both in one folder per version; where other systems have libclang, the headers come with it.
    fn has_libclang(&self) -> bool {
        let versions = children(&self.root.join("usr/lib"))
            .filter(|folder| file_name(folder).starts_with("llvm-"))
            .map(|folder| folder.join("lib"));
        let with_headers = |folder: PathBuf| {
            has_libclang_in(&folder)
                && children(&folder.join("clang"))
                    .any(|version| version.join("include/stddef.h").is_file())
        };
        let elsewhere = ["usr/lib64", "usr/local/lib", "usr/lib"];
        versions.into_iter().any(with_headers)
            || elsewhere.iter().any(|folder| has_libclang_in(&self.root.join(folder)))
    }
}

fn has_libclang_in(folder: &Path) -> bool {
    children(folder).any(|file| is_libclang(&file_name(&file)) && file.exists())
}

/// libclang.so, libclang-14.so, libclang.so.14, libclang-14.so.1; not libclang-cpp.so, which is another library.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else { return false };
    let Some((version, _)) = rest.split_once(".so") else { return false };
    version.is_empty()
        || version
            .strip_prefix('-')
            .is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit() || c == '.'))
}

fn children(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Installs Debian's Python packages that `oracle/` needs beyond pip, where they are missing.
pub fn require_virtual_environments() -> Result<()> {
    let mut missing = Vec::new();
    if process::find_program("python3", &super::path_folders()).is_none() {
        missing.push(PYTHON);
    }
    // ensurepip is what Debian leaves out of python3 and packs into python3-venv.
    if process::ask(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_none() {
        missing.push(VENV);
    }
    install(&missing)
}

/// Installs the compiler of llama.cpp for processors with tiles (see `bench`), where it is missing; returns what calls
/// it for C and for C++.
pub fn require_clang() -> Result<[&'static str; 2]> {
    const PROGRAMS: [&str; 2] = ["clang-16", "clang++-16"];
    let path = super::path_folders();
    let mut missing = Vec::new();
    if PROGRAMS.iter().any(|program| process::find_program(program, &path).is_none()) {
        missing.push(CLANG);
    }
    if !Path::new("/usr/lib/llvm-16/lib/libomp.so").exists() {
        missing.push(OPENMP);
    }
    install(&missing)?;
    Ok(PROGRAMS)
}

/// Installs what a machine lacks, and looks whether that has helped.
pub fn provide(machine: &Machine, downloads: bool) -> Result<()> {
    install(&machine.missing(downloads))?;
    let still: Vec<String> = machine
        .missing(downloads)
        .iter()
        .map(|one| format!("{} (package {})", one.what, one.package))
        .collect();
    if !still.is_empty() {
        bail!(
            "the packages are installed, yet not found on PATH or in /usr/lib: {}",
            still.join(", ")
        );
    }
    Ok(())
}

/// Installs packages; does nothing when nothing is missing.
fn install(missing: &[Missing]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let words: Vec<&str> = missing.iter().map(|one| one.what).collect();
    let packages: Vec<&str> = missing.iter().map(|one| one.package).collect();
    let words = words.join(", ");
    let path = super::path_folders();
    if process::find_program("apt-get", &path).is_none() {
        bail!(
            "missing: {words}. There is no apt-get here to install it: install what is missing by this system's own means \
             (on Debian the packages are: {})",
            packages.join(" ")
        );
    }
    let Some(privilege) = Privilege::of(&path) else {
        bail!(
            "missing: {words}. Neither root nor sudo is to be had here: have somebody run\n\n    {}\n",
            by_hand(&packages)
        );
    };
    eprintln!("Missing: {words}. Installing the Debian packages {}.", packages.join(" "));
    let [mut update, mut install] = commands(privilege, &packages);
    if let Err(error) = process::run_showing_errors(&mut update) {
        // One broken source among several is common, and what is wanted may come from another.
        eprintln!("warning: {error:#}");
    }
    process::run_showing_errors(&mut install).with_context(|| {
        format!("could not install {words}; to do it by hand:\n\n    {}\n", by_hand(&packages))
    })
}

/// How we may install.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Privilege {
    Root,
    /// sudo without a question.
    Sudo,
    /// sudo, which will ask for the password on the terminal.
    SudoAsking,
}

impl Privilege {
    fn of(path: &[PathBuf]) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        // Who runs a process owns its folder in /proc.
        if Path::new("/proc/self").metadata().is_ok_and(|data| data.uid() == 0) {
            return Some(Self::Root);
        }
        process::find_program("sudo", path)?;
        if process::ask(Command::new("sudo").args(["--non-interactive", "true"])).is_some() {
            Some(Self::Sudo)
        } else {
            io::stdin().is_terminal().then_some(Self::SudoAsking)
        }
    }
}

/// The package lists first: on a fresh system there are none.
fn commands(privilege: Privilege, packages: &[&str]) -> [Command; 2] {
    let apt = |arguments: &[&str]| {
        let mut command = match privilege {
            Privilege::Root => Command::new("env"),
            Privilege::Sudo | Privilege::SudoAsking => {
                let mut command = Command::new("sudo");
                if privilege == Privilege::Sudo {
                    command.arg("--non-interactive");
                }
                command.arg("env");
                command
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
        command
    };
    let mut install = apt(&["install", "--yes", "--no-install-recommends"]);
    install.args(packages);
    [apt(&["update"]), install]
}

fn by_hand(packages: &[&str]) -> String {
    format!("sudo apt-get update && sudo apt-get install {}", packages.join(" "))
}

#[cfg(test)]
mod tests;
