//! The list of an installation's files, written last, so that a folder with a manifest is complete.

use std::fs;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};

use super::VERSION;
use crate::error::{Error, Result};
use crate::files;

/// The manifest's file name.
pub(super) const MANIFEST: &str = "manifest.json";

/// The layout of the installation that this code writes and reads.
const FORMAT: u32 = 1;

/// What was installed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// [`FORMAT`] of the program that installed it.
    format: u32,
    /// IREE's version.
    version: String,
    /// The files, in no particular order.
    pub(super) files: Vec<InstalledFile>,
}

/// One file of the installation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InstalledFile {
    /// Where it lies inside the installation's folder.
    pub(super) path: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(files: Vec<InstalledFile>) -> Self {
        Self { format: FORMAT, version: VERSION.to_owned(), files }
    }

    /// Reads the manifest of the installation in `folder`.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let damaged =
            |reason: String| Error::ToolchainDamaged { folder: folder.to_path_buf(), reason };
        let path = folder.join(MANIFEST);
        let text = fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let manifest: Self =
            serde_json::from_str(&text).map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
        if manifest.format != FORMAT || manifest.version != VERSION {
            return Err(damaged(format!(
                "{MANIFEST} is of format {} for version {:?}; this program needs format {FORMAT} for {VERSION:?}",
                manifest.format, manifest.version
            )));
        }
        for file in &manifest.files {
            if !Path::new(&file.path)
                .components()
                .all(|component| matches!(component, Component::Normal(_)))
            {
                return Err(damaged(format!("{MANIFEST} lists {:?}", file.path)));
            }
        }
        if !manifest.files.iter().any(|file| file.path == super::COMPILER) {
            return Err(damaged(format!("{MANIFEST} lists no {}", super::COMPILER)));
        }
        Ok(manifest)
    }

    /// Writes the manifest into `folder`.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(MANIFEST);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::file("write", &path)(error.into()))?;
        files::write_whole(&path, &text)
    }
}
