//! Where things are: the folders of the workspace, and the tools its builds are given.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The root folder of this workspace.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace this program was built in: a clone that has been moved is found again by the rebuild that follows.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask has no folder above it")?;
        if !root.join("Cargo.toml").is_file() {
            bail!("{} is not the workspace: it has no Cargo.toml", root.display());
        }
        Ok(Self { root: root.to_owned() })
    }

    /// The folder that holds the workspace's Cargo.toml.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The product's data folder for everything done here: the compiler and the model. Never the user's own.
    pub fn data(&self) -> PathBuf {
        self.root.join("target/stablemate-data")
    }

    /// The product's cache folder for everything done here: compiled graphs.
    pub fn cache(&self) -> PathBuf {
        self.root.join("target/stablemate-cache")
    }

    /// Programs that are needed to build and that the system lacks.
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/stablemate-tools")
    }
}

/// Folders put before PATH for every cargo started here.
///
/// PATH, and not a variable such as CMAKE: build scripts are run again when a variable they watch changes, and then
/// every change between plain cargo and xtask would build the runtime anew.
#[derive(Default)]
pub struct Tools {
    folders: Vec<PathBuf>,
}

impl Tools {
    /// Nothing beyond PATH.
    pub fn none() -> Self {
        Self::default()
    }

    /// One folder before PATH.
    pub fn with(folder: PathBuf) -> Self {
        Self { folders: vec![folder] }
    }

    /// The line a shell needs before plain cargo can build; none when PATH does as it is.
    pub fn export_line(&self) -> Option<String> {
        if self.folders.is_empty() {
            return None;
        }
        let folders: Vec<String> =
            self.folders.iter().map(|folder| folder.display().to_string()).collect();
        Some(format!("export PATH=\"{}:$PATH\"", folders.join(":")))
    }

    /// A cargo command in the workspace, with these tools on its PATH.
    pub fn cargo(&self, workspace: &Workspace) -> Result<Command> {
        // The cargo that started us, so that `cargo +nightly xtask` stays with its toolchain.
        let program = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(program);
        command.current_dir(workspace.root());
        // What `cargo run` told us about ourselves would reach the build scripts of others.
        for (name, _) in env::vars_os().filter(|(name, _)| describes_this_program(name)) {
            command.env_remove(name);
        }
        self.put_on_path(&mut command)?;
        Ok(command)
    }

    /// Lets a command find these tools before those of PATH.
    pub fn put_on_path(&self, command: &mut Command) -> Result<()> {
        if !self.folders.is_empty() {
            command.env("PATH", joined(&self.folders, env::var_os("PATH"))?);
        }
        Ok(())
    }
}

fn describes_this_program(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
        .iter()
        .any(|start| name.starts_with(start))
        || ["CARGO", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&name)
}

fn joined(folders: &[PathBuf], path: Option<OsString>) -> Result<OsString> {
    let rest: Vec<PathBuf> = path.iter().flat_map(env::split_paths).collect();
    env::join_paths(folders.iter().chain(&rest))
        .context("a folder with ':' in its name cannot stand on PATH: move the clone")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_stand_before_the_path() {
        let path = joined(&["/clone/cmake/bin".into()], Some("/usr/bin:/bin".into())).unwrap();
        assert_eq!(path, "/clone/cmake/bin:/usr/bin:/bin");
        assert!(joined(&["/with:colon".into()], None).is_err());
    }

    #[test]
    fn the_export_line_is_there_only_when_needed() {
        assert_eq!(Tools::none().export_line(), None);
        let line = Tools::with("/clone/cmake/bin".into()).export_line().unwrap();
        assert_eq!(line, "export PATH=\"/clone/cmake/bin:$PATH\"");
    }

    #[test]
    fn only_what_cargo_said_about_xtask_is_removed() {
        for name in ["CARGO", "CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "OUT_DIR"] {
            assert!(describes_this_program(OsStr::new(name)), "{name}");
        }
        for name in
            ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "PATH", "RUSTUP_TOOLCHAIN"]
        {
            assert!(!describes_this_program(OsStr::new(name)), "{name}");
        }
    }
}
