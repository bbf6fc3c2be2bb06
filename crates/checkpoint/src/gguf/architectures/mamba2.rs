//! Mamba 2: state spaces in every layer, no attention and no network. What `falcon-h1` shares is
//! here.
//!
//! `A_log` is stored as `A = −exp(A_log)` and is read as `….A`, `[heads]`.

use super::super::names::{Conversion, Names, Rule, exact, weight};
use super::super::source::{Config, Description, RMS_EPSILON, Source};
use crate::error::Error;

const MODEL: &[Rule] = &[
    weight("token_embd", "backbone.embeddings"),
    weight("output_norm", "backbone.norm_f"),
    weight("output", "lm_head"),
];

const LAYER: &[Rule] = &[
    weight("attn_norm", "norm"),
    weight("ssm_in", "mixer.in_proj"),
    exact("ssm_conv1d.weight", "mixer.conv1d.weight").converted(Conversion::Depthwise),
    exact("ssm_conv1d.bias", "mixer.conv1d.bias"),
    exact("ssm_dt.bias", "mixer.dt_bias"),
    exact("ssm_a", "mixer.A").converted(Conversion::Column),
    exact("ssm_d", "mixer.D").converted(Conversion::Column),
    weight("ssm_norm", "mixer.norm").converted(Conversion::Grouped),
    weight("ssm_out", "mixer.out_proj"),
];

pub(super) const NAMES: Names =
    Names { layers: "backbone.layers", model: MODEL, layer: &[LAYER], companies: &[] };

/// The sizes of a state-space mixer.
pub(super) struct Mixer {
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) groups: usize,
    pub(super) state: usize,
    pub(super) kernel: usize,
}

impl Mixer {
    pub(super) fn read(source: &Source) -> Result<Self, Error> {
        let keys = &source.keys;
        let (width, heads) = (keys.nonzero("ssm.inner_size")?, keys.nonzero("ssm.time_step_rank")?);
        if !width.is_multiple_of(heads) {
            let message = format!("is {heads}; a divisor of the inner size {width} is needed");
            return Err(keys.wrong("ssm.time_step_rank", message));
        }
        let groups = keys.nonzero("ssm.group_count")?;
        source.divisor("ssm.group_count", groups, heads)?;
        let (state, kernel) = (keys.nonzero("ssm.state_size")?, keys.nonzero("ssm.conv_kernel")?);
        Ok(Self { width, heads, groups, state, kernel })
    }

    pub(super) fn head_dim(&self) -> usize {
        self.width / self.heads
    }
}

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let (layers, hidden) = (source.layers()?, source.keys.nonzero("embedding_length")?);
    let mixer = Mixer::read(source)?;
    if !mixer.width.is_multiple_of(hidden) {
        let message =
            format!("is {}; a multiple of embedding_length {hidden} is needed", mixer.width);
        return Err(source.keys.wrong("ssm.inner_size", message));
    }
    let mut config = Config::default();
    config.put("model_type", "mamba2");
    config.put("num_hidden_layers", layers);
    config.put("hidden_size", hidden);
    config.put("expand", mixer.width / hidden);
    config.put("num_heads", mixer.heads);
    config.put("head_dim", mixer.head_dim());
    config.put("n_groups", mixer.groups);
    config.put("state_size", mixer.state);
    config.put("conv_kernel", mixer.kernel);
    config.put("layer_norm_epsilon", source.keys.require::<f64>(RMS_EPSILON)?);
    config.put("use_bias", false);
    config.put("use_conv_bias", source.has_biases(&["ssm_conv1d"]));
    config.put("hidden_act", "silu");
    config.put("rms_norm", true);
    config.put("vocab_size", source.vocabulary()?);
    config.put("tie_word_embeddings", source.tied());
    // Writers invent a length and zeros for what such a model does not have.
    source.keys.ignore(&["context_length", "feed_forward_length", "attention.head_count"]);
    // No conversion of this architecture depends on heads of attention.
    let (further_layers, heads, key_value_heads, configuration) = (0, 0, 0, &[][..]);
    let names = &NAMES;
    Ok(Description { config, names, layers, further_layers, heads, key_value_heads, configuration })
}
