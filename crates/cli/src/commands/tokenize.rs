//! `stablemate tokenize`

use crate::arguments::TokenizeArguments;
use crate::environment::Environment;
use crate::output;
use serde_json::json;

pub fn run(arguments: &TokenizeArguments, environment: &Environment) -> anyhow::Result<()> {
    let path = environment.resolve(&arguments.model)?;
    let text = output::text_or_input(&arguments.text)?;
    let tokenizer = stablemate::tokenizer(&path)?;
    let ids = tokenizer.encode(&text, !arguments.no_special)?;
    if !arguments.pieces {
        return output::write(&format!("{}\n", json!(ids)));
    }
    for id in ids {
        let token = tokenizer.token(id).unwrap_or_default();
        output::write(&format!("{id}\t{}\n", json!(token)))?;
    }
    Ok(())
}
