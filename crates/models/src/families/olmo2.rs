//! OLMo 2: Llama's layout with norms behind the parts instead of before them, and norms of queries and
//! keys over whole projections.
//!
//! Follows transformers' `modeling_olmo2.py`; paper arXiv 2501.00656.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let sizes = m.sizes(&Style { epsilon: ("rms_norm_eps", 1e-5), ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let bias = AttentionBias::all(m.config.flag("attention_bias", false)?);
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).projection_norms(&sizes);
        let network = layer.at("mlp").gated(&sizes, false);
        Ok(layer.post_norm(&sizes, attention.rotary(&rope), network))
    })
}
