//! Mamba 2: layers of selective state spaces alone, no attention, no network, no positions.
//!
//! Follows transformers' `modeling_mamba2.py`; paper arXiv 2405.21060. The norm comes after the gate,
//! whatever `norm_before_gate` says, and `intermediate_size` follows from other keys.

use super::{Blueprint, Decoder, ModelError, Read};
use crate::Names;
use crate::blueprint::{MambaSizes, no_step_limits};
use crate::parts::{Activation, Layer};

const NAMES: Names = Names {
    layers: "backbone.layers",
    embedding: "backbone.embeddings",
    norm: "backbone.norm_f",
    head: "lm_head",
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Of training, of the way in which a prompt is computed, and keys that the reference does not read.
    config.ignore(&["chunk_size", "intermediate_size", "norm_before_gate", "residual_in_fp32"]);
    config.ignore(&["rms_norm", "rescale_prenorm_residual", "time_step_floor"]);
    config.ignore(&["time_step_init_scheme", "time_step_max", "time_step_min"]);
    config.ignore(&["time_step_rank", "time_step_scale"]);
    let epsilon = config.positive_or("layer_norm_epsilon", 1e-5)?;
    let silu = Activation::read(config, "hidden_act", Activation::Silu)? == Activation::Silu;
    config.check(silu, "hidden_act", "another", "the kernels of the family mean silu")?;
    let sizes = m.without_attention(NAMES, epsilon)?;
    let bias = config.flag("use_bias", false)?;
    let size = |key: &str, default| config.size_or(key, 1 << 20, default);
    let mamba = MambaSizes {
        heads: size("num_heads", 128)?,
        head_dim: size("head_dim", 64)?,
        groups: size("n_groups", 8)?,
        state: size("state_size", 128)?,
        taps: size("conv_kernel", 4)?,
        input_bias: bias,
        output_bias: bias,
        taps_bias: config.flag("use_conv_bias", true)?,
        norm: Some(false),
        multipliers: None,
    };
    no_step_limits(config)?;
    mamba.check(config, ["num_heads", "n_groups", "conv_kernel"])?;
    let expand = config.positive_or("expand", 2.0)?;
    let width = (expand * sizes.hidden as f64) as usize;
    let expected = format!("num_heads · head_dim is {}, not {width}", mamba.width());
    config.check(width == mamba.width(), "expand", expand, expected)?;
    m.decoder(&sizes, |layer| {
        let mixer = layer.at("mixer").mamba2(&sizes, &mamba);
        Ok(Layer::Sequential(vec![layer.branch("norm", &sizes, vec![mixer.into()])]))
    })
}
