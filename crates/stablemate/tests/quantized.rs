//! Quantised weights through the whole path, against the same weights dequantised.

#[path = "quantized/batch.rs"]
mod batch;
#[path = "quantized/model.rs"]
mod model;
mod support;

use model::ids;
use stablemate::checkpoint::{Checkpoint, QuantizeOptions, quantize_directory};
use stablemate::{Backend, CacheElement, GenerateOptions, Isa, LoadOptions, Model, Quantize};
use stablemate_fixtures::Dtype;
use stablemate_fixtures::gguf::Kind;
use std::path::Path;
use support::{close, for_each, options};

/// How far logits of a portable run may be from a dequantised one: the order of sums differs.
const PORTABLE: f64 = 1e-4;
/// The same for native kernels, which round activations to 16 bits: by 2⁻¹⁶ of the largest of a group, which
/// is 2⁻¹⁵ of a product's usual size. Fifteen products follow one another, logits are about three, and the
/// worst of hundreds of them counts.
const NATIVE: f64 = 3e-3;

const TOKENS: usize = 24;

/// What a way of computing makes of the prompt.
struct Outcome {
    /// Logits after the prompt.
    first: Vec<f32>,
    tokens: Vec<u32>,
    /// Logits after prompt and tokens.
    last: Vec<f32>,
}

fn outcome(path: &Path, load: &LoadOptions) -> Result<Outcome, String> {
    let text = |error: stablemate::Error| error.to_string();
    let mut model = Model::load(path, load).map_err(text)?;
    let prompt = ids(40);
    let first = model.logits(prompt.as_slice()).map_err(text)?;
    let options = GenerateOptions {
        max_tokens: Some(TOKENS),
        ignore_end: true,
        ..GenerateOptions::default()
    };
    let completion = model.generate(prompt.as_slice(), &options).map_err(text)?;
    let pieces: Result<Vec<_>, _> = completion.collect();
    let tokens: Vec<u32> =
        pieces.map_err(text)?.into_iter().filter_map(|piece| piece.token).collect();
    let last = model.logits([&prompt[..], &tokens].concat().as_slice()).map_err(text)?;
    Ok(Outcome { first, tokens, last })
}

impl Outcome {
    /// Refuses other tokens, and logits that are further away than `tolerance`; the largest difference.
    fn check(&self, expected: &Self, tolerance: f64) -> Result<f64, String> {
        let first = close(&self.first, &expected.first, tolerance)?;
        if self.tokens != expected.tokens {
            return Err(format!("tokens {:?} instead of {:?}", self.tokens, expected.tokens));
        }
        Ok(first.max(close(&self.last, &expected.last, tolerance)?))
    }
}

fn with(backend: Backend, isa: Option<Isa>) -> LoadOptions {
    LoadOptions { backend, isa, cache: CacheElement::F32, ..options() }
}

/// The model at `path` in every way that this machine has, against its dequantised copy.
fn check(name: &str, path: &Path, tied: bool, native: f64) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    model::write_dequantised(path, tied, folder.path());
    let expected = outcome(folder.path(), &with(Backend::Portable, None))?;
    let size = expected.first.iter().fold(0.0, |a: f32, b| a.max(b.abs()));
    if !(1.0..30.0).contains(&size) {
        return Err(format!("logits up to {size} say little"));
    }
    let different: std::collections::BTreeSet<_> = expected.tokens.iter().collect();
    if different.len() < 4 {
        return Err(format!("tokens {:?} say little", expected.tokens));
    }
    let mut ways = vec![("portable".to_string(), with(Backend::Portable, None), PORTABLE)];
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        ways.push((format!("native {isa}"), with(Backend::Native, Some(isa)), native));
    }
    for (way, load, tolerance) in ways {
        let found = outcome(path, &load).and_then(|found| found.check(&expected, tolerance));
        let difference = found.map_err(|message| format!("{way}: {message}"))?;
        println!("{name}, {way}: logits up to {size:.1} differ by {difference:.1e}");
    }
    Ok(())
}

#[test]
fn every_block_type_equals_its_dequantised_weights() {
    for_each(
        &Kind::BLOCKS,
        |kind| format!("{kind:?}"),
        |kind| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let path = folder.path().join("model.gguf");
            let tied = (*kind as usize).is_multiple_of(2);
            model::write_gguf(*kind, tied, &path);
            check(&format!("{kind:?}"), &path, tied, NATIVE)
        },
    );
}

/// Weights that are no blocks are multiplied in float32, with activations as they are.
#[test]
fn half_precision_weights_differ_by_the_order_of_sums() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    model::write_gguf(Kind::F16, false, &path);
    check("F16", &path, false, PORTABLE).unwrap();
}

/// Bits, group, and the type of weights and scales.
const AFFINE: [(usize, usize, Dtype); 3] =
    [(4, 64, Dtype::Float16), (8, 32, Dtype::Float32), (3, 128, Dtype::Bfloat16)];

#[test]
fn mlx_directories_equal_their_dequantised_weights_and_quantising_at_load() {
    for_each(
        &AFFINE,
        |case| format!("{case:?}"),
        |&(bits, group_size, dtype)| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let (source, written) = (folder.path().join("source"), folder.path().join("written"));
            let tied = bits == 8;
            model::write_directory(dtype, tied, &source);
            let checkpoint = Checkpoint::open(&source).map_err(|error| error.to_string())?;
            let options = QuantizeOptions { bits, group_size };
            quantize_directory(&checkpoint, &written, &options, &mut |_, _| {})
                .map_err(|error| error.to_string())?;
            check(&format!("{bits} bits, group {group_size}"), &written, tied, NATIVE)?;
            for backend in [Backend::Native, Backend::Portable] {
                let load = with(backend, None);
                let at_load =
                    LoadOptions { quantize: Some(Quantize { bits, group_size }), ..load.clone() };
                let difference = outcome(&source, &at_load)?.check(&outcome(&written, &load)?, 0.0);
                difference.map_err(|message| format!("{backend:?} at load: {message}"))?;
            }
            Ok(())
        },
    );
}

#[test]
fn rows_of_a_batch_are_those_of_a_sequence_alone() {
    let kinds = [Kind::Q4_0, Kind::Q5_1, Kind::Q4_K, Kind::Q6_K, Kind::F16];
    for_each(
        &kinds,
        |kind| format!("{kind:?}"),
        |kind| {
            let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
            let path = folder.path().join("model.gguf");
            model::write_gguf(*kind, false, &path);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                let load = LoadOptions { isa: Some(isa), ..options() };
                batch::check(&path, &load).map_err(|message| format!("{isa}: {message}"))?;
            }
            Ok(())
        },
    );
}
