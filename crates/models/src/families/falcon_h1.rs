//! Falcon-H1: attention and Mamba 2 read one norm and are added; nearly everything has a multiplier.
//!
//! Follows transformers' `modeling_falcon_h1.py`; paper arXiv 2507.22448.

use super::{AttentionBias, Blueprint, Decoder, ModelError, Read, RopeReading, Style};
use crate::Names;
use crate::blueprint::{MambaSizes, no_step_limits};
use crate::parts::{Layer, Multiplied};
use stablemate_checkpoint::RawConfig;

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Of training, of the way in which a prompt is computed, and keys that the reference does not read.
    config.ignore(&["mamba_chunk_size", "mamba_use_mlp", "mlp_expansion_factor"]);
    config.ignore(&["num_logits_to_keep", "logits_to_keep"]);
    let names = Names { norm: "model.final_layernorm", ..Names::LLAMA };
    let sizes = m.sizes(&Style { names, epsilon: ("rms_norm_eps", 1e-5), ..Style::LLAMA })?;
    let rope = m.rope(RopeReading::whole(sizes.head_dim, 10_000.0))?;
    let bias = AttentionBias::all(config.flag("attention_bias", false)?);
    let network_bias = config.flag("mlp_bias", false)?;
    let mamba = mamba(config, sizes.hidden)?;
    let factor = |key: &str| -> Result<f32, ModelError> {
        Ok(config.finite(key, config.get(key)?.unwrap_or(1.0))? as f32)
    };
    let (key, attention_in) = (factor("key_multiplier")?, factor("attention_in_multiplier")?);
    let (ssm_in, ssm_out) = (factor("ssm_in_multiplier")?, factor("ssm_out_multiplier")?);
    let attention_out = factor("attention_out_multiplier")?;
    let [gate, down] = factors(config, "mlp_multipliers")?.unwrap_or([1.0; 2]);
    let mut decoder = m.decoder(&sizes, |layer| {
        let mut attention = layer.at("self_attn").attention(&sizes, bias).rotary(&rope);
        attention.gqa.own.iter_mut().for_each(|own| own.key_scale = Some(key));
        let mamba = layer.at("mamba").mamba2(&sizes, &mamba);
        let mut network = layer.at("feed_forward").gated(&sizes, network_bias);
        network.gate_scale = Some(gate);
        let mixers = vec![
            Multiplied::boxed(mamba, ssm_in, ssm_out),
            Multiplied::boxed(attention, attention_in, attention_out),
        ];
        Ok(Layer::Sequential(vec![
            layer.branch("input_layernorm", &sizes, mixers),
            layer.branch("pre_ff_layernorm", &sizes, vec![Multiplied::boxed(network, 1.0, down)]),
        ]))
    })?;
    decoder.embedding.scale = Some(factor("embedding_multiplier")?);
    decoder.logit_scale = Some(factor("lm_head_multiplier")?);
    Ok(decoder)
}

fn mamba(config: &RawConfig, hidden: usize) -> Result<MambaSizes, ModelError> {
    let size = |key: &str, default| config.size_or(key, 1 << 20, default);
    let normed = config.flag("mamba_rms_norm", false)?;
    let before_gate = config.flag("mamba_norm_before_gate", true)?;
    let mamba = MambaSizes {
        heads: size("mamba_n_heads", 128)?,
        head_dim: size("mamba_d_head", 64)?,
        groups: size("mamba_n_groups", 1)?,
        state: size("mamba_d_state", 256)?,
        taps: size("mamba_d_conv", 4)?,
        input_bias: config.flag("mamba_proj_bias", false)?,
        output_bias: config.flag("projectors_bias", false)?,
        taps_bias: config.flag("mamba_conv_bias", true)?,
        norm: normed.then_some(before_gate),
        multipliers: factors(config, "ssm_multipliers")?,
    };
    no_step_limits(config)?;
    mamba.check(config, ["mamba_n_heads", "mamba_n_groups", "mamba_d_conv"])?;
    let expand = config.positive_or("mamba_expand", 2.0)?;
    let width = config.get("mamba_d_ssm")?.unwrap_or((expand * hidden as f64) as usize);
    let expected = format!("mamba_n_heads · mamba_d_head is {}", mamba.width());
    config.check(width == mamba.width(), "mamba_d_ssm", width, expected)?;
    Ok(mamba)
}

/// A list of `N` factors, if it is there.
fn factors<const N: usize>(config: &RawConfig, key: &str) -> Result<Option<[f32; N]>, ModelError> {
    let Some(list) = config.get::<Vec<f64>>(key)? else { return Ok(None) };
    let finite = list.iter().all(|factor| (*factor as f32).is_finite());
    let all: Vec<f32> = list.iter().map(|factor| *factor as f32).collect();
    match <[f32; N]>::try_from(all) {
        Ok(all) if finite => Ok(Some(all)),
        _ => Err(config.refuse(key, format!("{list:?}"), format!("{N} finite numbers are needed"))),
    }
}
