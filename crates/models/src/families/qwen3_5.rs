//! Qwen3.5 to 3.8, dense: three gated delta nets for each layer of gated attention.
//!
//! Follows transformers' `modeling_qwen3_5.py`.

use super::gated_hybrid::{Mixers, STYLE};
use super::{Blueprint, Decoder, ModelError};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    // The reference's dense model has a network in every layer, whatever this key of the other says.
    m.config.ignore(&["mlp_only_layers"]);
    let sizes = m.sizes(&STYLE)?;
    let mixers = Mixers::read(m, &sizes, 2, |at, sizes, delta| at.delta_net(sizes, delta))?;
    m.decoder(&sizes, |layer| {
        Ok(layer.pre_norm(&sizes, mixers.of(layer), layer.at("mlp").gated(&sizes, false)))
    })
}
