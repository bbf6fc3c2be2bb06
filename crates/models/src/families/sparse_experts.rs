//! Experts by softmax in every n-th layer and networks in the others, as several generations of Qwen have
//! them; some have a shared expert with a sigmoid gate.

use super::{Blueprint, ModelError, Read};
use crate::blueprint::{At, EXPERT_NAMES, ExpertSizes, Sizes};
use crate::parts::{Experts, Part};

/// The networks of all layers.
pub(super) struct SparseExperts {
    sizes: Sizes,
    experts: ExpertSizes,
    renormalise: Option<f64>,
    every: usize,
    dense: Vec<usize>,
    /// `F` of the shared expert.
    shared: Option<usize>,
}

impl SparseExperts {
    /// Reads what they need. `renormalise` is meant where `norm_topk_prob` is absent; `shared` says whether
    /// the family has shared experts.
    pub(super) fn read(
        m: &Blueprint,
        sizes: &Sizes,
        renormalise: bool,
        shared: bool,
    ) -> Result<Self, ModelError> {
        let config = &m.config;
        let keys = ["num_experts", "num_experts_per_tok", "moe_intermediate_size"];
        let width = || config.size("shared_expert_intermediate_size", 1 << 30);
        Ok(Self {
            sizes: *sizes,
            experts: ExpertSizes::read(&m.at(""), keys)?,
            renormalise: config.flag("norm_topk_prob", renormalise)?.then_some(0.0),
            every: config.size_or("decoder_sparse_step", 1 << 10, 1)?,
            dense: config.get("mlp_only_layers")?.unwrap_or_default(),
            shared: if shared { Some(width()?) } else { None },
        })
    }

    /// The networks of a layer, whose outputs are added.
    pub(super) fn of(&self, layer: &At<'_>) -> Vec<Box<dyn Part>> {
        let (sizes, at) = (&self.sizes, layer.at("mlp"));
        if self.dense.contains(&layer.n) || !(layer.n + 1).is_multiple_of(self.every) {
            return vec![at.gated(sizes, false).into()];
        }
        let mut router = at.router("gate", sizes, &self.experts, false);
        router.renormalise = self.renormalise;
        let networks = at.expert_networks(sizes, &self.experts, EXPERT_NAMES);
        let mut parts: Vec<Box<dyn Part>> = vec![Experts { router, networks }.into()];
        if let Some(features) = self.shared {
            let shared = at.at("shared_expert").gated(&Sizes { features, ..*sizes }, false);
            parts.push(at.weighed("shared_expert_gate", sizes, shared).into());
        }
        parts
    }
}
