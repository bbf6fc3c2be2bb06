//! One file per model family: which shared parts it wires, and how.

mod gemma2;
mod gemma3_text;
mod llama;
mod mistral;
mod qwen2;
mod qwen3;

use crate::blueprint::positive;
use crate::parts::Span;
use crate::{Blueprint, Decoder, ModelError};
use stablemate_checkpoint::RawConfig;

type Describe = fn(Blueprint<'_>) -> Result<Decoder, ModelError>;

/// Every family by its `model_type`.
const FAMILIES: &[(&str, Describe)] = &[
    ("gemma2", gemma2::describe),
    ("gemma3_text", gemma3_text::describe),
    ("llama", llama::describe),
    ("mistral", mistral::describe),
    ("qwen2", qwen2::describe),
    ("qwen3", qwen3::describe),
];

/// The `model_type`s that can be described.
pub fn supported() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

pub(crate) fn describe(blueprint: Blueprint<'_>) -> Result<Decoder, ModelError> {
    let model_type = blueprint.config.model_type()?;
    match FAMILIES.iter().find(|(name, _)| *name == model_type) {
        Some((_, describe)) => describe(blueprint),
        None => Err(ModelError::UnknownFamily {
            file: blueprint.config.source().to_path_buf(),
            found: model_type,
            supported: supported().collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The span of each layer: `layer_types` if the configuration has it, else `schedule(layer)`, which
/// says whether a layer sees only the window.
fn spans(
    config: &RawConfig,
    layers: usize,
    window: Option<usize>,
    schedule: impl Fn(usize) -> bool,
) -> Result<Vec<Span>, ModelError> {
    let unsupported = |key: &str, found: String, expected: String| {
        let file = config.source().to_path_buf();
        ModelError::Unsupported { file, key: key.to_string(), found, expected }
    };
    let windowed: Vec<bool> = match config.get::<Vec<String>>("layer_types")? {
        None => (0..layers).map(schedule).collect(),
        Some(types) => {
            if types.len() != layers {
                let expected = format!("num_hidden_layers is {layers}");
                return Err(unsupported(
                    "layer_types",
                    format!("{} entries", types.len()),
                    expected,
                ));
            }
            let windowed = |name: &String| match name.as_str() {
                "full_attention" => Ok(false),
                "sliding_attention" => Ok(true),
                _ => {
                    let expected = "full_attention and sliding_attention are known".to_string();
                    Err(unsupported("layer_types", format!("{name:?}"), expected))
                }
            };
            types.iter().map(windowed).collect::<Result<_, _>>()?
        }
    };
    let span = |windowed: bool| match (windowed, window) {
        (false, _) => Ok(Span::Full),
        (true, Some(length)) => self::window(config, length),
        (true, None) => {
            let expected = "layers with sliding attention need a window".to_string();
            Err(unsupported("sliding_window", "absent".to_string(), expected))
        }
    };
    windowed.into_iter().map(span).collect()
}

/// A window of `length` tokens, `sliding_window` of the configuration.
fn window(config: &RawConfig, length: usize) -> Result<Span, ModelError> {
    if length > 0 && length < 1 << 31 {
        return Ok(Span::Window(length));
    }
    Err(ModelError::Unsupported {
        file: config.source().to_path_buf(),
        key: "sliding_window".to_string(),
        found: length.to_string(),
        expected: "a token must see at least itself and at most 2^31 - 1 tokens".to_string(),
    })
}

/// `key`'s value: absent means `default`, null means none.
fn or_default<T: stablemate_checkpoint::FromConfig>(
    config: &RawConfig,
    key: &str,
    default: T,
) -> Result<Option<T>, ModelError> {
    let null = config.is_null(key);
    let value = config.get(key)?;
    Ok(if null { None } else { Some(value.unwrap_or(default)) })
}

/// For families whose class assumes a fixed number of key/value heads: the file has to say it (null
/// means one per query head).
fn require_kv_heads(config: &RawConfig) -> Result<(), ModelError> {
    if !config.is_null("num_key_value_heads") {
        config.require::<usize>("num_key_value_heads")?;
    }
    Ok(())
}
