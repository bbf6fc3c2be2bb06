//! Gemma 4: heads and rotation of their own where everything is visible, keys and values of earlier
//! layers, an embedding for each layer, experts beside the network.
//!
//! The converter stores scales of the router and of experts beside other tensors, and the
//! proportional rotation as divisors: 1 where it rotates, 1e30 where it does not.

use serde_json::json;

use super::super::names::{ATTENTION, GATED, HEAD_NORMS, Names, Rule, exact, weight};
use super::super::rope::ROPE_FACTORS;
use super::super::source::{Config, Description, RMS_EPSILON, Sizes, Source, layer_types};
use super::gemma2::soft_cap;
use crate::error::Error;

const PER_LAYER: &[Rule] = &[
    weight("token_embd", "model.embed_tokens"),
    weight("output_norm", "model.norm"),
    weight("output", "lm_head"),
    weight("per_layer_token_embd", "model.embed_tokens_per_layer"),
    weight("per_layer_model_proj", "model.per_layer_model_projection"),
    weight("per_layer_proj_norm", "model.per_layer_projection_norm"),
];

const LAYER: &[Rule] = &[
    weight("attn_norm", "input_layernorm"),
    weight("post_attention_norm", "post_attention_layernorm"),
    weight("ffn_norm", "pre_feedforward_layernorm"),
    weight("pre_ffw_norm_2", "pre_feedforward_layernorm_2"),
    weight("post_ffw_norm", "post_feedforward_layernorm"),
    weight("post_ffw_norm_1", "post_feedforward_layernorm_1"),
    weight("post_ffw_norm_2", "post_feedforward_layernorm_2"),
    exact("layer_output_scale.weight", "layer_scalar"),
    weight("inp_gate", "per_layer_input_gate"),
    weight("proj", "per_layer_projection"),
    weight("post_norm", "post_per_layer_input_norm"),
    weight("ffn_gate_inp", "router.proj"),
    exact("ffn_gate_inp.scale", "router.scale"),
    exact("ffn_down_exps.scale", "router.per_expert_scale"),
];

/// Gate and up of an expert in one matrix, gate first, as Hugging Face stores them.
const FUSED: &[Rule] = &[
    exact("ffn_gate_up_exps.weight", "experts.gate_up_proj"),
    exact("ffn_down_exps.weight", "experts.down_proj"),
];

/// Gate and up apart, with mlx-lm's names.
const SPLIT: &[Rule] = &[
    weight("ffn_gate_exps", "experts.switch_glu.gate_proj"),
    weight("ffn_up_exps", "experts.switch_glu.up_proj"),
    weight("ffn_down_exps", "experts.switch_glu.down_proj"),
];

pub(super) const NAMES: Names = names(&[ATTENTION, HEAD_NORMS, GATED, LAYER, FUSED]);

pub(super) const SPLIT_NAMES: Names = names(&[ATTENTION, HEAD_NORMS, GATED, LAYER, SPLIT]);

const fn names(layer: &'static [&'static [Rule]]) -> Names {
    Names { layers: "model.layers", model: PER_LAYER, layer, companies: &[] }
}

pub(super) fn describe(source: &Source) -> Result<Description, Error> {
    let keys = &source.keys;
    let layers = source.layers()?;
    let Some(windowed) = keys.listed::<bool>("attention.sliding_window_pattern", layers)? else {
        let message = "missing; a list with one element for each layer is needed";
        return Err(keys.wrong("attention.sliding_window_pattern", message.to_owned()));
    };
    let shared = keys.get::<usize>("attention.shared_kv_layers")?.unwrap_or(0);
    if shared > layers {
        let message = format!("is {shared}; at most all {layers} layers can share");
        return Err(keys.wrong("attention.shared_kv_layers", message));
    }
    let geometry = Geometry::read(source, layers, &windowed)?;
    let sizes = geometry.sizes;
    let mut config = source.model("gemma4_text", &sizes)?;
    config.put("rms_norm_eps", keys.require::<f64>(RMS_EPSILON)?);
    config.put("hidden_activation", "gelu_pytorch_tanh");
    config.put("attention_bias", false);
    let cap = soft_cap(source, "final_logit_softcapping", None)?;
    config.put("final_logit_softcapping", cap);
    config.put("num_kv_shared_layers", shared);
    geometry.put(source, layers - shared, &windowed, &mut config)?;
    config.put("sliding_window", keys.nonzero("attention.sliding_window")?);
    config.put("layer_types", layer_types(windowed));
    networks(source, layers, shared, &mut config)?;
    per_layer_inputs(source, &mut config)?;
    let split = source.tensors.layers_with("ffn_gate_exps.weight").next().is_some();
    let names = if split { &SPLIT_NAMES } else { &NAMES };
    Ok(Description::new(config, names, &sizes).with_tensors(&[ROPE_FACTORS]))
}

