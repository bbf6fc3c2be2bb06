//! The detection on made-up machines, and the commands it leads to.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::*;

fn file(root: &TempDir, path: &str) {
    let path = root.path().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn machine(root: &TempDir) -> Machine {
    Machine {
        path: vec![root.path().join("usr/bin")],
        root: root.path().to_owned(),
        is_set: |_| false,
        has_pip: || false,
    }
}

fn packages(missing: &[Missing]) -> Vec<&'static str> {
    missing.iter().map(|one| one.package).collect()
}

#[test]
fn a_bare_machine_lacks_everything() {
    let root = TempDir::new().unwrap();
    let all = ["gcc", "libc6-dev", "g++", "make", "libclang-dev", "python3", "python3-pip"];
    assert_eq!(packages(&machine(&root).missing(true)), all);
    // Nothing to download, no need of pip.
    assert_eq!(packages(&machine(&root).missing(false)), all[..5]);
}

#[test]
fn what_is_there_is_not_missing() {
    let root = TempDir::new().unwrap();
    for program in ["cc", "c++", "make", "python3"] {
        file(&root, &format!("usr/bin/{program}"));
    }
    assert_eq!(packages(&machine(&root).missing(true)), ["libclang-dev", "python3-pip"]);
    file(&root, "usr/lib/llvm-14/lib/libclang-14.so.14.0.6");
    assert_eq!(
        packages(&machine(&root).missing(false)),
        ["libclang-dev"],
        "the library without its headers"
    );
    file(&root, "usr/lib/llvm-14/lib/clang/14.0.6/include/stddef.h");
    assert_eq!(packages(&machine(&root).missing(true)), ["python3-pip"]);
    let with_pip = Machine { has_pip: || true, ..machine(&root) };
    assert_eq!(with_pip.missing(true), []);
}

#[test]
fn variables_replace_programs() {
    let root = TempDir::new().unwrap();
    let configured = Machine { is_set: |_| true, ..machine(&root) };
    assert_eq!(configured.missing(false), []);
    let only_cxx = Machine { is_set: |name| name == "CXX", ..machine(&root) };
    assert_eq!(packages(&only_cxx.missing(false)), ["gcc", "libc6-dev", "make", "libclang-dev"]);
}

#[test]
fn libclang_is_told_from_its_neighbours() {
    for name in [
        "libclang.so",
        "libclang-14.so",
        "libclang.so.14",
        "libclang-14.so.1",
        "libclang-14.0.6.so",
    ] {
        assert!(is_libclang(name), "{name}");
    }
    for name in ["libclang-cpp.so.14", "libclang.a", "libclangAST.so", "libc.so"] {
        assert!(!is_libclang(name), "{name}");
    }
}

#[test]
fn a_dangling_link_is_no_library() {
    let root = TempDir::new().unwrap();
    fs::create_dir_all(root.path().join("usr/lib64")).unwrap();
    std::os::unix::fs::symlink("gone.so", root.path().join("usr/lib64/libclang.so")).unwrap();
    assert!(!machine(&root).has_libclang());
    file(&root, "usr/lib64/gone.so");
    assert!(machine(&root).has_libclang());
}

#[test]
fn lists_are_updated_before_installing() {
    let line = |privilege| {
        commands(privilege, &["make", "g++"]).map(|command| process::describe(&command))
    };
    assert_eq!(
        line(Privilege::Root),
        [
            "env DEBIAN_FRONTEND=noninteractive apt-get update",
            "env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends make g++",
        ]
    );
    assert!(line(Privilege::Sudo)[1].starts_with("sudo --non-interactive env DEBIAN_FRONTEND="));
    assert!(line(Privilege::SudoAsking)[1].starts_with("sudo env DEBIAN_FRONTEND="));
}
