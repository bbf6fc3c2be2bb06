//! Heads, rotations and spans of Gemma 4's layers, which depend on the layer's type.

use super::schedules::{self, FULL, SLIDING};
use super::{AttentionBias, Blueprint, ModelError, Read, Rope, RopeReading, Span};
use crate::blueprint::{At, SharedKeys, Sizes, divides};
use crate::parts::Part;

/// Heads, rotation and span of every layer.
pub(super) struct Geometry {
    /// `sliding_attention` or `full_attention` for each layer.
    pub(super) types: Vec<String>,
    /// `head_dim` and `kv_heads` of each layer.
    sizes: Vec<Sizes>,
    ropes: Vec<Rope>,
    window: Span,
    bias: AttentionBias,
    /// Values of layers that see everything are their projected keys.
    keys_are_values: bool,
}

impl Geometry {
    /// `window` is meant where the configuration is silent.
    pub(super) fn read(m: &Blueprint, sizes: &Sizes, window: usize) -> Result<Self, ModelError> {
        let config = &m.config;
        let schedule =
            |n: usize| if (n + 1).is_multiple_of(6) { FULL } else { SLIDING }.to_string();
        let mut types = schedules::layer_types(config, sizes.layers, &[FULL, SLIDING], schedule)?;
        // The reference makes the last layer see everything, whatever is listed.
        types.iter_mut().rev().take(1).for_each(|last| *last = FULL.to_string());
        let keys_are_values = config.flag("attention_k_eq_v", false)?;
        let layers = layers(m, sizes, &types, keys_are_values)?;
        let ropes = layers.iter().zip(&types).map(|(sizes, kind)| rope(m, kind, sizes.head_dim));
        let window = config.get("sliding_window")?.unwrap_or(window);
        Ok(Self {
            ropes: ropes.collect::<Result<_, _>>()?,
            sizes: layers,
            window: schedules::window(config, window)?,
            bias: AttentionBias::all(config.flag("attention_bias", false)?),
            keys_are_values,
            types,
        })
    }

    /// The attention of a layer.
    pub(super) fn attention(
        &self,
        layer: &At<'_>,
        shared: &mut SharedKeys,
    ) -> Result<Box<dyn Part>, ModelError> {
        let (n, sizes, kind) = (layer.n, &self.sizes[layer.n], &self.types[layer.n]);
        let (at, bias, full) = (layer.at("self_attn"), self.bias, kind == FULL);
        let draft = match shared.earlier(n, kind) {
            Some(pools) => {
                // A checkpoint may still hold what the layer does not use.
                let unused = ["k_proj", "v_proj", "k_norm", "v_norm"];
                let unused = unused.map(|name| format!("*layers.{n}.self_attn.{name}.*"));
                layer.blueprint.ignore_tensors(&unused.each_ref().map(String::as_str));
                at.attention_over(sizes, bias, pools)
            }
            None if full && self.keys_are_values => at.attention_of_keys(sizes, bias),
            None => at.attention(sizes, bias),
        };
        let span = if full { Span::Full } else { self.window };
        let draft = draft.head_norms(sizes).value_norm(sizes).scale(1.0);
        let draft = draft.rotary(&self.ropes[n]).span(span);
        shared.keep(n, kind, [draft.gqa.keys, draft.gqa.values]);
        Ok(draft.into())
    }
}

/// Sizes of each layer: those of `per_layer_config`, or of two keys for layers that see everything.
fn layers(
    m: &Blueprint,
    sizes: &Sizes,
    types: &[String],
    keys_are_values: bool,
) -> Result<Vec<Sizes>, ModelError> {
    const KV_HEADS: &str = "num_key_value_heads";
    let config = &m.config;
    let head_dim = config.size_or("global_head_dim", 1 << 20, 512)?;
    let given: Option<usize> = config.get("num_global_key_value_heads")?;
    let kv_heads = given.filter(|_| keys_are_values).unwrap_or(sizes.kv_heads);
    let key = "num_global_key_value_heads";
    divides(config, key, kv_heads, "num_attention_heads", sizes.heads)?;
    let map = config.nested("per_layer_config")?;
    let layer = |(n, kind): (usize, &String)| match &map {
        None if kind == FULL => Ok(Sizes { head_dim, kv_heads, ..*sizes }),
        None => Ok(*sizes),
        Some(map) => {
            let Some(own) = map.nested(&n.to_string())? else { return Ok(*sizes) };
            let head_dim = own.size_or("head_dim", 1 << 20, sizes.head_dim)?;
            let kv_heads = own.size_or(KV_HEADS, 1 << 20, sizes.kv_heads)?;
            divides(&own, KV_HEADS, kv_heads, "num_attention_heads", sizes.heads)?;
            Ok(Sizes { head_dim, kv_heads, ..*sizes })
        }
    };
    types.iter().enumerate().map(layer).collect()
}

/// The rotation of a layer of this type.
fn rope(m: &Blueprint, kind: &str, head_dim: usize) -> Result<Rope, ModelError> {
    let (base, part) = if kind == FULL { (1_000_000.0, Some(0.25)) } else { (10_000.0, None) };
    let reading = RopeReading::whole(head_dim, base);
    let own = match m.config.nested("rope_parameters")? {
        Some(all) => all.nested(kind)?,
        None => None,
    };
    match (own, part) {
        (Some(own), _) => Rope::from_parameters(&m.config, Some(&own), reading),
        (None, Some(part)) => Rope::proportional(&m.config, reading, part),
        (None, None) => Rope::from_parameters(&m.config, None, reading),
    }
}
