//! SmolLM3: Llama's layout whose every fourth layer has no positions.
//!
//! Follows transformers' `modeling_smollm3.py`. `no_rope_layers` has 1 for a layer that is rotated and 0
//! for one that is not; with `use_sliding_window`, layers that are not rotated see only a window.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // A key of related models that the reference does not read.
    config.ignore(&["max_window_layers"]);
    let sizes = m.sizes(&Style { kv_heads_required: true, tied: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 2_000_000.0))?;
    let interval = config.size_or("no_rope_layer_interval", 1 << 10, 4)?;
    let every = || (1..=sizes.layers).map(|n| usize::from(n % interval != 0)).collect();
    let rotated = config.get::<Vec<usize>>("no_rope_layers")?.unwrap_or_else(every);
    let (found, expected) = (rotated.len(), format!("num_hidden_layers is {}", sizes.layers));
    let enough = found >= sizes.layers;
    config.check(enough, "no_rope_layers", format!("{found} entries"), expected)?;
    let window = config.get("sliding_window")?;
    let windowed = config.flag("use_sliding_window", false)? && window.is_some();
    let schedule = |n: usize| windowed && rotated[n] == 0;
    let spans = schedules::spans(config, sizes.layers, window, schedule)?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let network_bias = config.flag("mlp_bias", false)?;
    m.decoder(&sizes, |layer| {
        let rope = (rotated[layer.n] != 0).then_some(&rope);
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary_if(rope);
        let network = layer.at("mlp").gated(&sizes, network_bias);
        Ok(layer.pre_norm(&sizes, attention.span(spans[layer.n]), network))
    })
}
