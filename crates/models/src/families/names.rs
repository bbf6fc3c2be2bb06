//! Other names of families, and the nearest name to one that nothing has.

use super::refused::REFUSED;
use super::wrappers::WRAPPERS;
use super::{FAMILIES, Family};
use crate::ModelError;
use stablemate_checkpoint::RawConfig;

/// A name that means a family.
struct Alias {
    said: Said,
    family: &'static str,
    /// Values of keys that are absent, where they are not the family's, as JSON.
    defaults: &'static str,
}

/// What a configuration says.
enum Said {
    /// This `model_type`.
    Type(&'static str),
    /// This `model_type`, beside this key, outside of wrappers.
    TypeWithKey(&'static str, &'static str),
    /// A `model_type` that nothing has, beside this class in `architectures`.
    Class(&'static str),
}

use Said::{Class, Type, TypeWithKey};

const fn alias(said: Said, family: &'static str, defaults: &'static str) -> Alias {
    Alias { said, family, defaults }
}

/// Every alias; the first that fits counts.
const ALIASES: &[Alias] = &[
    alias(Type("iquestcoder"), "llama", r#"{"head_dim": 128, "rms_norm_eps": 1e-5}"#),
    alias(Type("joyai_llm_flash"), "deepseek_v3", "{}"),
    alias(Type("kimi_k2"), "deepseek_v3", "{}"),
    // MiniCPM under Llama's name.
    alias(TypeWithKey("llama", "scale_depth"), "minicpm", r#"{"tie_word_embeddings": false}"#),
    // transformers loads such files as Ministral 8B.
    alias(TypeWithKey("mistral", "layer_types"), "ministral", "{}"),
    alias(Type("qwen2_vl_text"), "qwen2", QWEN2_VL),
    alias(Type("qwen2_5_vl_text"), "qwen2", QWEN2_VL),
    alias(Type("qwen3_vl_moe_text"), "qwen3_moe", QWEN3_VL_MOE),
    alias(Type("qwen3_vl_text"), "qwen3", r#"{"rope_theta": 500000.0}"#),
    alias(Class("LlamaForCausalLM"), "llama", "{}"),
    alias(Class("MistralForCausalLM"), "mistral", "{}"),
    alias(Class("Qwen2ForCausalLM"), "qwen2", "{}"),
    alias(Class("Qwen3ForCausalLM"), "qwen3", "{}"),
];

/// The reference renormalises always.
const QWEN3_VL_MOE: &str = r#"{"rope_theta": 500000.0, "norm_topk_prob": true}"#;

const QWEN2_VL: &str =
    r#"{"rope_theta": 1000000.0, "rms_norm_eps": 1e-5, "max_window_layers": 80}"#;

impl Alias {
    fn fits(&self, config: &RawConfig, model_type: &str, wrapped: bool) -> bool {
        match self.said {
            Type(name) => name == model_type,
            TypeWithKey(name, key) => !wrapped && name == model_type && config.contains(key),
            Class(_) => false,
        }
    }
}

/// The family that `model_type` means, and the configuration with the values that the name implies.
/// `place` says where the name stands, if that is not the root.
///
/// # Errors
/// No family has the name, or the family is not built.
pub(super) fn resolve(
    config: &RawConfig,
    model_type: &str,
    place: &str,
) -> Result<(&'static Family, RawConfig), ModelError> {
    let row = |name: &str| FAMILIES.iter().find(|(known, _)| *known == name);
    let classes: Vec<String> = config.get("architectures")?.unwrap_or_default();
    let has_class = |alias: &&Alias| matches!(alias.said, Class(name) if classes.iter().any(|class| class == name));
    let reason = REFUSED.iter().find(|(name, _)| *name == model_type).map(|(_, reason)| *reason);
    let wrapped = !place.is_empty();
    let named = ALIASES.iter().find(|alias| alias.fits(config, model_type, wrapped));
    // A class counts only beside a name that nothing has.
    let unknown = row(model_type).is_none() && reason.is_none();
    let alias = named.or_else(|| ALIASES.iter().find(has_class).filter(|_| unknown));
    let (family, defaults) = alias.map_or((model_type, "{}"), |it| (it.family, it.defaults));
    let (file, found) = (config.source().to_path_buf(), model_type.to_string());
    let place = place.to_string();
    match (row(family), reason) {
        (Some(family), _) => Ok((family, config.with_defaults(defaults)?)),
        (None, Some(reason)) => Err(ModelError::RefusedFamily { file, found, place, reason }),
        (None, None) => {
            let nearest = nearest(model_type).join(", ");
            Err(ModelError::UnknownFamily { file, found, place, nearest })
        }
    }
}

/// The `model_type`s that can be described: families, aliases and wrappers.
pub fn supported() -> Vec<&'static str> {
    let aliases = ALIASES.iter().filter_map(|alias| match alias.said {
        Type(name) => Some(name),
        TypeWithKey(..) | Class(_) => None,
    });
    let families = FAMILIES.iter().map(|(name, _)| *name);
    let mut names: Vec<&str> = families.chain(aliases).chain(wrappers()).collect();
    names.sort_unstable();
    names
}

/// Names that mean a family under another name, as Markdown, and the family.
pub fn other_names() -> Vec<(String, &'static str)> {
    let text = |alias: &Alias| match alias.said {
        Type(name) => format!("`{name}`"),
        TypeWithKey(name, key) => format!("`{name}` with `{key}`"),
        Class(name) => format!("an unknown one beside the class `{name}`"),
    };
    ALIASES.iter().map(|alias| (text(alias), alias.family)).collect()
}

/// The `model_type`s of wrappers whose text model can be described.
pub fn wrappers() -> impl Iterator<Item = &'static str> {
    WRAPPERS.iter().map(|wrapper| wrapper.model_type)
}

/// The `model_type`s that are known and not built, and the reasons.
pub fn refused() -> &'static [(&'static str, &'static str)] {
    REFUSED
}

/// The five supported names with the fewest edits from `name`.
fn nearest(name: &str) -> Vec<&'static str> {
    let mut names = supported();
    names.sort_by_cached_key(|known| strsim::damerau_levenshtein(name, known));
    names.truncate(5);
    names
}
