//! The text of the graphs.

mod support;

use serde_json::json;
use stablemate_fixtures::Case;
use stablemate_graph::{ElementType, Module};
use stablemate_models::{
    Bucket, CacheElement, Decoder, EntryPoint, Output, ParamEntry, StepArgument, Storage,
};
use std::path::Path;
use support::describe;

fn entry(name: &str, bucket: Bucket, output: Output) -> EntryPoint {
    EntryPoint { name: name.to_string(), bucket, output }
}

/// All kinds of entry points.
fn entries() -> Vec<EntryPoint> {
    vec![
        entry("prefill", Bucket::prefill(16, 64), Output::Logits),
        entry("prefill_argmax", Bucket::prefill(16, 64), Output::Argmax),
        entry("decode", Bucket::decode(1, 64), Output::Logits),
        entry("decode_argmax", Bucket::decode(2, 64), Output::Argmax),
        entry("vectors", Bucket::prefill(16, 64), Output::Vectors),
    ]
}

fn module(decoder: &Decoder, entries: &[EntryPoint]) -> Module {
    decoder.module(entries).unwrap_or_else(|error| panic!("{}: {error}", decoder.model_type))
}

fn assert_small_snapshot(name: &str, text: &str) {
    assert!(text.lines().count() < 450, "{name} has {} lines", text.lines().count());
    insta::with_settings!({ omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn a_decode_step_of_llama() {
    let decoder = describe("llama_plain", json!({"num_hidden_layers": 1}), &[]).unwrap();
    let decode = entry("decode", Bucket::decode(1, 64), Output::Logits);
    assert_small_snapshot("llama_decode", &module(&decoder, &[decode]).to_string());
}

#[test]
fn a_decode_step_of_gemma2() {
    let edits = json!({"num_hidden_layers": 1, "layer_types": ["sliding_attention"]});
    let decoder = describe("gemma2", edits, &[]).unwrap();
    let decode = entry("decode", Bucket::decode(2, 64), Output::Argmax);
    assert_small_snapshot("gemma2_decode", &module(&decoder, &[decode]).to_string());
}

#[test]
fn texts_are_portable_and_reproducible() {
    let f32s = Storage::Dense(ElementType::F32);
    let all = [
        ("f32", CacheElement::F32),
        ("f16", CacheElement::F16),
        ("bf16", CacheElement::Q8),
        ("q5 group 16 affine F16", CacheElement::F16),
    ];
    for case in Case::all() {
        // As the loader holds weights, where they fit.
        for (matrices, cache) in all {
            let build = || {
                let mut decoder = describe(case.name(), json!({}), &[]).unwrap();
                let storage = |entry: &ParamEntry| match *entry.ty.dimensions {
                    [_, columns] if columns.size.is_multiple_of(16) => matrices.parse().unwrap(),
                    _ => f32s,
                };
                decoder.params.set_storage(Path::new("-"), storage).unwrap();
                decoder.set_cache_element(cache);
                module(&decoder, &entries()).to_string()
            };
            let text = build();
            let unportable = [
                "custom_call",
                "f64",
                "stablehlo.cosine",
                "stablehlo.sine",
                "stablehlo.power",
                // Weights are passed as bits in i16, and so are caches of f16.
                "bf16>",
            ];
            for word in unportable {
                assert!(!text.contains(word), "{} in {matrices}: {word}", case.name());
            }
            assert_eq!(text, build(), "{} in {matrices}", case.name());
        }
    }
}

#[test]
fn signatures_are_the_arguments_the_state_and_the_parameters() {
    for case in Case::all() {
        let decoder = describe(case.name(), json!({}), &[]).unwrap();
        let module = module(&decoder, &entries());
        for EntryPoint { name, bucket, output } in entries() {
            let function = module.entry(&name).unwrap();
            let ty = |id: stablemate_graph::ValueId| function.values[id.0 as usize].ty.clone();
            let found: Vec<_> = function.arguments.iter().map(|x| ty(x.value)).collect();
            let steps = StepArgument::of(&decoder);
            let states = decoder.state_types(&bucket);
            let mut expected: Vec<_> = steps.iter().map(|x| x.ty(&bucket)).collect();
            expected.extend(states.clone());
            expected.extend(decoder.params.entries().iter().map(ParamEntry::argument));
            assert_eq!(found, expected, "{} {name}", case.name());

            // The state overwrites its arguments, and comes back under its names.
            let aliases: Vec<_> = function.arguments.iter().map(|x| x.alias).collect();
            let overwritten = |n: usize| (n < states.len()).then_some(n + 1);
            let expected =
                (0..aliases.len()).map(|n| n.checked_sub(steps.len()).and_then(overwritten));
            assert_eq!(aliases, expected.collect::<Vec<_>>(), "{} {name}", case.name());
            let results: Vec<&str> =
                function.results.iter().map(|(name, _)| name.as_str()).collect();
            let output = match output {
                Output::Logits => "logits",
                Output::Argmax => "token_ids",
                Output::Vectors => "vectors",
            };
            let names = decoder.states.iter().map(|state| state.name.as_str());
            assert_eq!(results, [output].into_iter().chain(names).collect::<Vec<_>>());
            let types: Vec<_> = function.results.iter().map(|(_, id)| ty(*id)).collect();
            assert_eq!(types[1..], states);
            assert_eq!(types[0].sizes()[0], bucket.rows);
        }
        let lengths = StepArgument::of(&decoder).contains(&StepArgument::Lengths);
        let config = case.config_text().unwrap();
        let stretched = ["\"dynamic\"", "\"longrope\""].iter().any(|kind| config.contains(kind));
        assert_eq!(lengths, stretched, "{}", case.name());
    }
}

#[test]
fn equal_work_is_written_once() {
    let decoder = describe("llama_plain", json!({}), &[]).unwrap();
    let decode = entry("decode", Bucket::decode(1, 64), Output::Logits);
    let module = module(&decoder, &[decode]);
    let text = module.to_string();
    let private = |name: &str| {
        module.functions.iter().filter(|f| !f.public && f.name.starts_with(name)).count()
    };
    // One attention for all layers, one rotation of positions.
    assert_eq!((private("attention."), private("embed.")), (1, 1), "{text}");
    assert_eq!(
        text.matches("stablehlo.composite \"stablemate.attention\"").count(),
        decoder.layers.len()
    );
    assert_eq!(text.matches("stablehlo.round_nearest_even").count(), 1);
    // Gemma 3 rotates full and windowed layers differently, and attends differently.
    let decoder = describe("gemma3_text", json!({}), &[]).unwrap();
    let text = self::module(&decoder, &entries()[2..3]).to_string();
    assert_eq!(text.matches("stablehlo.round_nearest_even").count(), 2);
    assert_eq!(text.matches("func.func private @attention.").count(), 2);
}

#[test]
fn two_entry_points_of_one_name_are_refused() {
    let decoder = describe("llama_plain", json!({}), &[]).unwrap();
    let decode = entry("decode", Bucket::decode(1, 64), Output::Logits);
    let error = decoder.module(&[decode.clone(), decode]).unwrap_err();
    assert!(error.to_string().contains("another function has this name"), "{error}");
}
