//! What the end-to-end tests share.
#![allow(dead_code, reason = "each test binary uses a part")]

use stablemate::{Folders, LoadOptions};
use std::path::{Path, PathBuf};

/// The folder `cargo xtask setup` installs into.
pub fn data() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var("STABLEMATE_TEST_DATA")
        .map_or_else(|_| workspace.join("target/stablemate-data"), PathBuf::from);
    assert!(data.exists(), "{} is missing: run `cargo xtask setup` first", data.display());
    data
}

/// Folders whose cache outlives the tests: compiling is most of their time.
pub fn folders() -> Folders {
    let data = data();
    let cache = data.with_file_name("stablemate-cache");
    Folders { data, cache }
}

pub fn options() -> LoadOptions {
    LoadOptions::new(folders())
}

/// SmolLM2-135M-Instruct, Q4_1.
pub fn smollm2() -> PathBuf {
    let path = data().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.exists(), "{} is missing: run `cargo xtask setup` first", path.display());
    path
}

/// Runs `check` on every item, two at a time, and reports all failures together.
pub fn for_each<T: Sync>(
    items: &[T],
    name: impl Fn(&T) -> String + Sync,
    check: impl Fn(&T) -> Result<(), String> + Sync,
) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(item) =
                    items.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    if let Err(message) = check(item) {
                        failures.lock().unwrap().push(format!("{}: {message}", name(item)));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        items.len(),
        failures.join("\n")
    );
}

/// The largest difference, or a message if it exceeds `tolerance`.
pub fn close(found: &[f32], expected: &[f32], tolerance: f64) -> Result<f64, String> {
    if found.len() != expected.len() {
        return Err(format!("{} values instead of {}", found.len(), expected.len()));
    }
    let differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    let largest = differences.fold(0.0, |a, b| if b.is_nan() { f64::NAN } else { f64::max(a, b) });
    if largest <= tolerance {
        Ok(largest)
    } else {
        Err(format!("logits are off by {largest}, tolerance {tolerance}"))
    }
}
