//! One file per model family: the parts it wires, and how.

mod cohere;
mod cohere2;
mod cwm;
mod deepseek_v2;
mod deepseek_v3;
mod depth_scaled;
mod ernie4_5;
mod exaone;
mod exaone4;
mod falcon;
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
mod mimo;
mod minicpm;
mod minicpm3;
mod ministral;
mod ministral3;
mod mistral;
mod mixtral;
mod names;
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
mod refused;
mod schedules;
mod seed_oss;
mod short_convolutions;
mod smollm3;
mod sparse_experts;
mod stablelm;
mod starcoder2;
mod wrappers;

use crate::blueprint::AttentionBias;
use crate::parts::{Rope, RopeReading, Span};
use crate::reading::Read;
use crate::{Blueprint, Decoder, ModelError, Style};
use stablemate_checkpoint::RawConfig;
use wrappers::Opened;

pub use names::{other_names, refused, supported, wrappers};

/// A `model_type` and the function that describes its models.
type Family = (&'static str, fn(&Blueprint) -> Result<Decoder, ModelError>);

/// Every family.
const FAMILIES: &[Family] = &[
    ("cohere", cohere::describe),
    ("cohere2", cohere2::describe),
    ("cwm", cwm::describe),
    ("deepseek_v2", deepseek_v2::describe),
    ("deepseek_v3", deepseek_v3::describe),
    ("ernie4_5", ernie4_5::describe),
    ("exaone", exaone::describe),
    ("exaone4", exaone4::describe),
    ("falcon", falcon::describe),
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
    ("lfm2", lfm2::describe),
    ("lfm2_moe", lfm2_moe::describe),
    ("llama", llama::describe),
    ("mamba2", mamba2::describe),
    ("mimo", mimo::describe),
    ("minicpm", minicpm::describe),
    ("minicpm3", minicpm3::describe),
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

/// Describes the text model of a configuration.
///
/// # Errors
/// An unknown family, and the family's own.
pub(crate) fn describe(config: &RawConfig) -> Result<Decoder, ModelError> {
    let (blueprint, (_, describe)) = blueprint(config)?;
    describe(&blueprint)
}

/// The name of the family that describes a configuration.
///
/// # Errors
/// As when it is described: an unknown name, a wrapper without a text model.
pub fn family(config: &RawConfig) -> Result<&'static str, ModelError> {
    Ok(blueprint(config)?.1.0)
}

fn blueprint(config: &RawConfig) -> Result<(Blueprint, &'static Family), ModelError> {
    let Some(opened) = Opened::open(config)? else {
        let (family, config) = names::resolve(config, &config.model_type()?, "")?;
        return Ok((Blueprint::new(config), family));
    };
    let place = format!(" in the text_config of {:?}", opened.wrapper.model_type);
    let (family, text) = names::resolve(&opened.text, &opened.model_type, &place)?;
    Ok((opened.blueprint(text), family))
}
