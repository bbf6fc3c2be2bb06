//! What several tests need.

use stablemate_checkpoint::RawConfig;
use stablemate_fixtures::Case;
use stablemate_models::{Decoder, ModelError};
use std::path::Path;

/// The configuration of a fixture with keys replaced and others removed.
pub fn edited(case: &str, edits: serde_json::Value, without: &[&str]) -> RawConfig {
    let mut config = Case::open(case).config().unwrap();
    let object = config.as_object_mut().unwrap();
    object.extend(edits.as_object().unwrap().clone());
    object.retain(|key, _| !without.contains(&key.as_str()));
    // The fixture's reader makes nulls of the infinities in lists.
    for value in object.values_mut().filter_map(|value| value.as_array_mut()) {
        let nulls = value.iter_mut().filter(|value| value.is_null());
        nulls.for_each(|null| *null = serde_json::json!({"__float__": "Infinity"}));
    }
    let config = RawConfig::from_json(&config.to_string(), Path::new("some/config.json")).unwrap();
    // Read where tensors are, not where they are described.
    config.ignore(&["quantization_config"]);
    config
}

/// The description of [`edited`].
pub fn describe(
    case: &str,
    edits: serde_json::Value,
    without: &[&str],
) -> Result<Decoder, ModelError> {
    Decoder::describe(&edited(case, edits, without))
}
