//! Models of several inputs around a text model, which is all that runs here.

use super::Read;
use crate::source::Root;
use crate::{Blueprint, ModelError};
use stablemate_checkpoint::RawConfig;

/// A model of several inputs around a text model.
pub(super) struct Wrapper {
    pub(super) model_type: &'static str,
    /// `model_type` of a text configuration that has none.
    pub(super) text: &'static str,
    /// Whether the head is the embedding's table where the wrapper's configuration is silent.
    tied: bool,
    /// The text configuration may tie the head, too.
    text_ties: bool,
    /// Old files have the text model's keys beside the wrapper's, without a `text_config`.
    flat: bool,
    /// Values that the text configuration's class has for keys that files leave out, as JSON.
    defaults: &'static str,
}

/// What most wrappers are.
const PLAIN: Wrapper = Wrapper {
    model_type: "",
    text: "",
    tied: false,
    text_ties: false,
    flat: false,
    defaults: "{}",
};

/// Every wrapper.
pub(super) const WRAPPERS: &[Wrapper] = &[
    Wrapper {
        model_type: "gemma3",
        text: "gemma3_text",
        tied: true,
        defaults: r#"{"num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 262208,
                      "max_position_embeddings": 131072}"#,
        ..PLAIN
    },
    Wrapper { model_type: "gemma4", text: "gemma4_text", tied: true, ..PLAIN },
    Wrapper { model_type: "gemma4_unified", text: "gemma4_unified_text", tied: true, ..PLAIN },
    Wrapper { model_type: "kimi_k25", text: "deepseek_v3", ..PLAIN },
    Wrapper { model_type: "mistral3", text: "mistral", tied: true, ..PLAIN },
    Wrapper {
        model_type: "qwen2_5_vl",
        text: "qwen2_5_vl_text",
        text_ties: true,
        flat: true,
        ..PLAIN
    },
    Wrapper { model_type: "qwen2_vl", text: "qwen2_vl_text", text_ties: true, flat: true, ..PLAIN },
    Wrapper { model_type: "qwen3_5", text: "qwen3_5_text", ..PLAIN },
    Wrapper { model_type: "qwen3_5_moe", text: "qwen3_5_moe_text", ..PLAIN },
    Wrapper { model_type: "qwen3_vl", text: "qwen3_vl_text", ..PLAIN },
    Wrapper { model_type: "qwen3_vl_moe", text: "qwen3_vl_moe_text", ..PLAIN },
];

/// Keys of wrappers that say nothing about the text model.
const KEYS: &[&str] = &[
    "audio_config",
    "audio_token_id",
    "boa_token_id",
    "boi_token_id",
    "boi_token_index",
    "eoa_token_index",
    "eoi_token_id",
    "eoi_token_index",
    "ignore_index",
    "image_token_id",
    "image_token_index",
    "media_placeholder_token_id",
    "mm_tokens_per_image",
    "multimodal_projector_bias",
    "projector_hidden_act",
    "spatial_merge_size",
    "video_token_id",
    "vision_config",
    "vision_end_token_id",
    "vision_feature_layer",
    "vision_soft_tokens_per_image",
    "vision_start_token_id",
    "vision_token_id",
];

/// Keys of a text model. Where old files have them beside the wrapper's, newer ones have copies there,
/// which the reference does not read beside a `text_config`.
const COPIES: &[&str] = &[
    "hidden_act",
    "hidden_size",
    "intermediate_size",
    "layer_types",
    "max_position_embeddings",
    "max_window_layers",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "sliding_window",
    "use_sliding_window",
    "vocab_size",
];

/// Tensors of eyes and ears.
const SENSES: &[&str] = &[
    "model.visual.*",
    "visual.*",
    "*vision_tower.*",
    "*audio_tower.*",
    "*embed_vision.*",
    "*embed_audio.*",
    "*multi_modal_projector.*",
    "mm_projector.*",
    "*vision_embedder.*",
];

/// Places of a wrapped text model's tensors, the plain one first.
const ROOTS: &[(&str, &str)] = &[
    ("model.", ""),
    ("model.language_model.", ""),
    ("language_model.model.", "language_model."),
    ("model.language_model.model.", "model.language_model."),
];

/// A wrapper's text model.
pub(super) struct Opened {
    pub(super) wrapper: &'static Wrapper,
    /// Its configuration, which has a `model_type`.
    pub(super) text: RawConfig,
    pub(super) model_type: String,
    tied: bool,
}

impl Opened {
    /// Opens `config` if its `model_type` is a wrapper's.
    ///
    /// # Errors
    /// No `text_config`.
    pub(super) fn open(config: &RawConfig) -> Result<Option<Self>, ModelError> {
        let model_type = config.model_type()?;
        let is_it = |wrapper: &&Wrapper| wrapper.model_type == model_type;
        let Some(wrapper) = WRAPPERS.iter().find(is_it) else { return Ok(None) };
        let nested = config.nested("text_config")?;
        let own_type: Option<String> = match &nested {
            Some(text) => text.get("model_type")?,
            None => None,
        };
        if wrapper.flat && nested.is_some() {
            config.ignore(COPIES);
        }
        let text = nested.or_else(|| wrapper.flat.then(|| config.clone())).ok_or_else(|| {
            config.refuse("text_config", "absent", "the text model's configuration is needed")
        })?;
        let text = text.with_defaults(wrapper.defaults)?;
        let text = text.with_defaults(&format!("{{\"model_type\": {:?}}}", wrapper.text))?;
        let text_ties = wrapper.text_ties && text.flag("tie_word_embeddings", false)?;
        let tied = config.flag("tie_word_embeddings", wrapper.tied)? || text_ties;
        // The parts for other inputs, and the tokens that stand for them.
        config.ignore(KEYS);
        let model_type = own_type.unwrap_or_else(|| wrapper.text.to_string());
        Ok(Some(Self { wrapper, text, model_type, tied }))
    }

    /// The blueprint of the text model, whose configuration is `text`.
    pub(super) fn blueprint(&self, text: RawConfig) -> Blueprint {
        let blueprint = Blueprint::wrapped(text, self.tied);
        blueprint.roots(ROOTS.iter().map(|(model, outer)| Root::new(model, outer)).collect());
        blueprint.ignore_tensors(SENSES);
        blueprint
    }
}