/// Heads of both kinds of layers.
struct Geometry {
    /// Of layers with a window.
    sizes: Sizes,
    /// Of layers without one.
    global_head_dim: usize,
    /// Key–value heads of layers without a window, if they differ.
    global_key_value_heads: Option<usize>,
}

impl Geometry {
    fn read(source: &Source, layers: usize, windowed: &[bool]) -> Result<Self, Error> {
        const COUNTS: &str = "attention.head_count_kv";
        let keys = &source.keys;
        let heads = keys.required_uniform("attention.head_count")?;
        let global_head_dim = keys.nonzero("attention.key_length")?;
        keys.equal("attention.value_length", global_head_dim)?;
        keys.equal("rope.dimension_count", global_head_dim)?;
        let head_dim = keys.nonzero("attention.key_length_swa")?;
        keys.equal("attention.value_length_swa", head_dim)?;
        keys.equal("rope.dimension_count_swa", head_dim)?;
        let counts = match keys.listed::<usize>(COUNTS, layers)? {
            Some(counts) => counts,
            None => vec![keys.require(COUNTS)?; layers],
        };
        let of = |kind: bool| {
            let mut kinds = counts.iter().zip(windowed).filter(|(_, windowed)| **windowed == kind);
            let Some((first, _)) = kinds.next() else { return Ok(None) };
            match kinds.find(|(count, _)| *count != first) {
                None => Ok(Some(*first)),
                Some((count, _)) => {
                    let message = format!("has {first} and {count} for layers of one kind");
                    Err(keys.wrong(COUNTS, message))
                }
            }
        };
        let (local, global) = (of(true)?, of(false)?);
        for count in local.iter().chain(&global) {
            source.divisor(COUNTS, *count, heads)?;
        }
        let key_value_heads = local.or(global).unwrap_or(heads);
        let sizes = Sizes {
            layers,
            hidden: keys.nonzero("embedding_length")?,
            heads,
            key_value_heads,
            head_dim,
            rotary: head_dim,
            context: keys.nonzero("context_length")?,
        };
        let global_key_value_heads = global.filter(|global| *global != key_value_heads);
        Ok(Self { sizes, global_head_dim, global_key_value_heads })
    }

