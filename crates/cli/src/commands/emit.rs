//! `stablemate emit`

use crate::arguments::{EmitArguments, EntryArguments};
use crate::environment::Environment;
use crate::output;
use anyhow::Context;
use stablemate::{EmitOptions, Opened};

/// Without `--context`, no more than this: the text's work grows with it.
const CONTEXT: usize = 2048;

pub fn run(arguments: &EmitArguments, environment: &Environment) -> anyhow::Result<()> {
    let opened = stablemate::open(&environment.resolve(&arguments.model)?)?;
    let text = stablemate::emit(&opened, &options(&arguments.entries, &opened))?.to_string();
    match &arguments.output {
        None => output::write(&text),
        Some(path) => std::fs::write(path, text)
            .with_context(|| format!("{}: cannot be written", path.display())),
    }
}

/// The entry points asked for, with sizes that suit the model.
pub fn options(arguments: &EntryArguments, opened: &Opened) -> EmitOptions {
    let entries = match arguments.entries.as_slice() {
        [] => vec!["prefill".to_string(), "decode".to_string()],
        named => named.to_vec(),
    };
    let context = opened.decoder.context.unwrap_or(CONTEXT).min(CONTEXT);
    EmitOptions {
        entries,
        tokens: arguments.tokens,
        sequences: arguments.sequences,
        context: arguments.context.unwrap_or(context),
    }
}
