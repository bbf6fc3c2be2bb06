//! The model as a program for others: StableHLO text, or compiled for a target.

use crate::{Error, Folders, Opened};
use serde_json::{Value, json};
use stablemate_graph::{Function, Module};
use stablemate_models::{Bucket, EntryPoint, Output};
use stablemate_runtime::{Target, Toolchain, VmfbCache};
use std::path::{Path, PathBuf};

/// Which entry points to write, with which sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmitOptions {
    /// `prefill`, `decode`, `prefill_argmax`, `decode_argmax`.
    pub entries: Vec<String>,
    /// Tokens of a prefill step.
    pub tokens: usize,
    /// Sequences of a decode step.
    pub sequences: usize,
    /// Tokens that a sequence may have.
    pub context: usize,
}

impl EmitOptions {
    /// The names of all entry points.
    pub const ENTRIES: [&str; 4] = ["prefill", "decode", "prefill_argmax", "decode_argmax"];

    /// Entry points with these sizes. Both kinds of step share the size of the cache, so that one
    /// set of pools serves all of them.
    fn entry_points(&self) -> Vec<EntryPoint> {
        let cache = Bucket::decode(self.sequences, self.context);
        let (blocks, slots) = (cache.blocks, cache.slots);
        let prefill = Bucket { blocks, slots, ..Bucket::prefill(self.tokens, self.context) };
        let point = |name: &String| {
            let bucket = if name.starts_with("decode") { cache } else { prefill };
            let output = if name.ends_with("argmax") { Output::Argmax } else { Output::Logits };
            EntryPoint { name: name.clone(), bucket, output }
        };
        self.entries.iter().map(point).collect()
    }
}

/// The portable text: StableHLO that any consumer takes.
///
/// # Errors
/// Sizes in the configuration that do not fit together.
pub fn emit(opened: &Opened, options: &EmitOptions) -> Result<Module, Error> {
    Ok(opened.decoder.module(&options.entry_points())?)
}

/// What [`compile_to`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledModule {
    /// `module.mlir`: the text.
    pub text: PathBuf,
    /// `module.vmfb`: the program.
    pub program: PathBuf,
    /// `module.json`: arguments and results of each entry point, in order.
    pub manifest: PathBuf,
}

/// Compiles entry points for `target` and writes text, program and a manifest into `directory`.
///
/// # Errors
/// The compiler is not installed or refuses; the directory cannot be written.
pub fn compile_to(
    opened: &Opened,
    options: &EmitOptions,
    target: &Target,
    folders: &Folders,
    directory: &Path,
) -> Result<CompiledModule, Error> {
    let module = emit(opened, options)?;
    let text = module.to_string();
    let toolchain = Toolchain::at(&folders.data)?;
    let cache = VmfbCache::new(folders.cache.clone());
    let compiled = cache.compile(&toolchain, &text, target)?;
    let manifest = serde_json::to_string_pretty(&manifest(&module, target)).unwrap_or_default();
    let written = CompiledModule {
        text: directory.join("module.mlir"),
        program: directory.join("module.vmfb"),
        manifest: directory.join("module.json"),
    };
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Write { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    std::fs::write(&written.text, text).map_err(failed(&written.text))?;
    std::fs::copy(compiled.path, &written.program).map_err(failed(&written.program))?;
    std::fs::write(&written.manifest, manifest + "\n").map_err(failed(&written.manifest))?;
    Ok(written)
}

fn manifest(module: &Module, target: &Target) -> Value {
    let describe = |function: &Function| {
        let tensor = |name: &str, id: stablemate_graph::ValueId| {
            let ty = &function.values[id.0 as usize].ty;
            json!({"name": name, "element": ty.element.to_string(), "shape": ty.sizes()})
        };
        let argument = |argument: &stablemate_graph::Argument| {
            let name = &function.values[argument.value.0 as usize].name;
            let mut tensor = tensor(name, argument.value);
            if let Some(result) = argument.alias {
                tensor["overwritten_by_result"] = json!(result);
            }
            tensor
        };
        json!({
            "name": function.name,
            "arguments": function.arguments.iter().map(argument).collect::<Vec<_>>(),
            "results": function.results.iter().map(|(n, id)| tensor(n, *id)).collect::<Vec<_>>(),
        })
    };
    let entries: Vec<Value> = module.functions.iter().filter(|f| f.public).map(describe).collect();
    json!({"target": target.to_string(), "entries": entries})
}
