//! A model that answers many at once.

use crate::{Error, MemoryPlan, Model};
use serde_json::Value;
use stablemate_checkpoint::gguf::Metadata;
use stablemate_engine::{EngineHandle, Plan, Room, Runner, Sampling};
use stablemate_text::Tokenizer;

/// How a model serves.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceOptions {
    /// Sequences that run at the same time.
    pub parallel: usize,
    /// Requests that may wait.
    pub queue: usize,
    /// Whether prompts find the keys and values of earlier ones.
    pub prefix_cache: bool,
    /// While sequences are being continued, prompts may lengthen their steps to about so many times
    /// what they take alone.
    pub pace: f64,
}

impl Default for ServiceOptions {
    /// Eight sequences, a queue of 256, prefixes found, steps at most twice as long.
    fn default() -> Self {
        Self { parallel: 8, queue: 256, prefix_cache: true, pace: 2.0 }
    }
}

/// A model that answers many at once: what a server needs of it.
pub struct Service {
    /// Takes requests.
    pub engine: EngineHandle,
    /// The tokenizer, if there is one, or why it cannot be read.
    pub tokenizer: Result<Option<Tokenizer>, String>,
    /// Tokens that end a text or a turn.
    pub end_ids: Vec<u32>,
    /// How tokens are chosen where a request does not say, from `generation_config.json`.
    pub sampling: Sampling,
    /// What memory is meant for.
    pub memory: MemoryPlan,
    /// Cache blocks.
    pub blocks: usize,
    /// Slots of per-sequence state; 0 if the model keeps none.
    pub slots: usize,
    /// How numbers are held and computed with, for people.
    pub arithmetic: String,
}

impl Model {
    /// Starts to serve: every step is compiled, the cache planned, and the engine's thread started.
    ///
    /// # Errors
    /// Steps that do not compile, too little memory.
    pub fn into_service(self, options: &ServiceOptions) -> Result<Service, Error> {
        let sampling = self.sampling_defaults();
        let (mut executor, tokenizer, end_ids, memory) = self.into_parts();
        let plan = Plan {
            parallel: options.parallel,
            blocks: memory.blocks(options.parallel),
            slots: memory.slots(options.parallel),
            queue: options.queue,
            prefix_cache: options.prefix_cache,
            pace: options.pace,
        };
        let (sequences, tokens) = (plan.parallel, executor.context());
        executor.reserve(Room { sequences, tokens, blocks: plan.blocks, slots: plan.slots })?;
        executor.prepare()?;
        let arithmetic = executor.arithmetic();
        let engine = EngineHandle::start(executor, &plan)?;
        let (blocks, slots) = (plan.blocks, plan.slots);
        Ok(Service { engine, tokenizer, end_ids, sampling, memory, blocks, slots, arithmetic })
    }
}

/// The parameters that decide how freely tokens are chosen.
const FREEDOM: [&str; 4] = ["temperature", "top_k", "top_p", "min_p"];

/// How tokens are chosen where neither a request nor the model says: small models, and quantised ones, go astray when
/// they choose at temperature 1 among all tokens.
fn mild() -> Sampling {
    Sampling { temperature: 0.7, top_p: 0.95, min_p: 0.05, ..Sampling::default() }
}

/// The sampling parameters of a `generation_config.json`: the OpenAI API's defaults where it leaves some out, milder
/// ones if it names none.
pub(crate) fn sampling_defaults(settings: Option<&Value>) -> Sampling {
    let number = |name: &str| settings?.get(name)?.as_f64().map(|value| value as f32);
    let speaks = FREEDOM.iter().any(|name| settings.is_some_and(|all| all.get(name).is_some()));
    let base = if speaks { Sampling { temperature: 1.0, ..Sampling::default() } } else { mild() };
    let top_k = settings.and_then(|settings| settings.get("top_k")?.as_u64());
    Sampling {
        temperature: number("temperature").unwrap_or(base.temperature),
        top_k: top_k.map_or(base.top_k, |k| usize::try_from(k).unwrap_or(0)),
        top_p: number("top_p").unwrap_or(base.top_p),
        min_p: number("min_p").unwrap_or(base.min_p),
        typical_p: number("typical_p").unwrap_or(base.typical_p),
        repetition_penalty: number("repetition_penalty").unwrap_or(base.repetition_penalty),
        ..base
    }
}

/// What a GGUF file says about sampling (`general.sampling.*`), in the words of `generation_config.json`.
pub(crate) fn gguf_sampling(metadata: &Metadata) -> Value {
    let names = [
        ("temp", "temperature"),
        ("top_k", "top_k"),
        ("top_p", "top_p"),
        ("min_p", "min_p"),
        ("typical_p", "typical_p"),
        ("penalty_repeat", "repetition_penalty"),
    ];
    let value = |(own, name): (&str, &str)| {
        let key = format!("general.sampling.{own}");
        let whole = metadata.unsigned(&key).map(Value::from);
        let value = whole.or_else(|| metadata.float(&key).map(Value::from))?;
        Some((name.to_owned(), value))
    };
    Value::Object(names.into_iter().filter_map(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn defaults_come_from_the_model_and_otherwise_from_the_api() {
        let mild = sampling_defaults(None);
        assert_eq!((mild.temperature, mild.top_p, mild.min_p), (0.7, 0.95, 0.05));
        assert_eq!(sampling_defaults(Some(&json!({"eos_token_id": 2}))).temperature, 0.7);
        assert_eq!(sampling_defaults(Some(&json!({"top_p": 0.9}))).temperature, 1.0);
        let settings = json!({"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": true});
        let sampling = sampling_defaults(Some(&settings));
        assert_eq!((sampling.temperature, sampling.top_k, sampling.top_p), (0.6, 20, 0.95));
        assert_eq!(sampling.repetition_penalty, 1.0);
    }
}
