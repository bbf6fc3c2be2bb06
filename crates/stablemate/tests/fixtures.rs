//! Every fixture through the whole path: files, graph, compiler, device, tokens.

mod support;

use stablemate::{
    Backend, CacheElement, EmitOptions, GenerateOptions, Isa, LoadOptions, Model, emit, open,
};
use stablemate_fixtures::{Case, Error};
use std::collections::BTreeSet;
use std::path::Path;
use support::{close, for_each, options};

fn tokens(model: &mut Model, prompt: &[u32], n: usize) -> Result<Vec<u32>, String> {
    let options =
        GenerateOptions { max_tokens: Some(n), ignore_end: true, ..GenerateOptions::default() };
    let completion = model.generate(prompt, &options).map_err(|error| error.to_string())?;
    let pieces: Result<Vec<_>, _> = completion.collect();
    let pieces = pieces.map_err(|error| error.to_string())?;
    Ok(pieces.into_iter().filter_map(|piece| piece.token).collect())
}

/// 32 greedy tokens and the logits at both ends of them: the first of the whole prompt at once, the last by its token alone, after all
/// others one by one.
fn check(case: &Case, path: &Path, load: &LoadOptions) -> Result<(), String> {
    let mut model = Model::load(path, load).map_err(|error| error.to_string())?;
    let expected = &case.expected;
    let logits = |model: &mut Model, ids: &[u32], expected: &[f32], tolerance| {
        // Keys and values rounded to 11 bits move logits, by less than candidates lie apart.
        if load.cache == CacheElement::F32 {
            close(&model.logits(ids).map_err(|e| e.to_string())?, expected, tolerance)?;
        }
        Ok::<(), String>(())
    };
    logits(&mut model, &expected.prompt_ids, &expected.prompt_logits, expected.tolerance)?;
    let found = tokens(&mut model, &expected.prompt_ids, expected.token_ids.len())?;
    if found != expected.token_ids {
        return Err(format!("tokens\n  {found:?} instead of\n  {:?}", expected.token_ids));
    }
    if !model.decoder().needs_lengths {
        // Where the rotation depends on the prompt's length, a longer prompt is another computation.
        let (_, before) = expected.token_ids.split_last().ok_or("no tokens")?;
        let ids = [&expected.prompt_ids[..], before].concat();
        logits(&mut model, &ids, &expected.final_logits, expected.tolerance)?;
    }
    Ok(())
}

/// Ways to compute: by the best instructions of this machine; where `all`, also as by default, by IREE
/// alone, and with every instruction set and both kinds of cache.
fn ways(all: bool) -> Vec<(String, LoadOptions)> {
    let with = |backend, cache, isa| LoadOptions { backend, cache, isa, ..options() };
    let mut ways = vec![("native".to_string(), with(Backend::Native, CacheElement::F32, None))];
    if !all {
        return ways;
    }
    ways.push(("as by default".to_string(), options()));
    ways.push(("portable".to_string(), with(Backend::Portable, CacheElement::F32, None)));
    let lesser = |isa: &Isa| isa.available() && *isa != Isa::best();
    for isa in Isa::ALL.into_iter().filter(lesser) {
        for cache in [CacheElement::F32, CacheElement::F16] {
            ways.push((format!("{isa} {cache}"), with(Backend::Native, cache, Some(isa))));
        }
    }
    ways
}

/// The kernels that a case's step calls, with their attributes but for numbers.
fn kernels(case: &Case) -> BTreeSet<String> {
    let opened = open(&case.directory).unwrap();
    let entries = vec!["prefill".to_string()];
    let options = EmitOptions { entries, tokens: 16, sequences: 1, context: 64 };
    let text = emit(&opened, &options).unwrap().to_string();
    let call = |line: &str| {
        let (_, call) = line.split_once("stablehlo.composite ")?;
        let (name, rest) = call.split_once(' ')?;
        let (_, attributes) = rest.split_once("composite_attributes = {")?;
        let (attributes, _) = attributes.split_once('}')?;
        let name = format!("{name} {attributes}");
        Some(name.chars().filter(|character| !character.is_ascii_digit()).collect())
    };
    text.lines().filter_map(call).collect()
}

/// The cases, and whether each calls a kernel in a form that none before it does: those run in every way,
/// as kernels are the only code that ways do not share. The smallest steps come first.
fn covering(mut cases: Vec<Case>) -> Vec<(Case, bool)> {
    cases.sort_by_key(|case| case.expected.tensors.len());
    let mut seen = BTreeSet::new();
    let is_new = |case: Case| {
        let found = kernels(&case);
        let new = !found.is_subset(&seen);
        seen.extend(found);
        (case, new)
    };
    cases.into_iter().map(is_new).collect()
}

