//! Qwen3-Next: three gated delta nets, projected head by head, for each layer of gated attention, experts
//! by softmax and a shared expert with a sigmoid gate.
//!
//! Follows transformers' `modeling_qwen3_next.py`.

use super::gated_hybrid::{Mixers, STYLE};
use super::sparse_experts::SparseExperts;
use super::{Blueprint, Decoder, ModelError, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let sizes = m.sizes(&Style { kv_heads_required: true, ..STYLE })?;
    let mixers =
        Mixers::read(m, &sizes, 2, |at, sizes, delta| at.delta_net_by_key_head(sizes, delta))?;
    let networks = SparseExperts::read(m, &sizes, true, true)?;
    m.decoder(&sizes, |layer| Ok(layer.pre_norm_sum(&sizes, mixers.of(layer), networks.of(layer))))
}
