//! What the tests of the command line share.
#![allow(dead_code, reason = "each test binary uses a part")]

use serde_json::Value;
use stablemate_fixtures::Case;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

pub fn data() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var("STABLEMATE_TEST_DATA")
        .map_or_else(|_| workspace.join("target/stablemate-data"), PathBuf::from);
    assert!(data.exists(), "{} is missing: run `cargo xtask setup` first", data.display());
    data
}

pub fn cache() -> PathBuf {
    data().with_file_name("stablemate-cache")
}

pub fn smollm2() -> String {
    data().join("models/SmolLM2-135M-Instruct.Q4_1.gguf").display().to_string()
}

/// `stablemate` with the folders of the tests and nothing else in its environment.
pub fn stablemate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stablemate"));
    command.env_clear().env("HOME", "/nonexistent");
    command.env("STABLEMATE_DATA", data()).env("STABLEMATE_CACHE", cache()).args(arguments);
    command
}

pub fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Standard output of a command that must succeed.
pub fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Standard error of a command that must fail, without a panic.
pub fn fail(command: &mut Command) -> String {
    let output = output(command);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{command:?} succeeded");
    assert!(!errors.contains("panicked"), "{command:?}: {errors}");
    errors
}

pub fn json(command: &mut Command) -> Value {
    serde_json::from_str(&succeed(command)).unwrap()
}

pub fn joined(ids: &[u32]) -> String {
    ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// A fixture's checkpoint, which has no tokenizer.
pub fn checkpoint(case: &str) -> (TempDir, String, Case) {
    let (folder, case) = (tempfile::tempdir().unwrap(), Case::open(case));
    case.write_checkpoint(folder.path()).unwrap();
    let path = folder.path().display().to_string();
    (folder, path, case)
}
