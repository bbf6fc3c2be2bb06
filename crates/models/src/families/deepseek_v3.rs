//! DeepSeek V3 and R1, Kimi K2: latent attention, and experts by sigmoid from the best groups, beside a
//! shared one.
//!
//! Follows transformers' `modeling_deepseek_v3.py`; paper arXiv 2412.19437. A group's score is the sum
//! of its two best experts'; the correction of scores counts in the choice alone.

use super::latent::LatentModel;
use super::{Blueprint, Decoder, ModelError, Read};
use crate::parts::Score;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    for (key, known) in [("scoring_func", "sigmoid"), ("topk_method", "noaux_tc")] {
        let value = config.get::<String>(key)?.unwrap_or_else(|| known.to_string());
        config.check(value == known, key, &value, format!("the family means {known}"))?;
    }
    let model = LatentModel::read(m, config.flag("rope_interleave", true)?, 3, 1)?;
    let groups = super::latent::groups(m, &model.experts, 2, (8, 4))?;
    let renormalise = config.flag("norm_topk_prob", true)?.then_some(1e-20);
    let scale = config.positive_or("routed_scaling_factor", 2.5)? as f32;
    model.decoder(m, |at| {
        let mut router = at.router("gate", &model.sizes, &model.experts, false);
        router.score = Score::Sigmoid;
        router.correction = Some(at.of_experts("gate.e_score_correction_bias", &model.experts));
        (router.groups, router.renormalise, router.scale) = (groups, renormalise, Some(scale));
        Ok(router)
    })
}
