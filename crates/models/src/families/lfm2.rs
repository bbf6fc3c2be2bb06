//! LFM 2: gated short convolutions among layers of attention.
//!
//! Follows transformers' `modeling_lfm2.py`; paper arXiv 2511.23404. The width of networks is adjusted as
//! keys of the configuration say.

use super::short_convolutions::{Mixers, NETWORK_NAMES, STYLE};
use super::{Blueprint, Decoder, ModelError, Read};
use crate::{Features, Style};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Keys of the hub's files that the reference does not read.
    config.ignore(&["block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale"]);
    config.ignore(&["block_use_swiglu", "block_use_xavier_init", "conv_dim", "conv_dim_out"]);
    config.ignore(&["conv_use_xavier_init", "num_heads", "use_pos_enc"]);
    let old = config.contains("block_ff_dim");
    let features = Features::Key(if old { "block_ff_dim" } else { "intermediate_size" });
    let mut sizes = m.sizes(&Style { features, ..STYLE })?;
    // The older name counts, and a list of types counts before one of layers.
    config.ignore(&["intermediate_size"]);
    sizes.features = width(m, sizes.features)?;
    let schedule = Mixers::schedule(config.get("full_attn_idxs")?);
    let mixers = Mixers::read(m, &mut sizes, schedule)?;
    m.decoder(&sizes, |layer| {
        let network = layer.at("feed_forward").gated_named(&sizes, NETWORK_NAMES, false);
        Ok(mixers.layer(layer, network))
    })
}

/// Two thirds of `stated` times a factor, rounded up to a multiple.
fn width(m: &Blueprint, stated: usize) -> Result<usize, ModelError> {
    let config = &m.config;
    let multiple = config.size_or("block_multiple_of", 1 << 20, 256)?;
    let factor = config.or_default("block_ffn_dim_multiplier", 1.0)?;
    if !config.flag("block_auto_adjust_ff_dim", true)? {
        return Ok(stated);
    }
    let part = 2 * stated / 3;
    let Some(factor) = factor else { return Ok(part) };
    let factor = config.positive("block_ffn_dim_multiplier", factor)?;
    let wide = (factor * part as f64) as usize;
    let expected = "networks must have between 1 and 2^30 features";
    let found = || format!("such that there are {wide} features");
    config.check((1..1 << 30).contains(&wide), "block_ffn_dim_multiplier", found(), expected)?;
    Ok(wide.next_multiple_of(multiple))
}
