//! LFM 2 with experts by sigmoid, whose choice a stored bias corrects, in all but the first layers.
//!
//! Follows transformers' `modeling_lfm2_moe.py`.

use super::short_convolutions::{Mixers, NETWORK_NAMES, STYLE};
use super::{Blueprint, Decoder, ModelError, Read};
use crate::blueprint::ExpertSizes;
use crate::parts::{Experts, Score};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    let mut sizes = m.sizes(&STYLE)?;
    // The class has no schedule of its own.
    config.require::<Vec<String>>("layer_types")?;
    let mixers = Mixers::read(m, &mut sizes, Mixers::schedule(None))?;
    let keys = ["num_experts", "num_experts_per_tok", "moe_intermediate_size"];
    let experts = ExpertSizes::read(&m.at(""), keys)?;
    let dense = config.get("num_dense_layers")?.unwrap_or(2);
    let renormalise = config.flag("norm_topk_prob", true)?.then_some(1e-6);
    let corrected = config.flag("use_expert_bias", true)?;
    let scale = config.positive_or("routed_scaling_factor", 1.0)? as f32;
    m.decoder(&sizes, |layer| {
        let at = layer.at("feed_forward");
        if layer.n < dense {
            return Ok(mixers.layer(layer, at.gated_named(&sizes, NETWORK_NAMES, false)));
        }
        let mut router = at.router("gate", &sizes, &experts, false);
        router.score = Score::Sigmoid;
        router.correction = corrected.then(|| at.of_experts("expert_bias", &experts));
        (router.renormalise, router.scale) = (renormalise, Some(scale));
        let networks = at.expert_networks(&sizes, &experts, NETWORK_NAMES);
        Ok(mixers.layer(layer, Experts { router, networks }))
    })
}
