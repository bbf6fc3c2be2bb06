//! `stablemate verify`

use crate::arguments::VerifyArguments;
use crate::environment::Environment;
use crate::output;
use anyhow::bail;
use serde_json::json;
use stablemate::{Activations, Backend, CacheElement, Comparison};
use std::path::Path;
use std::process::ExitCode;

/// What is continued unless something else is asked for.
const TEXTS: [&str; 3] = [
    "The capital of France is",
    "def fibonacci(n):\n    ",
    "Once upon a time, in a small village by the sea, there lived an old fisherman who",
];

/// Fails if tokens differ although nothing lossy was asked for.
pub fn run(arguments: &VerifyArguments, environment: &Environment) -> anyhow::Result<ExitCode> {
    if arguments.load.arithmetic.backend != Backend::Native {
        bail!("verify always runs both backends: leave --backend out");
    }
    let path = environment.resolve(&arguments.model)?;
    let options = environment.load_options(&arguments.load);
    let prompts = prompts(arguments, &path)?;
    let comparisons = stablemate::verify(&path, &options, &prompts, arguments.max_tokens);
    environment.bars.clear();
    let comparisons = comparisons?;
    let lossy = options.activations != Activations::Exact || options.cache == CacheElement::Q8;
    let exact = comparisons.iter().all(Comparison::exact);
    if arguments.json {
        let report = json!({"exact": exact, "lossy": lossy, "comparisons": comparisons});
        output::write(&format!("{report}\n"))?;
    } else {
        for comparison in &comparisons {
            output::write(&line(comparison))?;
        }
    }
    Ok(if exact || lossy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Texts where there is a tokenizer, else made-up ids that any vocabulary has.
fn prompts(arguments: &VerifyArguments, path: &Path) -> anyhow::Result<Vec<Vec<u32>>> {
    if let Some(ids) = &arguments.prompt_ids {
        return Ok(vec![ids.clone()]);
    }
    let texts: Vec<&str> = match arguments.prompt.is_empty() {
        true => TEXTS.to_vec(),
        false => arguments.prompt.iter().map(String::as_str).collect(),
    };
    match stablemate::tokenizer(path) {
        Ok(tokenizer) => {
            let encode = |text: &&str| Ok(tokenizer.encode(text, true)?);
            texts.iter().map(encode).collect()
        }
        Err(stablemate::Error::NoTokenizer { .. }) if arguments.prompt.is_empty() => {
            let ids = |length: u32| (0..length).map(|n| 3 + n * 37 % 61).collect();
            Ok(vec![ids(5), ids(24)])
        }
        Err(error) => Err(error.into()),
    }
}

fn line(comparison: &Comparison) -> String {
    let tokens = comparison.token_ids.len();
    let mut line = format!(
        "{} prompt tokens: {} of {tokens} greedy tokens equal, top-1 agreement {:.2} %, KL divergence mean {:.2e} \
         largest {:.2e} nats, largest logit difference {:.2e}",
        comparison.prompt_ids.len(),
        comparison.equal_tokens,
        100.0 * comparison.top1_agreement,
        comparison.mean_divergence,
        comparison.largest_divergence,
        comparison.largest_difference,
    );
    if let Some(margin) = comparison.margin {
        line += &format!("; the first differing candidates lie {margin:.2e} apart");
    }
    line + "\n"
}
