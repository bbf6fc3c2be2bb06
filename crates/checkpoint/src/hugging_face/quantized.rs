//! Quantised Hugging Face checkpoints other than MLX's (GPTQ, AWQ, FP8, bitsandbytes, …), and
//! than transformers' MXFP4: refused by name.
//!
//! Their tensors have the usual names and other meanings, so each sign of them is looked for.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::mlx::{KEYS as KEYS_OF_MLX, is_mlx};
use crate::config::RawConfig;
use crate::error::Error;
use crate::tensor::Entry;

/// Keys of config.json that say that weights are quantised, and who writes them.
const KEYS: &[(&str, &str)] = &[
    ("quantization", "MLX"),
    ("quantization_config", "transformers (GPTQ, AWQ, FP8, bitsandbytes, …) or MLX"),
    ("compression_config", "compressed-tensors"),
];

/// Endings of tensors that only quantised checkpoints have.
const ENDINGS: &[(&str, &str)] = &[
    (".qweight", "GPTQ or AWQ"),
    (".qzeros", "GPTQ or AWQ"),
    (".weight_scale", "FP8 or compressed-tensors"),
    (".weight_scale_inv", "FP8"),
    (".weight_packed", "compressed-tensors"),
    (".absmax", "bitsandbytes"),
    (".quant_map", "bitsandbytes"),
];

const INSTEAD: &str = "of quantised checkpoints, those of MLX (modes \"affine\" and \"mxfp4\") and GGUF files are read; use one of \
                       these or the original checkpoint";

/// Looks at config.json, and at the text part of a multimodal one. `known`: what these keys say of MLX's
/// modes, or of transformers' MXFP4, has been read.
pub(super) fn refuse_config(config: &RawConfig, known: bool) -> Result<(), Error> {
    let text_config = config.peek("text_config");
    for (key, writer) in KEYS {
        let nested =
            text_config.and_then(|object| object.get(key)).filter(|value| !value.is_null());
        let own = config.peek(key).filter(|value| !value.is_null());
        let method =
            |value: &Value| value.get("quant_method").and_then(Value::as_str) == Some("mxfp4");
        let read = |value: &&Value| {
            known && ((KEYS_OF_MLX.contains(key) && is_mlx(value)) || method(value))
        };
        if let Some(value) = own.filter(|value| !read(value)).or(nested) {
            let method = value.get("quant_method").and_then(Value::as_str).unwrap_or(writer);
            let message =
                format!("key `{key}` says that the weights are quantised ({method}): {INSTEAD}");
            return Err(Error::unsupported(config.source(), message));
        }
    }
    Ok(())
}

/// Looks at the names of the tensors, for checkpoints whose config.json says nothing.
pub(super) fn refuse_tensors(
    directory: &Path,
    entries: &BTreeMap<String, Entry>,
) -> Result<(), Error> {
    for name in entries.keys() {
        if let Some((_, writer)) = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)) {
            let message =
                format!("tensor `{name}` belongs to quantised weights ({writer}): {INSTEAD}");
            return Err(Error::unsupported(directory, message));
        }
    }
    Ok(())
}
