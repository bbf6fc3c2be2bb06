//! EXAONE 3.0, 3.5 and Deep: Llama's layout under other names of keys and tensors.
//!
//! Follows the model's own `modeling_exaone.py`; papers arXiv 2408.03541 and 2412.04862.

use super::{AttentionBias, Blueprint, Decoder, ModelError, RopeReading, Style};
use crate::parts::{Activation, Layer};
use crate::{Features, Names};

const STYLE: Style = Style {
    layers: "num_layers",
    features: Features::KeyOrTimes("intermediate_size", 4),
    epsilon: ("layer_norm_epsilon", 1e-5),
    activation: ("activation_function", Activation::Silu),
    names: Names {
        layers: "transformer.h",
        embedding: "transformer.wte",
        norm: "transformer.ln_f",
        head: "lm_head",
    },
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let sizes = m.sizes(&STYLE)?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let projections = ["q_proj", "k_proj", "v_proj", "out_proj"];
    m.decoder(&sizes, |layer| {
        let at = layer.at("attn.attention");
        let attention = at.attention_named(&sizes, projections, AttentionBias::default());
        let network = layer.at("mlp").gated_named(&sizes, ["c_fc_0", "c_fc_1", "c_proj"], false);
        Ok(Layer::Sequential(vec![
            layer.branch("ln_1", &sizes, vec![attention.rotary(&rope).into()]),
            layer.branch("ln_2", &sizes, vec![network.into()]),
        ]))
    })
}
