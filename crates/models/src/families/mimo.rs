//! MiMo 7B: Qwen2's layout with heads of their own size; layers that predict further tokens are left out.
//!
//! Follows the model's own `modeling_mimo.py` (transformers has none); paper arXiv 2505.07608.

use super::{AttentionBias, Blueprint, Decoder, ModelError, RopeReading, Style, schedules};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // The biases are part of the family.
    m.config.ignore(&["attention_bias", "num_nextn_predict_layers"]);
    m.ignore_tensors(&["model.mtp_layers.*"]);
    let sizes = m.sizes(&Style { kv_heads_required: true, ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let spans = schedules::from_layer(m, &sizes)?;
    m.decoder(&sizes, |layer| {
        let attention = layer.at("self_attn").attention(&sizes, AttentionBias::INPUTS);
        let attention = attention.rotary(&rope).span(spans[layer.n]);
        Ok(layer.pre_norm(&sizes, attention, layer.at("mlp").gated(&sizes, false)))
    })
}
