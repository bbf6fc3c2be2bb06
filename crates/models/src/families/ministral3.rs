//! Ministral 3: Mistral's layout with YaRN, and queries that grow with their position past the original
//! length.
//!
//! Follows transformers' `modeling_ministral3.py`; the growth is Llama 4's.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Rope, RopeReading, Style, schedules};
use crate::parts::QueryGrowth;

/// The rotation of configurations that have none.
const ROTATION: &str = r#"{"rope_parameters": {"rope_type": "yarn", "rope_theta": 1000000.0,
    "factor": 16.0, "original_max_position_embeddings": 16384, "beta_fast": 32.0, "beta_slow": 1.0,
    "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}}"#;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // A key of related models that the reference does not read.
    config.ignore(&["layer_types"]);
    let epsilon = ("rms_norm_eps", 1e-5);
    let style = Style { head_dim: Some(128), epsilon, kv_heads_required: true, ..Style::LLAMA };
    let sizes = m.sizes(&style)?;
    let rotation = config.with_defaults(ROTATION)?;
    let growth = QueryGrowth::read(&rotation)?;
    let rope = Rope::read(&rotation, RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let span = schedules::window_if(config, config.get("sliding_window")?)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let attention = attention.rotary(&rope).span(span).query_growth(growth);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
