//! Multipliers by depth and width, as MiniCPM's generations have them.

use super::{Blueprint, Decoder, ModelError, Read};
use crate::blueprint::Sizes;

/// What embedding, branches and logits are multiplied by.
pub(super) struct Multipliers {
    embedding: f32,
    /// Of each branch: `scale_depth / √layers`.
    pub(super) branches: f32,
    logits: f32,
}

impl Multipliers {
    /// Reads them; `embedding`, `depth` and `base` are meant where keys are absent. Null means 1 for
    /// branches and logits.
    pub(super) fn read(
        m: &Blueprint,
        sizes: &Sizes,
        [embedding, depth, base]: [f64; 3],
    ) -> Result<Self, ModelError> {
        let config = &m.config;
        let or_default = |key: &str, default: f64| -> Result<Option<f64>, ModelError> {
            let value = config.or_default(key, default)?;
            value.map(|value| config.positive(key, value)).transpose()
        };
        let embedding = config.positive_or("scale_emb", embedding)?;
        let depth = or_default("scale_depth", depth)?;
        let base = or_default("dim_model_base", base)?;
        let branches = depth.map_or(1.0, |depth| depth / (sizes.layers as f64).sqrt());
        let logits = base.map_or(1.0, |base| base / sizes.hidden as f64);
        Ok(Self { embedding: embedding as f32, branches: branches as f32, logits: logits as f32 })
    }

    /// With the multipliers of embedding and logits.
    pub(super) fn finish(&self, mut decoder: Decoder) -> Decoder {
        decoder.embedding.scale = Some(self.embedding);
        decoder.logit_scale = Some(self.logits);
        decoder
    }
}
