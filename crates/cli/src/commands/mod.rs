//! One file per command.

pub mod bench;
pub mod chat;
pub mod compile;
pub mod doctor;
pub mod emit;
pub mod inspect;
pub mod load;
pub mod logits;
pub mod quantize;
pub mod run;
pub mod serve;
pub mod setup;
pub mod tokenize;
pub mod verify;

use crate::arguments::SamplingArguments;
use stablemate::{GenerateOptions, Sampling};

/// The options of a generation. Without a seed, the clock gives one.
fn options(arguments: &SamplingArguments) -> GenerateOptions {
    let clock = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |elapsed| elapsed.as_nanos() as u64)
    };
    GenerateOptions {
        sampling: Sampling {
            temperature: arguments.temperature,
            top_k: arguments.top_k,
            top_p: arguments.top_p,
            min_p: arguments.min_p,
            typical_p: arguments.typical_p,
            repetition_penalty: arguments.repetition_penalty,
            frequency_penalty: arguments.frequency_penalty,
            presence_penalty: arguments.presence_penalty,
            seed: arguments.seed.unwrap_or_else(clock),
            ..Sampling::default()
        },
        max_tokens: arguments.max_tokens,
        min_tokens: 0,
        stop: arguments.stop.clone(),
        ignore_end: arguments.ignore_eos,
    }
}
