//! Phi-3, Phi-3.5 and Phi-4: Llama's layout with fused projections, a window, heads that are rotated in
//! part, and LongRoPE.
//!
//! Follows transformers' `modeling_phi3.py`; paper arXiv 2404.14219.

use super::{AttentionBias, Blueprint, Decoder, ModelError, RopeReading, schedules};
use crate::Style;
use crate::dimensions::{KEY, MIXED, MODEL, QUERY, VALUE};
use crate::parts::rope::Frequencies;
use crate::source::Rows;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Keys of the hub's files that the reference does not read.
    config.ignore(&["attention_bias", "full_attn_mod", "interpolate_factor", "lm_head_bias"]);
    config.ignore(&["mlp_bias", "rope_embedding_base", "use_sliding_window"]);
    config.ignore(&["original_max_position_embeddings"]);
    let sizes = m.sizes(&Style { epsilon: ("rms_norm_eps", 1e-5), ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0).partial(1.0))?;
    let span = schedules::window_if(config, config.get("sliding_window")?)?;
    let (query, key) = (sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim);
    let model = MODEL.of(sizes.hidden);
    // The reference computes a sequence again when it outgrows the short factors.
    let recomputed_beyond = match &rope.frequencies {
        Frequencies::Long(long) => Some(long.original),
        _ => None,
    };
    let decoder = m.decoder(&sizes, |layer| {
        let at = layer.at("self_attn");
        let projection = |part, rows, start: usize, length: usize| {
            let all = (query + 2 * key, Rows::range(start, length));
            at.rows_of("qkv_proj", part, [rows, model], all, false)
        };
        let attention = at.attention_with(
            &sizes,
            [
                projection("query", QUERY.of(query), 0, query),
                projection("key", KEY.of(key), query, key),
                projection("value", VALUE.of(key), query + key, key),
                at.linear("o_proj", model, MIXED.of(query), AttentionBias::default().output),
            ],
        );
        let network = layer.at("mlp").gated_fused(&sizes);
        Ok(layer.pre_norm(&sizes, attention.rotary(&rope).span(span), network))
    })?;
    Ok(Decoder { recomputed_beyond, ..decoder })
}
