//! Gemma 4, its text model: plain RMS norms on both sides of each part, scores without a scale, a norm
//! of values; layers that see everything have their own head size and rotate a quarter of each head.
//! Kinds of the family add an embedding per layer, keys and values of earlier layers, values that are
//! the projected keys, or experts beside the network.
//!
//! Follows transformers' `modeling_gemma4.py` and `modeling_gemma4_unified.py`.

use super::gemma4_geometry::Geometry;
use super::{Blueprint, Decoder, ModelError, Read};
use crate::blueprint::{At, EXPERT_NAMES, ExpertSizes, SharedKeys, Sizes};
use crate::dimensions::{MODEL, UNIT};
use crate::parts::{Activation, Beside, Branch, Layer, Part, Scaled};
use crate::{Side, Style};

const STYLE: Style = Style {
    head_dim: Some(256),
    activation: ("hidden_activation", Activation::GeluTanh),
    tied: true,
    ..Style::LLAMA
};

pub(super) fn describe(m: &Blueprint) -> Result<Decoder, ModelError> {
    describe_kind(m, 512, 256)
}

/// Without embeddings per layer and experts.
pub(super) fn describe_unified(m: &Blueprint) -> Result<Decoder, ModelError> {
    describe_kind(m, 1024, 0)
}

/// `window` and `per_layer` are meant where the configuration is silent.
fn describe_kind(m: &Blueprint, window: usize, per_layer: usize) -> Result<Decoder, ModelError> {
    let config = &m.config;
    // Only tokens of images see each other in both directions.
    if let Some(direction) = config.get::<String>("use_bidirectional_attention")? {
        let expected = "only vision, which leaves text causal, can generate";
        let causal = direction == "vision";
        config.check(causal, "use_bidirectional_attention", direction, expected)?;
    }
    let sizes = m.sizes(&STYLE)?;
    let geometry = Geometry::read(m, &sizes, window)?;
    let shared = &mut SharedKeys::read(m, "num_kv_shared_layers", &geometry.types)?;
    let wide = config.flag("use_double_wide_mlp", false)?;
    let experts = experts(m)?;
    let width = config.get("hidden_size_per_layer_input")?.unwrap_or(per_layer);
    let side = m.per_layer(&sizes, width, "vocab_size_per_layer_input")?;
    let mut decoder = m.decoder(&sizes, |layer| {
        let attention = geometry.attention(layer, shared)?;
        let features = sizes.features * if wide && layer.n >= shared.first { 2 } else { 1 };
        let network = layer.at("mlp").gated(&Sizes { features, ..sizes }, false);
        let mut branches = vec![
            sandwiched(layer, &sizes, "attention", attention),
            match &experts {
                None => sandwiched(layer, &sizes, "feedforward", network.into()),
                Some(experts) => beside(layer, &sizes, network.into(), experts),
            },
        ];
        if side.is_some() {
            branches.push(layer.per_layer_branch(&sizes, width));
        }
        let by = layer.blueprint.values(layer.name("layer_scalar"), [UNIT.of(1)], Vec::new());
        Ok(Scaled { layer: Layer::Sequential(branches), by })
    })?;
    decoder.embedding.scale = Some((sizes.hidden as f32).sqrt());
    decoder.logit_softcap = config.cap("final_logit_softcapping", None)?;
    decoder.side = side.map(|side| Box::new(side) as Box<dyn Side>);
    Ok(decoder)
}

/// `x + post(part(pre(x)))`.
fn sandwiched(layer: &At<'_>, sizes: &Sizes, part: &str, inner: Box<dyn Part>) -> Branch {
    let pre = match part {
        "attention" => "input_layernorm",
        _ => "pre_feedforward_layernorm",
    };
    let post = Some(layer.norm(&format!("post_{part}_layernorm"), sizes));
    Branch { post, ..layer.branch(pre, sizes, vec![inner]) }
}

/// The sizes of experts, if there are some.
fn experts(m: &Blueprint) -> Result<Option<ExpertSizes>, ModelError> {
    // Another name of `moe_intermediate_size`, which the reference does not read.
    m.config.ignore(&["expert_intermediate_size"]);
    if !m.config.flag("enable_moe_block", false)? {
        m.config.ignore(&["num_experts", "top_k_experts", "moe_intermediate_size"]);
        return Ok(None);
    }
    let keys = ["num_experts", "top_k_experts", "moe_intermediate_size"];
    ExpertSizes::read(&m.at(""), keys).map(Some)
}

/// `x + post(network + experts)`, in which each has norms of its own.
fn beside(layer: &At<'_>, sizes: &Sizes, network: Box<dyn Part>, experts: &ExpertSizes) -> Branch {
    let norm = |place: &str| layer.norm(&format!("{place}_feedforward_layernorm"), sizes);
    let numbered =
        |place: &str, n: usize| layer.norm(&format!("{place}_feedforward_layernorm_{n}"), sizes);
    let at = layer.at("router");
    let mut router = at.router("proj", sizes, experts, false);
    let scale = at.blueprint.values(at.name("scale"), [MODEL.of(sizes.hidden)], Vec::new());
    let input = crate::parts::Norm { weight: Some(scale), ..norm("pre") };
    router.input = Some((input, (sizes.hidden as f32).powf(-0.5)));
    router.renormalise = Some(0.0);
    router.expert_scale = Some(at.of_experts("per_expert_scale", experts));
    let networks = layer.expert_networks(sizes, experts, EXPERT_NAMES);
    let part = Beside {
        network,
        network_norms: [norm("pre"), numbered("post", 1)],
        experts: crate::parts::Experts { router, networks },
        expert_norms: [numbered("pre", 2), numbered("post", 2)],
    };
    Branch { pre: None, parts: vec![Box::new(part)], post: Some(norm("post")), scale: None }
}
