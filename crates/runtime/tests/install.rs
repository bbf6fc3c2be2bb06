//! Installing the compiler, from wheels made here.
#![allow(missing_docs)]

#[path = "support/wheel.rs"]
mod wheel;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use stablemate_runtime::{Progress, Toolchain};
use wheel::Wheel;

fn install(wheel: &Wheel, folder: &Path) -> Result<Toolchain, String> {
    let path = wheel.write(folder);
    Toolchain::install(&path, &folder.join("data"), &mut |_| ()).map_err(|error| error.to_string())
}

/// The error of installing `wheel`; nothing may be left behind.
fn refused(wheel: &Wheel) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = install(wheel, folder.path()).unwrap_err();
    let left: Vec<_> = fs::read_dir(folder.path().join("data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["iree-3.13.0.lock"]);
    error
}

#[test]
fn installs_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = Wheel::default().write(folder.path());
    let data = folder.path().join("data");
    let mut steps = Vec::new();
    let toolchain = Toolchain::install(&path, &data, &mut |progress| steps.push(progress)).unwrap();
    toolchain.verify().unwrap();
    assert_eq!(toolchain.folder(), data.join("iree-3.13.0"));
    let mode = |name: &str| {
        let metadata = fs::metadata(toolchain.folder().join(name)).unwrap();
        metadata.permissions().mode() & 0o111
    };
    assert_eq!((mode("iree-compile"), mode("iree-lld")), (0o111, 0o111));
    assert_eq!(mode("libIREECompiler.so"), 0);
    assert!(toolchain.folder().join("iree_platform_libs/rocm/ocml.bc").exists());
    assert!(!toolchain.folder().join("_mlir.so").exists());
    let Some(Progress::Unpacking { done, total }) = steps.iter().rev().nth(1) else {
        panic!("{steps:?}");
    };
    assert_eq!((done, steps.last()), (total, Some(&Progress::Checking)));
    assert_eq!(Toolchain::at(&data).unwrap().folder(), toolchain.folder());
}

#[test]
fn a_whole_installation_stays_and_a_damaged_one_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let toolchain = install(&Wheel::default(), folder.path()).unwrap();
    let library = toolchain.folder().join("libIREECompiler.so");

    // Nothing is read from the wheel when all is there.
    Toolchain::install(Path::new("/nonexistent"), &folder.path().join("data"), &mut |_| ())
        .unwrap();

    fs::write(&library, "Library").unwrap();
    let found = Toolchain::at(&folder.path().join("data")).unwrap();
    let error = found.verify().unwrap_err().to_string();
    assert!(error.contains("libIREECompiler.so") && error.contains("stablemate setup"), "{error}");
    install(&Wheel::default(), folder.path()).unwrap().verify().unwrap();
    assert_eq!(fs::read_to_string(&library).unwrap(), "library");

    fs::write(&library, "longer than it was").unwrap();
    let error = Toolchain::at(&folder.path().join("data")).unwrap_err().to_string();
    assert!(error.contains("libIREECompiler.so has 18 bytes, not 7"), "{error}");
    install(&Wheel::default(), folder.path()).unwrap();

    fs::remove_file(&library).unwrap();
    assert!(Toolchain::at(&folder.path().join("data")).is_err());
}

#[test]
fn several_may_install_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = Wheel::default().write(folder.path());
    let data = folder.path().join("data");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let toolchain = Toolchain::install(&path, &data, &mut |_| ()).unwrap();
                toolchain.verify().unwrap();
            });
        }
    });
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
}

#[test]
fn a_missing_installation_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Toolchain::at(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("iree-3.13.0: run: stablemate setup"), "{error}");
}

