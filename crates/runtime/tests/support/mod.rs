//! What several of the tests need.
#![allow(dead_code, missing_docs, reason = "each test program uses a part of this")]

pub mod kernels;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use half::{bf16, f16};
use memmap2::Mmap;
use stablemate_graph::ElementType;
use stablemate_runtime::{Buffer, CpuOptions, Device, Session, Target, Toolchain, VmfbCache};

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
    Device::cpu(&CpuOptions { threads: Some(2) }).unwrap()
}

/// Compiles `text` for this machine, into a folder of this test program.
pub fn compiled(text: &str) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let compiled = VmfbCache::new(folder.path())
        .compile(&toolchain(), text, &Target::Host)
        .unwrap_or_else(|error| panic!("{error}"));
    compiled.path.clone()
}

/// Compiles `text` for this machine and loads it.
pub fn session(device: &Device, text: &str) -> Session {
    Session::load(device, &compiled(text)).unwrap()
}

/// A buffer's contents, of any element type.
pub fn bytes(buffer: &Buffer) -> Vec<u8> {
    match buffer.element_type() {
        ElementType::F32 => bytemuck::cast_slice(&buffer.read::<f32>().unwrap()).to_vec(),
        ElementType::F16 => bytemuck::cast_slice(&buffer.read::<f16>().unwrap()).to_vec(),
        ElementType::Bf16 => bytemuck::cast_slice(&buffer.read::<bf16>().unwrap()).to_vec(),
        ElementType::I1 | ElementType::I8 => buffer.read::<u8>().unwrap(),
        ElementType::I16 => bytemuck::cast_slice(&buffer.read::<i16>().unwrap()).to_vec(),
        ElementType::I32 => bytemuck::cast_slice(&buffer.read::<i32>().unwrap()).to_vec(),
        ElementType::I64 => bytemuck::cast_slice(&buffer.read::<i64>().unwrap()).to_vec(),
    }
}

/// Bytes of memory in use by this process.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

/// A mapped file of `bytes`.
pub fn mapped(bytes: &[u8]) -> Arc<Mmap> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    // SAFETY: nobody changes the file, which has no name.
    Arc::new(unsafe { Mmap::map(&file) }.unwrap())
}
