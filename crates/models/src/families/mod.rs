//! One file per model family: the parts it wires, and how.

mod cohere;
mod cohere2;
mod deepseek_v2;
mod deepseek_v3;
mod ernie4_5;
mod exaone4;
mod falcon_h1;
mod gated_hybrid;
mod gemma;
mod gemma2;
mod gemma3_text;
mod gemma4;
mod gemma4_geometry;
mod gemma_style;
mod glm4;
mod gpt2;
mod gpt_oss;
mod granite;
mod internlm3;
mod latent;
mod lfm2;
mod lfm2_moe;
mod llama;
mod mamba2;
mod ministral;
mod ministral3;
mod mistral;
mod mixtral;
mod olmo2;
mod olmo3;
mod phi3;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_5;
mod qwen3_5_moe;
mod qwen3_moe;
mod qwen3_next;
mod schedules;
mod seed_oss;
mod short_convolutions;
mod smollm3;
mod sparse_experts;
mod stablelm;
mod starcoder2;

use crate::blueprint::AttentionBias;
use crate::parts::{Rope, RopeReading, Span};
use crate::reading::Read;
use crate::source::Root;
use crate::{Blueprint, Decoder, ModelError, Style};
use stablemate_checkpoint::RawConfig;

type Describe = fn(&Blueprint) -> Result<Decoder, ModelError>;

/// Every family by its `model_type`.
const FAMILIES: &[(&str, Describe)] = &[
    ("cohere", cohere::describe),
    ("cohere2", cohere2::describe),
    ("deepseek_v2", deepseek_v2::describe),
    ("deepseek_v3", deepseek_v3::describe),
    ("ernie4_5", ernie4_5::describe),
    ("exaone4", exaone4::describe),
    ("falcon_h1", falcon_h1::describe),
    ("gemma", gemma::describe),
    ("gemma2", gemma2::describe),
    ("gemma3_text", gemma3_text::describe),
    ("gemma4_text", gemma4::describe),
    ("gemma4_unified_text", gemma4::describe_unified),
    ("glm4", glm4::describe),
    ("gpt2", gpt2::describe),
    ("gpt_oss", gpt_oss::describe),
    ("granite", granite::describe),
    ("internlm3", internlm3::describe),
    ("kimi_k2", deepseek_v3::describe),
    ("lfm2", lfm2::describe),
    ("lfm2_moe", lfm2_moe::describe),
    ("llama", llama::describe),
    ("mamba2", mamba2::describe),
    ("ministral", ministral::describe),
    ("ministral3", ministral3::describe),
    ("mistral", mistral::describe),
    ("mixtral", mixtral::describe),
    ("olmo2", olmo2::describe),
    ("olmo3", olmo3::describe),
    ("phi3", phi3::describe),
    ("qwen2", qwen2::describe),
    ("qwen2_moe", qwen2_moe::describe),
    ("qwen3", qwen3::describe),
    ("qwen3_5_moe_text", qwen3_5_moe::describe),
    ("qwen3_5_text", qwen3_5::describe),
    ("qwen3_moe", qwen3_moe::describe),
    ("qwen3_next", qwen3_next::describe),
    ("seed_oss", seed_oss::describe),
    ("smollm3", smollm3::describe),
    ("stablelm", stablelm::describe),
    ("starcoder2", starcoder2::describe),
];

/// Tensors of the eyes and ears of wrapped models.
const SENSES: &[&str] = &[
    "model.visual.*",
    "visual.*",
    "*vision_tower.*",
    "*audio_tower.*",
    "*embed_vision.*",
    "*embed_audio.*",
    "*multi_modal_projector.*",
    "*vision_embedder.*",
];

/// A model of several inputs around a text model, which is all that runs here.
struct Wrapper {
    model_type: &'static str,
    /// `model_type` of a text configuration that has none.
    text: &'static str,
    /// Whether the head is the embedding's table where the wrapper's configuration is silent.
    tied: bool,
}

/// Every wrapper.
const WRAPPERS: &[Wrapper] = &[
    Wrapper { model_type: "gemma4", text: "gemma4_text", tied: true },
    Wrapper { model_type: "gemma4_unified", text: "gemma4_unified_text", tied: true },
    Wrapper { model_type: "mistral3", text: "mistral", tied: true },
    Wrapper { model_type: "qwen3_5", text: "qwen3_5_text", tied: false },
    Wrapper { model_type: "qwen3_5_moe", text: "qwen3_5_moe_text", tied: false },
];

/// Places of a wrapped text model's tensors, the plain one first.
const ROOTS: &[(&str, &str)] = &[
    ("model.", ""),
    ("model.language_model.", ""),
    ("language_model.model.", "language_model."),
    ("model.language_model.model.", "model.language_model."),
];

/// The `model_type`s that can be described.
pub fn supported() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Describes the text model of a configuration.
///
/// # Errors
/// An unknown family, and the family's own.
pub(crate) fn describe(config: &RawConfig) -> Result<Decoder, ModelError> {
    let model_type = config.model_type()?;
    let Some(wrapper) = WRAPPERS.iter().find(|wrapper| wrapper.model_type == model_type) else {
        return family(&Blueprint::new(config.clone()), &model_type);
    };
    let text = config.nested("text_config")?.ok_or_else(|| {
        config.refuse("text_config", "absent", "the text model's configuration is needed")
    })?;
    let text_type: Option<String> = text.get("model_type")?;
    let tied = config.flag("tie_word_embeddings", wrapper.tied)?;
    let blueprint = Blueprint::wrapped(text, tied);
    blueprint.roots(ROOTS.iter().map(|(model, outer)| Root::new(model, outer)).collect());
    blueprint.ignore_tensors(SENSES);
    // The parts for other inputs, and the tokens that stand for them.
    config.ignore(WRAPPER_KEYS);
    family(&blueprint, text_type.as_deref().unwrap_or(wrapper.text))
}

/// Keys of wrappers that say nothing about the text model.
const WRAPPER_KEYS: &[&str] = &[
    "vision_config",
    "audio_config",
    "image_token_id",
    "video_token_id",
    "audio_token_id",
    "vision_start_token_id",
    "vision_end_token_id",
    "boa_token_id",
    "boi_token_id",
    "eoa_token_index",
    "eoi_token_id",
    "vision_soft_tokens_per_image",
    "image_token_index",
    "multimodal_projector_bias",
    "projector_hidden_act",
    "spatial_merge_size",
    "vision_feature_layer",
];

fn family(blueprint: &Blueprint, model_type: &str) -> Result<Decoder, ModelError> {
    match FAMILIES.iter().find(|(name, _)| *name == model_type) {
        Some((_, describe)) => describe(blueprint),
        None => Err(ModelError::UnknownFamily {
            file: blueprint.config.source().to_path_buf(),
            found: model_type.to_string(),
            supported: supported().collect::<Vec<_>>().join(", "),
        }),
    }
}
