//! `stablemate logits`

use crate::arguments::LogitsArguments;
use crate::environment::Environment;
use crate::output;
use serde_json::json;
use stablemate::Prompt;

pub fn run(arguments: &LogitsArguments, environment: &Environment) -> anyhow::Result<()> {
    let mut model = environment.load(&arguments.model, &arguments.load)?;
    let prompt = match &arguments.prompt_ids {
        Some(ids) => Prompt::Ids(ids.clone()),
        None => Prompt::Text(arguments.prompt.clone().unwrap_or_default()),
    };
    let prompt = model.encode(prompt)?;
    let logits = model.logits(prompt.as_slice());
    environment.bars.clear();
    let report = json!({"prompt_ids": prompt, "logits": logits?});
    output::write(&format!("{report}\n"))
}