    /// `own` layers have keys and values of their own.
    fn put(
        &self,
        source: &Source,
        own: usize,
        windowed: &[bool],
        config: &mut Config,
    ) -> Result<(), Error> {
        config.put("global_head_dim", self.global_head_dim);
        let no_values =
            |layer: usize| !source.tensors.contains(&format!("blk.{layer}.attn_v.weight"));
        let full = windowed.iter().enumerate().take(own).filter(|(_, windowed)| !**windowed);
        let mut without = full.map(|(layer, _)| no_values(layer));
        let first = without.next().unwrap_or(false) && !source.tensors.is_empty();
        if without.any(|other| other != first) {
            let message = "some layers without a window have values of their own, some do not; all or \
                           none are read";
            return Err(source.tensor_fault("attn_v.weight", message.to_owned()));
        }
        config.put("attention_k_eq_v", first);
        // Without that switch, Hugging Face's layers have the same number of heads.
        match self.global_key_value_heads {
            Some(count) if !first => {
                let message = format!(
                    "is {count} for layers without a window, which have values of their own: the number \
                     of the other layers, {}, is needed",
                    self.sizes.key_value_heads
                );
                return Err(source.keys.wrong("attention.head_count_kv", message));
            }
            count if first => {
                let count = count.unwrap_or(self.sizes.key_value_heads);
                config.put("num_global_key_value_heads", count);
            }
            _ => {}
        }
        let factor = self.rotated(source)?;
        let bases = ["rope.freq_base_swa", "rope.freq_base"].map(|key| source.keys.positive(key));
        let [local, global] = bases;
        let rope = json!({
            "sliding_attention": {"rope_type": "default", "rope_theta": local?.unwrap_or(10_000.0)},
            "full_attention": {
                "rope_type": "proportional",
                "rope_theta": global?.unwrap_or(10_000.0),
                "partial_rotary_factor": factor,
            },
        });
        config.put("rope_parameters", rope);
        Ok(())
    }

    /// The part of a head that rotates where everything is visible.
    fn rotated(&self, source: &Source) -> Result<f64, Error> {
        let Some(factors) = source.tensors.vector(ROPE_FACTORS)? else {
            if source.tensors.is_empty() {
                return Ok(1.0);
            }
            let message = "missing; it says which part of a head is rotated";
            return Err(source.tensor_fault(ROPE_FACTORS, message.to_owned()));
        };
        source.check_factors(ROPE_FACTORS, &factors, self.global_head_dim)?;
        let rotated = factors.iter().take_while(|factor| **factor == 1.0).count();
        if factors.iter().skip(rotated).any(|factor| *factor < 1e29) {
            let message = "has other values than 1 (rotated) and, after those, 1e30 (not rotated)";
            return Err(source.tensor_fault(ROPE_FACTORS, message.to_owned()));
        }
        Ok(rotated as f64 / factors.len() as f64)
    }
}

/// Networks, which may be twice as wide where keys and values are shared, and experts.
fn networks(
    source: &Source,
    layers: usize,
    shared: usize,
    config: &mut Config,
) -> Result<(), Error> {
    const WIDTHS: &str = "feed_forward_length";
    let keys = &source.keys;
    let widths = match keys.listed::<usize>(WIDTHS, layers)? {
        Some(widths) => widths,
        None => vec![keys.require(WIDTHS)?; layers],
    };
    let (own, sharing) = widths.split_at(layers.saturating_sub(shared));
    let width = own.first().or(sharing.first()).copied().unwrap_or(0);
    let double =
        !own.is_empty() && sharing.first().is_some_and(|last| Some(*last) == width.checked_mul(2));
    let expected = if double { width * 2 } else { width };
    if own.iter().any(|own| *own != width) || sharing.iter().any(|last| *last != expected) {
        let message = "has widths that differ otherwise than by doubling in layers that share keys";
        return Err(keys.wrong(WIDTHS, message.to_owned()));
    }
    config.put("intermediate_size", width);
    config.put("use_double_wide_mlp", double);
    let count = keys.get::<usize>("expert_count")?.unwrap_or(0);
    config.put("enable_moe_block", count > 0);
    if count > 0 {
        let experts = source.experts()?;
        config.put("num_experts", experts.count);
        config.put("top_k_experts", experts.used);
        config.put("moe_intermediate_size", experts.width);
    }
    Ok(())
}

/// The embedding that every layer has.
fn per_layer_inputs(source: &Source, config: &mut Config) -> Result<(), Error> {
    let width = source.keys.get::<usize>("embedding_length_per_layer_input")?.unwrap_or(0);
    config.put("hidden_size_per_layer_input", width);
    if width > 0 {
        let rows = match source.tensors.shape("per_layer_token_embd.weight") {
            Some(&[rows, _]) => rows,
            _ => source.vocabulary()?,
        };
        config.put("vocab_size_per_layer_input", rows);
    }
    Ok(())
}
