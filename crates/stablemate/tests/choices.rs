//! What can be chosen when a model is loaded, what is refused, and what `verify` says about it.

#[path = "quantized/model.rs"]
mod model;
mod support;

use model::ids;
use stablemate::{
    Activations, Backend, CacheElement, Comparison, Isa, LoadOptions, Model, Quantize, verify,
};
use stablemate_fixtures::gguf::Kind;
use stablemate_fixtures::{Case, Dtype};
use std::path::{Path, PathBuf};
use support::{close, options};
use tempfile::TempDir;

fn fixture(name: &str) -> (TempDir, Case) {
    let (folder, case) = (tempfile::tempdir().unwrap(), Case::open(name));
    case.write_checkpoint(folder.path()).unwrap();
    (folder, case)
}

fn blocks(kind: Kind) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    model::write_gguf(kind, false, &path);
    (folder, path)
}

fn compare(path: &Path, activations: Activations, cache: CacheElement) -> Comparison {
    let options = LoadOptions { activations, cache, ..options() };
    let mut all = verify(path, &options, &[ids(40)], 24).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

#[test]
fn verification_finds_native_kernels_exact() {
    let (folder, case) = fixture("llama_plain");
    let expected = &case.expected;
    let prompts = [expected.prompt_ids.clone(), vec![5]];
    let options = LoadOptions { cache: CacheElement::F32, ..options() };
    let found = verify(folder.path(), &options, &prompts, 16).unwrap();
    assert_eq!(found.len(), 2);
    for comparison in &found {
        assert!(comparison.exact() && comparison.margin.is_none(), "{comparison:?}");
        assert_eq!((comparison.token_ids.len(), comparison.top1_agreement), (16, 1.0));
        assert!(comparison.largest_difference < 1e-4, "{comparison:?}");
        assert!(comparison.largest_divergence < 1e-7, "{comparison:?}");
    }
    assert_eq!(found[0].token_ids, expected.token_ids[..16]);
}

#[test]
fn verification_says_what_eight_bits_cost() {
    let (_folder, path) = blocks(Kind::Q4_0);
    let exact = compare(&path, Activations::Exact, CacheElement::F32);
    assert!(exact.exact(), "{exact:?}");
    assert!(exact.largest_divergence < 1e-6, "{exact:?}");
    let int8 = compare(&path, Activations::Int8, CacheElement::F32);
    println!("exact {exact:?}\nint8 {int8:?}");
    assert!(int8.mean_divergence > 100.0 * exact.mean_divergence, "{int8:?}");
    assert!((1e-6..0.05).contains(&int8.mean_divergence), "{int8:?}");
    assert!(int8.largest_divergence >= int8.mean_divergence, "{int8:?}");
    assert!(int8.top1_agreement >= 0.8, "{int8:?}");
}

#[test]
fn caches_of_fewer_bits_are_close() {
    let (_folder, path) = blocks(Kind::Q8_0);
    let logits = |backend, cache| {
        let options = LoadOptions { backend, cache, ..options() };
        Model::load(&path, &options).unwrap().logits(ids(40).as_slice()).unwrap()
    };
    let exact = logits(Backend::Native, CacheElement::F32);
    for (cache, least, most) in [(CacheElement::F16, 1e-5, 0.02), (CacheElement::Q8, 1e-4, 0.3)] {
        let native = logits(Backend::Native, cache);
        let difference = close(&native, &exact, most).unwrap();
        println!("{cache}: differs from f32 by {difference:.1e}");
        assert!(difference > least, "{cache} changes nothing");
        // Rounded by the same rule, but for values on an edge.
        let between = close(&native, &logits(Backend::Portable, cache), most).unwrap();
        println!("{cache}: native and portable differ by {between:.1e}");
        assert!(cache == CacheElement::F16 || between < difference, "{between} {difference}");
    }
}

fn refusal(path: &Path, options: &LoadOptions) -> String {
    match Model::load(path, options) {
        Ok(_) => panic!("{} was loaded", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_the_portable_text_cannot_do_is_refused() {
    let (folder, _) = fixture("llama_plain");
    let portable = LoadOptions { backend: Backend::Portable, ..options() };
    let int8 = LoadOptions { activations: Activations::Int8, ..portable.clone() };
    let message = refusal(folder.path(), &int8);
    assert!(message.contains("8 bits") && message.contains("native kernels"), "{message}");
    let chosen = LoadOptions { isa: Some(Isa::Portable), ..portable };
    let message = refusal(folder.path(), &chosen);
    assert!(message.contains("instructions") && message.contains("native kernels"), "{message}");
}

#[test]
fn instructions_that_the_machine_lacks_are_refused() {
    let (folder, _) = fixture("llama_plain");
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.available()) {
        let message = refusal(folder.path(), &LoadOptions { isa: Some(isa), ..options() });
        let best = Isa::best().to_string();
        assert!(message.contains(&isa.to_string()) && message.contains(&best), "{message}");
    }
}

#[test]
fn widths_and_groups_that_do_not_exist_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    model::write_directory(Dtype::Float32, true, folder.path());
    let (_blocks, quantised) = blocks(Kind::Q8_0);
    let with = |bits, group_size| LoadOptions {
        quantize: Some(Quantize { bits, group_size }),
        ..options()
    };
    for path in [folder.path(), &quantised] {
        let message = refusal(path, &with(7, 64));
        assert!(message.contains("7 bits") && message.contains("2, 3, 4, 5, 6 and 8"), "{message}");
        for group in [0, 16, 48] {
            let message = refusal(path, &with(4, group));
            let asked = format!("groups of {group}");
            assert!(message.contains(&asked) && message.contains("32, 64"), "{message}");
        }
    }
    // Nothing would be done, which is not what was asked for.
    let message = refusal(&quantised, &with(4, 64));
    assert!(message.contains("nothing to quantise"), "{message}");
}

#[test]
fn prompts_that_cannot_be_verified_are_refused() {
    let (folder, _) = fixture("llama_plain");
    let refuse = |prompt: Vec<u32>, tokens| {
        verify(folder.path(), &options(), &[prompt], tokens).unwrap_err().to_string()
    };
    assert!(refuse(Vec::new(), 4).contains("empty"));
    let message = refuse(vec![1, 9999], 4);
    assert!(message.contains("9999") && message.contains("vocabulary"), "{message}");
    let message = refuse(vec![1; 500], 20);
    assert!(message.contains("context"), "{message}");
}
