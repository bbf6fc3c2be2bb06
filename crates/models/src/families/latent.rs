//! Latent attention and its layers, which DeepSeek's generations and their relatives share.

use super::{Blueprint, Decoder, ModelError, Read, Rope, RopeReading, Style};
use crate::blueprint::{At, EXPERT_NAMES, ExpertSizes, LatentSizes, Sizes};
use crate::parts::rope::Frequencies;
use crate::parts::{Experts, Groups, Layer, Part, Router};

/// What the layers have in common.
pub(super) struct LatentModel {
    pub(super) sizes: Sizes,
    pub(super) experts: ExpertSizes,
    latent: LatentSizes,
    rope: Rope,
    scale: f32,
    /// Features of the shared expert.
    shared: usize,
    /// The first layer with experts.
    first: usize,
    network_bias: bool,
}

impl LatentModel {
    /// Reads it; heads rotate neighbours if `interleaved`. `first` dense layers and `shared` experts are
    /// meant where the configuration is silent.
    pub(super) fn read(
        m: &Blueprint,
        interleaved: bool,
        first: usize,
        shared: usize,
    ) -> Result<Self, ModelError> {
        let config = &m.config;
        // Parts of other programs' parallelism, and sizes that follow from others.
        config.ignore(&["ep_size", "qk_head_dim", "num_local_experts"]);
        let frequency: usize = config.get("moe_layer_freq")?.unwrap_or(1);
        let expected = "the reference has experts in all layers after the dense ones";
        config.check(frequency == 1, "moe_layer_freq", frequency, expected)?;
        // Heads have no common size here: their parts have one each.
        let sizes = m.sizes(&Style { head_dim: Some(1), kv_heads: None, ..Style::LLAMA })?;
        config.ignore(&["num_key_value_heads"]);
        let latent = LatentSizes::read(m, None)?;
        let reading = RopeReading::whole(latent.rotated, 10_000.0);
        let rope = m.rope(if interleaved { reading.interleaved() } else { reading })?;
        let keys = ["n_routed_experts", "num_experts_per_tok", "moe_intermediate_size"];
        let experts = ExpertSizes::read(&m.at(""), keys)?;
        let further = config.get("num_nextn_predict_layers")?.or(config.get("num_mtp_layers")?);
        m.ignore_further_layers(&sizes, further.unwrap_or(1));
        let shared = config.get("n_shared_experts")?.unwrap_or(shared);
        let most = 1 << 8;
        config.check(shared < most, "n_shared_experts", shared, format!("below {most}"))?;
        Ok(Self {
            scale: scale(m, &latent, &rope)?,
            shared: experts.features * shared,
            first: config.get("first_k_dense_replace")?.unwrap_or(first),
            network_bias: config.flag("mlp_bias", false)?,
            sizes,
            experts,
            latent,
            rope,
        })
    }

    /// The decoder whose experts `router` chooses.
    pub(super) fn decoder(
        &self,
        m: &Blueprint,
        router: impl Fn(&At<'_>) -> Result<Router, ModelError>,
    ) -> Result<Decoder, ModelError> {
        let sizes = &self.sizes;
        m.decoder(sizes, |layer| {
            let attention = layer.at("self_attn");
            let attention = attention.latent(sizes, &self.latent, &self.rope, self.scale);
            let at = layer.at("mlp");
            let mut network: Vec<Box<dyn Part>> = Vec::new();
            if layer.n < self.first {
                network.push(at.gated(sizes, self.network_bias).into());
            } else {
                let networks = at.expert_networks(sizes, &self.experts, EXPERT_NAMES);
                network.push(Experts { router: router(&at)?, networks }.into());
                if self.shared > 0 {
                    let shared = Sizes { features: self.shared, ..*sizes };
                    let at = at.at("shared_experts");
                    network.push(at.gated(&shared, self.network_bias).into());
                }
            }
            Ok(Layer::Sequential(vec![
                layer.branch("input_layernorm", sizes, vec![attention.into()]),
                layer.branch("post_attention_layernorm", sizes, network),
            ]))
        })
    }
}

/// `1/√(H + P)`, times the square of YaRN's magnitude if `mscale_all_dim` is set.
pub(super) fn scale(m: &Blueprint, latent: &LatentSizes, rope: &Rope) -> Result<f32, ModelError> {
    let scale = ((latent.plain + latent.rotated) as f64).powf(-0.5);
    let parameters = Rope::parameters(&m.config)?;
    let all: Option<f64> = match &parameters {
        Some(parameters) => parameters.get("mscale_all_dim")?,
        None => None,
    };
    let magnitude = match (&rope.frequencies, all) {
        (Frequencies::Yarn(yarn), Some(all)) if all != 0.0 && yarn.factor > 1.0 => {
            0.1 * all * yarn.factor.ln() + 1.0
        }
        _ => 1.0,
    };
    Ok((scale * magnitude * magnitude) as f32)
}

/// Groups of experts, of which `best` experts make the score; none where there is one group. `default`
/// is what `n_group` and `topk_group` mean where the configuration is silent.
pub(super) fn groups(
    m: &Blueprint,
    experts: &ExpertSizes,
    best: usize,
    default: (usize, usize),
) -> Result<Option<Groups>, ModelError> {
    let config = &m.config;
    let count = config.size_or("n_group", 1 << 10, default.0)?;
    let kept = config.size_or("topk_group", 1 << 10, default.1)?;
    let (all, chosen) = (experts.experts, experts.choices);
    let divides = all.is_multiple_of(count) && all / count >= best;
    let expected = format!("it must divide the {all} experts into groups of at least {best}");
    config.check(divides, "n_group", count, expected)?;
    let enough = kept <= count && kept * (all / count.max(1)) >= chosen;
    let expected = format!("at most n_group, {count}, with room for {chosen} experts");
    config.check(enough, "topk_group", kept, expected)?;
    Ok((kept < count).then_some(Groups { count, kept, best }))
}
