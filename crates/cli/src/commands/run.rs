//! `stablemate run`

use crate::arguments::RunArguments;
use crate::environment::Environment;
use crate::output;
use serde_json::{Value, json};
use stablemate::{Completion, GenerateOptions, Message, Model, Prompt};

pub fn run(arguments: &RunArguments, environment: &Environment) -> anyhow::Result<()> {
    let options = super::options(&arguments.sampling);
    let mut model = environment.load(&arguments.model, &arguments.load)?;
    let load = model.load_time().as_secs_f64();
    let prompt = prompt(arguments, &model)?;
    let mut completion = model.generate(prompt, &options)?;
    let (mut token_ids, mut text) = (Vec::new(), String::new());
    let has_text = completion.has_text();
    for piece in completion.by_ref() {
        environment.bars.clear();
        let piece = piece?;
        token_ids.extend(piece.token);
        match arguments.json {
            true => text += &piece.text,
            false if has_text => output::write(&piece.text)?,
            false => output::write(&piece.token.map_or(String::new(), |id| format!("{id} ")))?,
        }
    }
    if !arguments.json {
        return output::write("\n");
    }
    let text = has_text.then_some(text);
    let report = report(&completion, &options, &token_ids, text, load);
    output::write(&format!("{report}\n"))
}

fn prompt(arguments: &RunArguments, model: &Model) -> anyhow::Result<Prompt> {
    if let Some(ids) = &arguments.prompt_ids {
        return Ok(Prompt::Ids(ids.clone()));
    }
    let text = output::text_or_input(arguments.prompt.as_deref().unwrap_or_default())?;
    let templated = !arguments.raw && (arguments.system.is_some() || model.has_chat_template()?);
    if !templated {
        return Ok(Prompt::Text(text));
    }
    let system = arguments.system.iter().map(|text| Message::new("system", text.as_str()));
    Ok(Prompt::Chat(system.chain([Message::new("user", text)]).collect()))
}

fn report(
    completion: &Completion<'_>,
    options: &GenerateOptions,
    token_ids: &[u32],
    text: Option<String>,
    load: f64,
) -> Value {
    let timings = completion.timings();
    let (first, rest) = (timings.first_token.as_secs_f64(), timings.rest.as_secs_f64());
    let following = token_ids.len().saturating_sub(1) as f64;
    json!({
        "prompt_ids": completion.prompt_ids(),
        "token_ids": token_ids,
        "text": text,
        "finish_reason": completion.finish_reason().map(|reason| reason.name()),
        "seed": options.sampling.seed,
        "timings": {
            "load_seconds": load,
            "first_token_seconds": first,
            "decode_seconds": rest,
            "decode_tokens_per_second": if rest > 0.0 { Some(following / rest) } else { None },
        },
    })
}
