//! DeepSeek V2: latent attention, and experts by softmax, from the best groups or from all, beside
//! shared ones.
//!
//! Follows transformers' `modeling_deepseek_v2.py`; paper arXiv 2405.04434. A group's score is that of
//! its best expert; factors are not renormalised.

use super::latent::LatentModel;
use super::{Blueprint, Decoder, ModelError, Read};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // The reference does not renormalise, whatever this key says.
    config.ignore(&["norm_topk_prob"]);
    let score = config.get::<String>("scoring_func")?.unwrap_or_else(|| "softmax".to_string());
    config.check(score == "softmax", "scoring_func", &score, "the family means softmax")?;
    let model = LatentModel::read(m, true, 0, 2)?;
    let method = config.get::<String>("topk_method")?.unwrap_or_else(|| "greedy".to_string());
    let limited = method == "group_limited_greedy";
    let expected = "greedy and group_limited_greedy are known";
    config.check(limited || method == "greedy", "topk_method", &method, expected)?;
    let groups = super::latent::groups(m, &model.experts, 1, (1, 1))?.filter(|_| limited);
    let scale = config.positive_or("routed_scaling_factor", 1.0)? as f32;
    model.decoder(m, |at| {
        let mut router = at.router("gate", &model.sizes, &model.experts, false);
        (router.groups, router.scale) = (groups, Some(scale));
        Ok(router)
    })
}
