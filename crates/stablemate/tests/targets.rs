//! The portable text compiles for every target.

mod support;

use stablemate::runtime::{Target, Toolchain, VmfbCache};
use stablemate::{EmitOptions, emit, open};
use stablemate_fixtures::Case;
use support::{folders, for_each};

#[test]
fn every_fixture_compiles_for_every_target() {
    let folders = folders();
    let toolchain = Toolchain::at(&folders.data).unwrap();
    let cache = VmfbCache::new(folders.cache.clone());
    let targets: Vec<Target> = ["llvm-cpu", "vmvx", "cuda:sm_80", "vulkan-spirv", "rocm:gfx942"]
        .iter()
        .map(|name| name.parse().unwrap())
        .collect();
    let cases: Vec<(Case, &Target)> = Case::all()
        .into_iter()
        .flat_map(|case| targets.iter().map(move |target| (Case::open(case.name()), target)))
        .collect();
    for_each(
        &cases,
        |(case, target)| format!("{} for {target}", case.name()),
        |(case, target)| {
            let opened = open(&case.directory).map_err(|error| error.to_string())?;
            // The sizes of `stablemate emit` without options, in two of the four entry points:
            // the others differ in the head alone.
            let options = EmitOptions {
                entries: vec!["prefill".to_string(), "decode_argmax".to_string()],
                tokens: 128,
                sequences: 1,
                context: opened.decoder.context.unwrap_or(2048).min(2048),
            };
            let text = emit(&opened, &options).map_err(|error| error.to_string())?.to_string();
            for absent in ["custom_call", "f64", "?x"] {
                if text.contains(absent) {
                    return Err(format!("the text contains {absent}"));
                }
            }
            cache.compile(&toolchain, &text, target).map_err(|error| error.to_string())?;
            Ok(())
        },
    );
}