#[test]
fn damaged_manifests() {
    let folder = tempfile::tempdir().unwrap();
    let toolchain = install(&Wheel::default(), folder.path()).unwrap();
    let manifest = toolchain.folder().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    for damaged in [
        String::new(),
        text.replace("3.13.0", "3.12.0"),
        text.replace("\"iree-lld\"", "\"../iree-lld\""),
        text.replace("\"iree-lld\"", "\"/etc/passwd\""),
        text.replace("\"iree-compile\"", "\"iree-lld\""),
    ] {
        fs::write(&manifest, damaged).unwrap();
        let error = Toolchain::at(&folder.path().join("data")).unwrap_err();
        assert!(error.to_string().contains("manifest.json"), "{error}");
    }
}

#[test]
fn wrong_wheels() {
    let other = |metadata: &str| Wheel { metadata: metadata.to_owned(), ..Wheel::default() };
    let error = refused(&other(&wheel::METADATA.replace("3.13.0", "3.14.0")));
    assert!(error.contains("it is iree-base-compiler 3.14.0; this program needs"), "{error}");
    let error = refused(&other("Name: numpy\nVersion: 3.13.0\n"));
    assert!(error.contains("it is numpy 3.13.0"), "{error}");
    assert!(refused(&other("")).contains("unknown"));

    let error = refused(&Wheel {
        tag: "cp311-cp311-macosx_13_0_universal2".to_owned(),
        ..Wheel::default()
    });
    assert!(error.contains("it is for cp311-cp311-macosx"), "{error}");
}

#[test]
fn damaged_wheels() {
    let mut wheel = Wheel::default();
    wheel.files.remove(1);
    assert!(refused(&wheel).contains("its RECORD lists no iree/compiler/_mlir_libs/iree-lld"));

    let library = "iree/compiler/_mlir_libs/libIREECompiler.so";
    let right = {
        let folder = tempfile::tempdir().unwrap();
        let path = Wheel::default().write(folder.path());
        let mut zip = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
        let record = zip.by_name("iree_base_compiler-3.13.0.dist-info/RECORD").unwrap();
        std::io::read_to_string(record).unwrap()
    };
    for record in [
        // Shorter, longer and other than the member is.
        right.replace(",7\n", ",6\n"),
        right.replace(",7\n", ",8\n"),
        right.replace(&format!("{library},sha256="), &format!("{library},sha256=x")),
    ] {
        let error = refused(&Wheel { record: Some(record), ..Wheel::default() });
        assert!(error.contains("is not what its RECORD says"), "{error}");
    }
    let error = refused(&Wheel {
        record: Some(right.replace(",7\n", ",99999999999\n")),
        ..Wheel::default()
    });
    assert!(error.contains("99999999999 bytes"), "{error}");
    let mut wheel = Wheel { record: Some(right), ..Wheel::default() };
    wheel.files.remove(2);
    assert!(refused(&wheel).contains(library));
}

#[test]
fn names_that_lead_out_are_not_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let mut wheel = Wheel::default();
    wheel.files.push(("iree_platform_libs/../../../evil".to_owned(), b"evil".to_vec()));
    let toolchain = install(&wheel, folder.path()).unwrap();
    assert_eq!(fs::read_dir(toolchain.folder()).unwrap().count(), 5);
    assert!(!folder.path().join("evil").exists() && !folder.path().join("data/evil").exists());
}

#[test]
fn no_wheel_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.whl");
    let install = || Toolchain::install(&path, &folder.path().join("data"), &mut |_| ());
    assert!(install().unwrap_err().to_string().starts_with("cannot open"));
    fs::write(&path, "text").unwrap();
    assert!(install().unwrap_err().to_string().contains("it is not a wheel"));
}

#[test]
fn a_compiler_that_does_not_run() {
    let with = |script: &str| {
        let mut wheel = Wheel::default();
        wheel.files[0].1 = script.as_bytes().to_vec();
        refused(&wheel)
    };
    assert!(with("\u{0}garbage").contains("iree-compile"));
    let error = with("#!/bin/sh\necho libc is too old >&2; exit 1\n");
    assert!(error.contains("libc is too old"), "{error}");
    let error = with("#!/bin/sh\necho IREE compiler version 3.12.0\n");
    assert!(error.contains("3.12.0"), "{error}");
}
