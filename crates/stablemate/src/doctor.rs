//! What is installed, what is missing, and how to mend it.

use crate::Folders;
use stablemate_runtime::{Error as RuntimeError, Toolchain, VERSION, download};
use std::path::Path;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Good,
    /// Not there.
    Missing,
    /// There, but not as it should be.
    Damaged,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What: `compiler`, `cache`, …
    pub subject: &'static str,
    /// How it is.
    pub health: Health,
    /// What was found and, if that is not good, how to mend it.
    pub message: String,
}

/// Looks at everything that running a model needs. Reads the installed compiler whole.
pub fn examine(folders: &Folders) -> Vec<Finding> {
    let compiler = compiler(&folders.data);
    // Only installing needs it.
    let pip = (compiler.health != Health::Good).then(pip);
    let mut findings = vec![
        compiler,
        folder("data", &folders.data, "installed programs"),
        folder("cache", &folders.cache, "compiled models"),
        processor(),
    ];
    findings.extend(pip);
    findings
}

fn pip() -> Finding {
    let (health, message) = match download::check_pip(Path::new("python3")) {
        Ok(()) => (Health::Good, "python3 has pip, which `stablemate setup` needs".to_string()),
        Err(error) => (Health::Missing, error.to_string()),
    };
    Finding { subject: "pip", health, message }
}

fn compiler(data: &Path) -> Finding {
    let finding = |health, message| Finding { subject: "compiler", health, message };
    match Toolchain::at(data).and_then(|toolchain| toolchain.verify().map(|()| toolchain)) {
        Ok(toolchain) => {
            let folder = toolchain.folder().display();
            finding(Health::Good, format!("IREE {VERSION} in {folder}, all files as installed"))
        }
        Err(error @ RuntimeError::ToolchainMissing { .. }) => {
            finding(Health::Missing, format!("{error} (models compiled before run without it)"))
        }
        Err(error) => finding(Health::Damaged, error.to_string()),
    }
}

/// A folder must be writable, or able to be created.
fn folder(subject: &'static str, path: &Path, holds: &str) -> Finding {
    let finding = |health, message| Finding { subject, health, message };
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."));
    let shown = path.display();
    match tempfile::Builder::new().prefix(".stablemate-").tempfile_in(existing) {
        Ok(_) => {
            let size = size_below(path) as f64 / 1e6;
            finding(Health::Good, format!("{shown}: {size:.1} MB of {holds}"))
        }
        Err(error) => {
            let message = format!("{shown}: cannot be written ({error}); give another folder with");
            let option = if subject == "data" { "--data-folder" } else { "--cache-folder" };
            finding(Health::Damaged, format!("{message} {option}"))
        }
    }
}

fn size_below(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_below(&entry.path()),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    };
    entries.flatten().map(size).sum()
}

fn processor() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let architecture = std::env::consts::ARCH;
    let message = format!("{architecture}, {cores} cores{}", vector_units());
    Finding { subject: "processor", health: Health::Good, message }
}

#[cfg(target_arch = "x86_64")]
fn vector_units() -> String {
    let found = [
        ("AVX2", std::arch::is_x86_feature_detected!("avx2")),
        ("FMA", std::arch::is_x86_feature_detected!("fma")),
        ("AVX-512", std::arch::is_x86_feature_detected!("avx512f")),
        ("AVX-512 VNNI", std::arch::is_x86_feature_detected!("avx512vnni")),
        ("AVX-512 BF16", std::arch::is_x86_feature_detected!("avx512bf16")),
    ];
    found.iter().filter(|(_, found)| *found).map(|(name, _)| format!(", {name}")).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn vector_units() -> String {
    String::new()
}
