//! Wheels made for tests, whose compiler is a shell script.
#![allow(dead_code, missing_docs, reason = "each test program uses a part of this")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub const METADATA: &str =
    "Metadata-Version: 2.4\nName: iree-base-compiler\nVersion: 3.13.0\n\nVersion: 9\n";

/// A compiler that writes "module" for every text but `crash`, which kills it, and `wrong`.
pub const COMPILER: &str = r#"#!/bin/sh
case "$1" in
--version) echo "IREE compiler version 3.13.0rc1 @ 0"; exit 0 ;;
esac
case "$(cat "$1")" in
crash) echo "Stack dump:" >&2; kill -SEGV $$ ;;
wrong) echo "$1:1:3: error: no such thing" >&2; exit 1 ;;
silent) exit 0 ;;
esac
printf module > "$3"
"#;

pub struct Wheel {
    pub metadata: String,
    pub tag: String,
    /// The members below `iree/compiler/_mlir_libs/`.
    pub files: Vec<(String, Vec<u8>)>,
    /// Written instead of the right one.
    pub record: Option<String>,
}

impl Default for Wheel {
    fn default() -> Self {
        let file = |name: &str, contents: &str| (name.to_owned(), contents.as_bytes().to_vec());
        Self {
            metadata: METADATA.to_owned(),
            tag: format!("cp311-cp311-manylinux_2_28_{}", std::env::consts::ARCH),
            files: vec![
                file("iree-compile", COMPILER),
                file("iree-lld", "lld"),
                file("libIREECompiler.so", "library"),
                file("iree_platform_libs/rocm/ocml.bc", "bitcode"),
                file("_mlir.so", "not needed"),
            ],
            record: None,
        }
    }
}

impl Wheel {
    pub fn write(&self, folder: &Path) -> PathBuf {
        let information = "iree_base_compiler-3.13.0.dist-info";
        let members: Vec<(String, &[u8])> = self
            .files
            .iter()
            .map(|(name, contents)| (format!("iree/compiler/_mlir_libs/{name}"), &contents[..]))
            .collect();
        let record: String = members
            .iter()
            .map(|(name, contents)| {
                let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(contents));
                format!("{name},sha256={hash},{}\n", contents.len())
            })
            .collect();
        let record = self.record.as_ref().unwrap_or(&record);
        let wheel = format!("Wheel-Version: 1.0\nTag: {}\n", self.tag);

        let path = folder.join("compiler.whl");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        let mut add = |name: &str, contents: &[u8]| {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(contents).unwrap();
        };
        add(&format!("{information}/METADATA"), self.metadata.as_bytes());
        add(&format!("{information}/WHEEL"), wheel.as_bytes());
        add(&format!("{information}/RECORD"), record.as_bytes());
        for (name, contents) in members {
            add(&name, contents);
        }
        zip.finish().unwrap();
        path
    }
}
