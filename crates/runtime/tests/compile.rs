//! Compiling into the cache: with the real compiler, and with one that does what it is told.
#![allow(missing_docs)]

mod support;
#[path = "support/wheel.rs"]
mod wheel;

use std::fs;
use std::path::Path;
use std::thread;

use stablemate_runtime::{CompileFailure, Error, Outcome, REVISION, Target, Toolchain, VmfbCache};

const TEXT: &str = "module @m {
  func.func private @halve.impl(%x: tensor<4xf32>) -> tensor<4xf32> {
    %half = stablehlo.constant dense<0.5> : tensor<4xf32>
    %y = stablehlo.multiply %x, %half : tensor<4xf32>
    return %y : tensor<4xf32>
  }
  func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
    %y = stablehlo.composite \"test.halve\" %x {decomposition = @halve.impl} : (tensor<4xf32>) -> tensor<4xf32>
    return %y : tensor<4xf32>
  }
}
";

fn failure(result: Result<impl std::fmt::Debug, Error>) -> Box<CompileFailure> {
    match result {
        Err(Error::Compile(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn compiled_once() {
    let toolchain = support::toolchain();
    let folder = tempfile::tempdir().unwrap();
    let cache = VmfbCache::new(folder.path().join("new/cache"));
    assert_eq!(cache.lookup(TEXT, &Target::Host, REVISION).unwrap(), None);
    let first = cache.compile(&toolchain, TEXT, &Target::Host).unwrap();
    assert!(!first.from_cache && first.seconds > 0.0);
    assert_eq!(names(cache.folder()).len(), 2, "the module and its note");
    let module = fs::read(&first.path).unwrap();

    let second = cache.compile(&toolchain, TEXT, &Target::Host).unwrap();
    assert!(second.from_cache && second.path == first.path);
    let found = cache.lookup(TEXT, &Target::Host, REVISION).unwrap();
    assert_eq!(found, Some(first.path.clone()));
    assert_eq!(cache.lookup(TEXT, &Target::Vmvx, REVISION).unwrap(), None);
    assert_eq!(cache.lookup(TEXT, &Target::Host, "another").unwrap(), None);

    // A damaged entry is made again, and is the same: nothing of this run gets into a module.
    fs::write(&first.path, &module[..module.len() / 2]).unwrap();
    let third = cache.compile(&toolchain, TEXT, &Target::Host).unwrap();
    assert!(!third.from_cache);
    assert!(fs::read(&third.path).unwrap() == module);

    let output = folder.path().join("model.vmfb");
    let copied = cache.compile_to(&toolchain, TEXT, &Target::Host, &output).unwrap();
    assert!(copied.from_cache && copied.path == output);
    assert!(fs::read(&output).unwrap() == module);
}

#[test]
fn errors_show_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let cache = VmfbCache::new(folder.path());
    let text = TEXT.replace("stablehlo.multiply", "stablehlo.multiplied");
    let failure = failure(cache.compile(&support::toolchain(), &text, &Target::Host));
    assert_eq!(failure.outcome, Outcome::Rejected);
    assert_eq!(fs::read_to_string(&failure.input).unwrap(), text);
    let message = failure.to_string();
    assert!(message.starts_with("the text does not compile for host\n  4:10: "), "{message}");
    assert!(message.contains("\n    | %y = stablehlo.multiplied %x, %half"), "{message}");
    assert!(message.ends_with(&failure.input.display().to_string()));
    assert_eq!(names(folder.path()).len(), 1, "only the text is left");
}

/// What no compiler flag may turn off.
#[test]
fn shapes_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cache = VmfbCache::new(folder.path());
    let text = "module @m {
      func.func @main(%x: tensor<4xf32>) -> tensor<5xf32> {
        %y = stablehlo.reshape %x : (tensor<4xf32>) -> tensor<5xf32>
        return %y : tensor<5xf32>
      }
    }";
    let failure = failure(cache.compile(&support::toolchain(), text, &Target::Host));
    assert_eq!(failure.outcome, Outcome::Rejected);
    assert!(failure.to_string().contains("number of output elements (5)"), "{failure}");
}

#[test]
fn unknown_processors_end_the_compiler_not_us() {
    let folder = tempfile::tempdir().unwrap();
    let target = "llvm-cpu:nonsense".parse().unwrap();
    let cache = VmfbCache::new(folder.path());
    let failure = failure(cache.compile(&support::toolchain(), TEXT, &target));
    assert!(failure.to_string().contains("llvm-cpu:nonsense"), "{failure}");
    assert!(failure.to_string().contains("LLVM ERROR"), "{failure}");
}

#[test]
fn f64_is_not_made_f32() {
    let text = "module @m {
      func.func @main(%x: tensor<4xf64>) -> tensor<4xf64> {
        %y = stablehlo.add %x, %x : tensor<4xf64>
        return %y : tensor<4xf64>
      }
    }";
    let device = support::device();
    let session = support::session(&device, text);
    assert_eq!(session.functions()[0].results[0].to_string(), "tensor<4xf64>");
}

#[test]
fn every_target() {
    let toolchain = support::toolchain();
    let folder = tempfile::tempdir().unwrap();
    let cache = VmfbCache::new(folder.path());
    let compile = |target: &str| {
        let target: Target = target.parse().unwrap();
        let compiled =
            cache.compile(&toolchain, TEXT, &target).unwrap_or_else(|error| panic!("{error}"));
        compiled.path
    };
    let targets = [
        "llvm-cpu",
        "llvm-cpu:aarch64-unknown-linux-gnu/generic",
        "vmvx",
        "cuda",
        "vulkan-spirv",
        "rocm",
    ];
    let mut paths = targets.map(compile).to_vec();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), targets.len());
}

/// A compiler made for tests, see `support/wheel.rs`.
fn obedient(folder: &Path) -> Toolchain {
    let wheel = wheel::Wheel::default().write(folder);
    Toolchain::install(&wheel, &folder.join("data"), &mut |_| ()).unwrap()
}

#[test]
fn crashes_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let toolchain = obedient(folder.path());
    let cache = VmfbCache::new(folder.path().join("cache"));
    let compile = |text| cache.compile(&toolchain, text, &Target::Vmvx);

    let crashed = failure(compile("crash"));
    assert_eq!(crashed.outcome, Outcome::Crashed(11));
    assert!(crashed.to_string().contains("crashed (signal 11)"), "{crashed}");
    assert!(crashed.to_string().contains("Stack dump:"), "{crashed}");
    assert_eq!(fs::read_to_string(&crashed.input).unwrap(), "crash");

    assert_eq!(failure(compile("wrong")).diagnostics[0].place, Some((1, 3)));
    assert_eq!(failure(compile("silent")).outcome, Outcome::NoOutput);
    let compiled = compile("right").unwrap();
    assert_eq!(fs::read_to_string(compiled.path).unwrap(), "module");
}

#[test]
fn several_may_compile_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let toolchain = obedient(folder.path());
    let cache = VmfbCache::new(folder.path().join("cache"));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let compiled = cache.compile(&toolchain, "right", &Target::Vmvx).unwrap();
                assert_eq!(fs::read_to_string(compiled.path).unwrap(), "module");
            });
        }
    });
    assert_eq!(names(cache.folder()).len(), 2);
}
