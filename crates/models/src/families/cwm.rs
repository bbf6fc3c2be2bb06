//! Code World Model: Llama's layout with a window in three of four layers, and a stretched rotation.
//!
//! Follows transformers' `modeling_cwm.py`; paper arXiv 2510.02387.

use super::schedules;
use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, Rope, RopeReading, Style};

/// The rotation of configurations that have none.
const ROTATION: &str = r#"{"rope_parameters": {"rope_type": "llama3", "rope_theta": 1000000.0,
    "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192}}"#;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let epsilon = ("rms_norm_eps", 1e-5);
    let style = Style { head_dim: Some(128), epsilon, kv_heads_required: true, ..Style::LLAMA };
    let sizes = m.sizes(&style)?;
    let reading = RopeReading::whole(sizes.head_dim, 1_000_000.0);
    let rope = Rope::read(&config.with_defaults(ROTATION)?, reading)?;
    let window = config.or_default("sliding_window", 8192)?;
    let spans = schedules::spans(config, sizes.layers, window, |n| n % 4 != 0)?;
    let network_bias = config.flag("mlp_bias", false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::default());
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, network_bias)))
    })
}
