//! Compiles every schema of a folder, draws texts from each and checks them with another implementation.
//!
//! `cargo run --release -p stablemate-grammar --example schemas -- FOLDER [DRAWS]`, where the folder holds one JSON
//! schema per file, such as a set of JSONSchemaBench (`data/Github_medium`).

#[allow(dead_code, reason = "the tests use the rest")]
#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::time::Instant;

use common::{Outcome, vocabulary};
use serde_json::Value;
use stablemate_grammar::{Grammar, GrammarError};

#[derive(Default)]
struct Counts {
    schemas: usize,
    accepted: usize,
    finished: usize,
    invalid: usize,
    slowest: f64,
    reasons: BTreeMap<String, usize>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("a folder of schemas");
    let draws = arguments.next().map_or(0, |draws| draws.parse().expect("a number of draws"));
    let vocabulary = vocabulary("smollm");
    let mut counts = Counts::default();
    let mut files: Vec<_> = std::fs::read_dir(folder).expect("a folder").flatten().collect();
    files.sort_by_key(std::fs::DirEntry::path);
    for file in files {
        let text = std::fs::read_to_string(file.path()).expect("a file");
        let Ok(schema) = serde_json::from_str::<Value>(&text) else { continue };
        counts.schemas += 1;
        let grammar = Grammar::JsonSchema(schema.clone());
        let started = Instant::now();
        let compiled = vocabulary.compile(&grammar);
        counts.slowest = counts.slowest.max(started.elapsed().as_secs_f64());
        match compiled {
            Ok(_) => counts.accepted += 1,
            Err(error) => {
                let reason = match &error {
                    GrammarError::Schema { keyword, message, .. } => {
                        let message: String = message.chars().take(60).collect();
                        format!("{keyword}: {message}")
                    }
                    other => other.to_string().chars().take(80).collect(),
                };
                *counts.reasons.entry(reason).or_default() += 1;
                if std::env::var_os("SHOW").is_some() {
                    println!("{}: {error}", file.file_name().display());
                }
                continue;
            }
        }
        let validator = jsonschema::options().should_validate_formats(true).build(&schema);
        let Ok(validator) = validator else { continue };
        for seed in 0..draws {
            let Ok(mut constraint) = vocabulary.compile(&grammar) else { continue };
            let (Outcome::Complete(text) | Outcome::Ended(text)) =
                vocabulary.draw(&mut constraint, seed)
            else {
                continue;
            };
            let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
            counts.finished += 1;
            if let Some(error) = validator.iter_errors(&value).next() {
                counts.invalid += 1;
                println!("INVALID {}: {text}: {error}", file.file_name().display());
            }
        }
    }
    let Counts { schemas, accepted, finished, invalid, slowest, reasons } = counts;
    println!(
        "{accepted} of {schemas} accepted, slowest {slowest:.2} s; {finished} texts, {invalid} invalid"
    );
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (reason, count) in reasons {
        println!("{count:5} {reason}");
    }
}
