//! Llama 1 to 3 and the many models with its layout (SmolLM2, Yi, …).
//!
//! Follows transformers' `modeling_llama.py`; papers arXiv 2302.13971 and 2407.21783. Biases on
//! attention and feed-forward projections are optional, the head may be tied, RoPE may be stretched.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // A key of the first hub files that the reference does not read.
    m.config.ignore(&["max_sequence_length"]);
    let sizes = m.sizes(&Style::LLAMA)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let bias = AttentionBias::all(m.config.flag("attention_bias", false)?);
    let network_bias = m.config.flag("mlp_bias", false)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, network_bias)))
    })
}
