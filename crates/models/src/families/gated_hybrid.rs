//! Layers of gated delta nets among layers of gated attention, as several generations of Qwen have
//! them: the output of attention has a sigmoid gate per channel, heads are rotated in part, norms are
//! `(1 + w)` but for the delta net's.

use super::{AttentionBias, Blueprint, ModelError, Read, Rope, RopeReading, Style, schedules};
use crate::blueprint::{At, DeltaSizes, Sizes};
use crate::parts::{DeltaNet, NormKind, Part};
use schedules::FULL;

/// A layer of linear attention.
const LINEAR: &str = "linear_attention";

/// `(1 + w)` norms, heads of 256.
pub(super) const STYLE: Style =
    Style { head_dim: Some(256), norm: NormKind::RmsOnePlus, ..Style::LLAMA };

/// How the projections of a delta net are stored.
type MakeDeltaNet = fn(&At<'_>, &Sizes, &DeltaSizes) -> DeltaNet;

/// The mixers of all layers.
pub(super) struct Mixers {
    sizes: Sizes,
    delta: DeltaSizes,
    rope: Rope,
    bias: AttentionBias,
    types: Vec<String>,
    make: MakeDeltaNet,
}

impl Mixers {
    /// Reads what they need; `group` is the number of value heads per key head where the configuration
    /// is silent.
    pub(super) fn read(
        m: &Blueprint,
        sizes: &Sizes,
        group: usize,
        make: MakeDeltaNet,
    ) -> Result<Self, ModelError> {
        let config = &m.config;
        // A part of the family, of the tensors' layout and of other inputs.
        config.ignore(&["attn_output_gate", "mamba_ssm_dtype"]);
        config.ignore(&["mtp_num_hidden_layers", "mtp_use_dedicated_embeddings"]);
        m.ignore_tensors(&["mtp.*", "model.mtp.*"]);
        let reading = RopeReading::whole(sizes.head_dim, 10_000.0).partial(0.25);
        let rope = m.rope(reading)?;
        let interval = config.size_or("full_attention_interval", 1 << 10, 4)?;
        let schedule =
            |n: usize| if (n + 1).is_multiple_of(interval) { FULL } else { LINEAR }.to_string();
        let known = [FULL, LINEAR];
        let types = schedules::layer_types(config, sizes.layers, &known, schedule)?;
        let delta = DeltaSizes {
            key_heads: 16,
            group,
            key_dim: 128,
            value_dim: 128,
            taps: 4,
            tiled: false,
        };
        let delta = DeltaSizes::read(&m.at(""), delta)?;
        let bias = AttentionBias::all(config.flag("attention_bias", false)?);
        Ok(Self { sizes: *sizes, delta, rope, bias, types, make })
    }

    /// The mixer of a layer.
    pub(super) fn of(&self, layer: &At<'_>) -> Box<dyn Part> {
        if self.types[layer.n] == LINEAR {
            return (self.make)(&layer.at("linear_attn"), &self.sizes, &self.delta).into();
        }
        let attention = layer.at("self_attn").attention_gated_by_query(&self.sizes, self.bias);
        attention.head_norms(&self.sizes).rotary(&self.rope).into()
    }
}