/// The cases whose names contain the variable `CASES`, if it is set.
fn cases() -> Vec<Case> {
    let mut cases = Case::all();
    if let Ok(part) = std::env::var("CASES") {
        cases.retain(|case| case.name().contains(&part));
    }
    cases
}

fn check_everywhere(case: &Case, all: bool) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let directory = folder.path().join("model");
    case.write_checkpoint(&directory).map_err(|error| error.to_string())?;
    for (way, load) in ways(all) {
        check(case, &directory, &load).map_err(|message| format!("{way}: {message}"))?;
    }
    let file = folder.path().join("model.gguf");
    match case.write_gguf(&file) {
        Ok(()) => {
            let load = LoadOptions { cache: CacheElement::F32, ..options() };
            check(case, &file, &load).map_err(|message| format!("GGUF: {message}"))
        }
        Err(Error::NotRepresentable { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn every_fixture_is_token_exact_from_a_directory_and_from_gguf() {
    for_each(
        &covering(cases()),
        |(case, _)| case.name().to_string(),
        |(case, all)| check_everywhere(case, *all),
    );
}

#[test]
#[ignore = "half an hour, where the test above takes a third of it"]
fn every_fixture_is_token_exact_in_every_way() {
    for_each(&cases(), |case| case.name().to_string(), |case| check_everywhere(case, true));
}

#[test]
fn shards_make_no_difference() {
    let case = Case::open("llama_plain");
    let folder = tempfile::tempdir().unwrap();
    case.write_sharded(folder.path(), 3).unwrap();
    check(&case, folder.path(), &options()).unwrap();
}

#[test]
fn the_number_of_threads_makes_no_difference() {
    let case = Case::open("llama_plain");
    let folder = tempfile::tempdir().unwrap();
    case.write_checkpoint(folder.path()).unwrap();
    let logits = |threads| {
        let mut options = options();
        options.threads = Some(threads);
        let mut model = Model::load(folder.path(), &options).unwrap();
        model.logits(case.expected.prompt_ids.as_slice()).unwrap()
    };
    assert_eq!(logits(1), logits(3));
}

/// The portable cache grows while a sequence does, and keeps what it holds.
#[test]
fn growing_past_a_context_bucket_changes_nothing() {
    let case = Case::open("llama_plain");
    let folder = tempfile::tempdir().unwrap();
    let mut config = case.config().unwrap();
    config["max_position_embeddings"] = 2048.into();
    case.write_checkpoint(folder.path()).unwrap();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let prompt: Vec<u32> = (0..500).map(|n| 3 + (n * 37) % 190).collect();
    let options =
        || LoadOptions { backend: Backend::Portable, cache: CacheElement::F32, ..options() };
    // The cache begins with 512 tokens and must grow after the twelfth.
    let mut model = Model::load(folder.path(), &options()).unwrap();
    let grown = tokens(&mut model, &prompt, 24).unwrap();
    let longer = [&prompt[..], &grown].concat();
    let after = model.logits(longer.as_slice()).unwrap();
    // All at once in a cache that is large from the beginning.
    let mut model = Model::load(folder.path(), &options()).unwrap();
    let at_once = model.logits(longer.as_slice()).unwrap();
    close(&after, &at_once, 1e-4).unwrap();
    // Token by token: the largest logit at each place is the token that was made there.
    for n in [0, 11, 12, 13, 23] {
        let logits = model.logits(&longer[..500 + n]).unwrap();
        let largest = (0..logits.len()).rev().max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
        assert_eq!(largest, Some(grown[n] as usize), "token {n}");
    }
}

#[test]
fn a_continued_conversation_equals_a_fresh_one() {
    let case = Case::open("gemma2");
    let folder = tempfile::tempdir().unwrap();
    case.write_checkpoint(folder.path()).unwrap();
    let expected = &case.expected;
    let mut model = Model::load(folder.path(), &options()).unwrap();
    let first = tokens(&mut model, &expected.prompt_ids, 8).unwrap();
    let longer = [&expected.prompt_ids[..], &first].concat();
    // The cache holds all but the last token now; the rest must follow as if it did not.
    assert_eq!(tokens(&mut model, &longer, 24).unwrap(), expected.token_ids[8..]);
    // And another prompt after that.
    assert_eq!(tokens(&mut model, &expected.prompt_ids, 32).unwrap(), expected.token_ids);
}

/// transformers keeps a head that differs from the embedding, whatever `tie_word_embeddings` says.
#[test]
fn a_head_of_its_own_wins_over_tying() {
    let case = Case::open("llama_plain");
    let folder = tempfile::tempdir().unwrap();
    case.write_checkpoint(folder.path()).unwrap();
    let mut config = case.config().unwrap();
    config["tie_word_embeddings"] = true.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    check(&case, folder.path(), &options()).unwrap();
}
