//! The IREE compiler, which the product installs itself: this is what its users run, too.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::install::python::Python;
use crate::process;
use crate::workspace::Workspace;

/// The version that `stablemate setup` installs.
const VERSION: &str = "3.13.0";

/// What the product writes last when it installs.
fn manifest(data: &Path) -> PathBuf {
    data.join(format!("iree-{VERSION}/manifest.json"))
}

/// Whether the compiler seems to be in the data folder. The product looks closer each time it compiles.
pub fn is_present(data: &Path) -> bool {
    manifest(data).is_file()
}

/// Lets the product install the compiler into the data folder.
pub fn install(workspace: &Workspace, binary: &Path, python: &Python) -> Result<()> {
    let data = workspace.data();
    let mut command = Command::new(binary);
    command.arg("--data-folder").arg(&data).arg("setup").arg("--python").arg(python.program());
    eprintln!("Installing the IREE compiler: {}", process::describe(&command));
    command.stdout(Stdio::from(io::stderr()));
    process::run(&mut command).context("the product could not install the IREE compiler")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_product_installs_what_is_looked_for_here() {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/runtime/src/toolchain/mod.rs");
        let source = fs::read_to_string(source).unwrap();
        assert!(source.contains(&format!("pub const VERSION: &str = \"{VERSION}\";")));
        assert!(source.contains("format!(\"iree-{VERSION}\")"));
    }

    #[test]
    fn only_this_version_counts() {
        let data = tempfile::tempdir().unwrap();
        for (version, present) in [("3.12.0", false), (VERSION, true)] {
            let folder = data.path().join(format!("iree-{version}"));
            fs::create_dir(&folder).unwrap();
            assert!(!is_present(data.path()), "an empty folder is no compiler");
            fs::write(folder.join("manifest.json"), "{}").unwrap();
            assert_eq!(is_present(data.path()), present, "{version}");
        }
    }
}
