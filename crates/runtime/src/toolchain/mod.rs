//! The compiler: three files of the PyPI wheel `iree-base-compiler`, installed into a data folder.
//!
//! The wheel's Python is not used. `iree-compile` is run as a child process, so that a crash of the
//! compiler is an exit status and a program that embeds this library needs no special `main`.

mod install;
mod manifest;
mod wheel;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files;
use manifest::{MANIFEST, Manifest};

/// The version of IREE whose compiler and runtime belong together.
pub const VERSION: &str = "3.13.0";

/// What identifies the compiler in the keys of cached modules; known without having it installed.
pub const REVISION: &str = "iree-base-compiler 3.13.0";

/// The program that compiles.
const COMPILER: &str = "iree-compile";

/// How far an installation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Files are being unpacked from the wheel.
    Unpacking {
        /// Bytes written so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The unpacked compiler is being started once.
    Checking,
}

/// An installed compiler.
#[derive(Clone, Debug)]
pub struct Toolchain {
    folder: PathBuf,
    manifest: Manifest,
}

impl Toolchain {
    /// Finds the compiler that [`Toolchain::install`] put into `data_folder`.
    ///
    /// Checks that each file is there and has its size; [`Toolchain::verify`] checks the contents.
    ///
    /// # Errors
    /// [`Error::ToolchainMissing`] and [`Error::ToolchainDamaged`]; both say how to mend it.
    pub fn at(data_folder: &Path) -> Result<Self> {
        let folder = Self::folder_in(data_folder);
        if !folder.join(MANIFEST).exists() {
            return Err(Error::ToolchainMissing { folder });
        }
        let manifest = Manifest::read(&folder)?;
        for file in &manifest.files {
            let found = fs::metadata(folder.join(&file.path)).map(|metadata| metadata.len());
            let reason = match found {
                Ok(bytes) if bytes == file.bytes => continue,
                Ok(bytes) => format!("{} has {bytes} bytes, not {}", file.path, file.bytes),
                Err(error) => format!("{}: {error}", file.path),
            };
            return Err(Error::ToolchainDamaged { folder, reason });
        }
        Ok(Self { folder, manifest })
    }

    /// Checks every file's SHA-256 against the manifest (about 340 MB are read).
    ///
    /// # Errors
    /// [`Error::ToolchainDamaged`] naming the first file that differs; [`Error::File`].
    pub fn verify(&self) -> Result<()> {
        for file in &self.manifest.files {
            let (sha256, _) = files::digest(&self.folder.join(&file.path))?;
            if sha256 != file.sha256 {
                return Err(Error::ToolchainDamaged {
                    folder: self.folder.clone(),
                    reason: format!("{} has SHA-256 {sha256}, not {}", file.path, file.sha256),
                });
            }
        }
        Ok(())
    }

    /// The folder of the installation.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What identifies this compiler in the keys of cached modules.
    pub fn revision(&self) -> &'static str {
        REVISION
    }

    /// The program to run.
    pub(crate) fn compiler(&self) -> PathBuf {
        self.folder.join(COMPILER)
    }

    fn folder_in(data_folder: &Path) -> PathBuf {
        data_folder.join(format!("iree-{VERSION}"))
    }
}
