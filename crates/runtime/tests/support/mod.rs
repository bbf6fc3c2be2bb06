//! What several of the tests need.
#![allow(dead_code, missing_docs, reason = "each test program uses a part of this")]

use std::env;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use stablemate_runtime::{
    ALIGNMENT, CpuOptions, Device, HostMemory, Session, Target, Toolchain, VmfbCache,
};

/// Where `cargo xtask test` installs the compiler.
pub fn data_folder() -> PathBuf {
    match env::var_os("STABLEMATE_TEST_DATA") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/stablemate-data"),
    }
}

/// The installed compiler.
pub fn toolchain() -> Toolchain {
    Toolchain::at(&data_folder()).unwrap_or_else(|error| {
        panic!("{error}\nThese tests need the compiler: run them with `cargo xtask test`")
    })
}

/// A device with two threads.
pub fn device() -> Device {
    Device::cpu(&CpuOptions { threads: Some(2), ..CpuOptions::default() }).unwrap()
}

/// Compiles `text` for this machine (into a folder of this test program) and loads it.
pub fn session(device: &Device, text: &str) -> Session {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let compiled = VmfbCache::new(folder.path())
        .compile(&toolchain(), text, &Target::Host)
        .unwrap_or_else(|error| panic!("{error}"));
    Session::load(device, &compiled.path).unwrap()
}

/// Bytes of memory in use by this process.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

/// Memory and the range in it that holds `bytes`, 64-byte aligned.
pub fn aligned(bytes: &[u8]) -> (HostMemory, Range<usize>) {
    let mut memory: Arc<[u8]> = vec![0; bytes.len() + ALIGNMENT].into();
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let range = start..start + bytes.len();
    Arc::get_mut(&mut memory).unwrap()[range.clone()].copy_from_slice(bytes);
    (memory.into(), range)
}
