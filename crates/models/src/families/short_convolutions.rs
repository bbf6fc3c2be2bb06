//! Layers of gated short convolutions among layers of attention, as LFM's generations have them: each
//! query and key head has a norm, the last norm stands beside the embedding's table.

use super::{AttentionBias, Blueprint, ModelError, Read, Rope, RopeReading, Style, schedules};
use crate::Names;
use crate::blueprint::{At, Sizes};
use crate::parts::{Layer, Part};
use schedules::FULL;

/// A layer of convolution.
const CONVOLUTION: &str = "conv";

/// Names of the projections of gate, up and down.
pub(super) const NETWORK_NAMES: [&str; 3] = ["w1", "w3", "w2"];

/// A tied head, names of the norms.
pub(super) const STYLE: Style = Style {
    kv_heads_required: true,
    epsilon: ("norm_eps", 1e-5),
    tied: true,
    names: Names { norm: "model.embedding_norm", ..Names::LLAMA },
    ..Style::LLAMA
};

/// The mixers of all layers.
pub(super) struct Mixers {
    sizes: Sizes,
    rope: Rope,
    taps: usize,
    bias: bool,
    types: Vec<String>,
}

impl Mixers {
    /// Reads what they need; `schedule` is the type of each layer where the configuration has no list.
    pub(super) fn read(
        m: &Blueprint,
        sizes: &mut Sizes,
        schedule: impl Fn(usize) -> String,
    ) -> Result<Self, ModelError> {
        let config = &m.config;
        // An older name that counts.
        sizes.tied = config.get("tie_embedding")?.unwrap_or(sizes.tied);
        let rope = m.rope(RopeReading::whole(sizes.head_dim, 1_000_000.0))?;
        let taps = config.size_or("conv_L_cache", 1 << 10, 3)?;
        let expected = "a convolution needs at least 2 taps";
        config.check(taps > 1, "conv_L_cache", taps, expected)?;
        let bias = config.flag("conv_bias", false)?;
        let known = [CONVOLUTION, FULL];
        let types = schedules::layer_types(config, sizes.layers, &known, schedule)?;
        Ok(Self { sizes: *sizes, rope, taps, bias, types })
    }

    /// The type of each layer where `full` lists the layers of attention.
    pub(super) fn schedule(full: Option<Vec<usize>>) -> impl Fn(usize) -> String {
        move |n| {
            let attends = full.as_ref().is_none_or(|full| full.contains(&n));
            if attends { FULL } else { CONVOLUTION }.to_string()
        }
    }

    /// A layer with this network.
    pub(super) fn layer(&self, layer: &At<'_>, network: impl Into<Box<dyn Part>>) -> Layer {
        let sizes = &self.sizes;
        let mixer = match self.types[layer.n] == CONVOLUTION {
            true => layer.at("conv").short_convolution(sizes, self.taps, self.bias).into(),
            false => self.attention(&layer.at("self_attn")),
        };
        Layer::Sequential(vec![
            layer.branch("operator_norm", sizes, vec![mixer]),
            layer.branch("ffn_norm", sizes, vec![network.into()]),
        ])
    }

    fn attention(&self, at: &At<'_>) -> Box<dyn Part> {
        let names = ["q_proj", "k_proj", "v_proj", "out_proj"];
        let attention = at.attention_named(&self.sizes, names, AttentionBias::default());
        let norms = ["q_layernorm", "k_layernorm"];
        attention.head_norms_named(norms, &self.sizes).rotary(&self.rope).into()
    }
}
