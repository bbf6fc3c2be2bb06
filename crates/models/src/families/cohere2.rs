//! Cohere 2 (Command R7B, Command A): one LayerNorm without bias feeds attention and network side by
//! side; windowed layers rotate interleaved pairs, layers that see everything have no positions; logits
//! are scaled.
//!
//! Follows transformers' `modeling_cohere2.py`.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Span, schedules};
use crate::Style;
use crate::parts::NormKind;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Keys of the hub's files that the reference does not read.
    config.ignore(&["layer_switch", "order_of_interleaved_layers", "rotary_pct"]);
    config.ignore(&["position_embedding_type", "use_parallel_embedding", "use_parallel_block"]);
    config.ignore(&["use_gated_activation", "use_embedding_sharing", "head_dim_multiplier"]);
    let epsilon = ("layer_norm_eps", 1e-5);
    let sizes = m.sizes(&Style { norm: NormKind::Layer, epsilon, tied: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0).interleaved())?;
    let window = config.or_default("sliding_window", 4096)?;
    let pattern = config.size_or("sliding_window_pattern", 1 << 10, 4)?;
    // Without a window nothing is windowed, and only windowed layers rotate.
    let listed = |n: usize| window.is_some() && !(n + 1).is_multiple_of(pattern);
    let spans = match window {
        Some(_) => schedules::spans(config, sizes.layers, window, listed)?,
        None => {
            config.ignore(&["layer_types"]);
            vec![Span::Full; sizes.layers]
        }
    };
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let scale = config.finite("logit_scale", config.get("logit_scale")?.unwrap_or(0.0625))?;
    let decoder = m.decoder(&sizes, |layer| {
        let span = spans[layer.n];
        let rope = (span != Span::Full).then_some(&rope);
        let attention = layer.at("self_attn").attention(&sizes, bias).span(span).rotary_if(rope);
        Ok(layer.parallel(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })?;
    Ok(Decoder { logit_scale: Some(scale as f32), ..decoder })
}
