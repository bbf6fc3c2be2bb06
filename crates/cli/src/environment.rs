//! The process environment, read here and nowhere below.

use crate::arguments::{Arguments, LoadArguments, ModelArgument};
use crate::progress::Bars;
use anyhow::Context;
use stablemate::hub::Hub;
use stablemate::{Folders, LoadOptions, Model, Quantize};
use std::path::PathBuf;

/// Folders, the hub, and where progress goes.
pub struct Environment {
    pub folders: Folders,
    pub bars: Bars,
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Environment {
    pub fn new(arguments: &Arguments) -> anyhow::Result<Self> {
        let folders = match (&arguments.data_folder, &arguments.cache_folder) {
            (Some(data), Some(cache)) => Folders { data: data.clone(), cache: cache.clone() },
            (data, cache) => {
                let standard = Folders::standard(variable)
                    .context("HOME is not set: give --data-folder and --cache-folder")?;
                Folders {
                    data: data.clone().unwrap_or(standard.data),
                    cache: cache.clone().unwrap_or(standard.cache),
                }
            }
        };
        Ok(Self { folders, bars: Bars::new() })
    }

    /// The path of a model, downloaded if it is a hub id.
    pub fn resolve(&self, model: &ModelArgument) -> anyhow::Result<PathBuf> {
        let hub = Hub::from_environment(&variable)?;
        let path = stablemate::resolve(&model.model, &hub, &self.bars.sink());
        self.bars.clear();
        Ok(path?)
    }

    /// How a model is loaded.
    pub fn load_options(&self, load: &LoadArguments) -> LoadOptions {
        let arithmetic = &load.arithmetic;
        let quantize = |bits| Quantize { bits, group_size: arithmetic.group_size };
        LoadOptions {
            backend: arithmetic.backend,
            threads: load.threads,
            isa: arithmetic.isa,
            activations: arithmetic.activations,
            cache: arithmetic.kv_dtype,
            quantize: arithmetic.quantize.map(quantize),
            context: load.ctx_size,
            memory: load.memory,
            progress: self.bars.sink(),
            ..LoadOptions::new(self.folders.clone())
        }
    }

    /// A model, ready to generate.
    pub fn load(&self, model: &ModelArgument, load: &LoadArguments) -> anyhow::Result<Model> {
        let path = self.resolve(model)?;
        let options = self.load_options(load);
        let model = Model::load(path, &options);
        self.bars.clear();
        let model = model?;
        if let Some(error) = model.tokenizer_error() {
            eprintln!("warning: there will be no text: {error}");
        }
        for setting in model.unapplied_settings() {
            eprintln!("warning: generation_config.json asks for {setting}, which is not applied");
        }
        if let [first, rest @ ..] = model.unused_tensors() {
            let more =
                if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
            eprintln!("warning: the model does not use tensor {first:?}{more}");
        }
        Ok(model)
    }
}
