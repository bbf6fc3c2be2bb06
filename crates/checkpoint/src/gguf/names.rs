//! Tensor names: GGUF's to Hugging Face's.
//!
//! Source: gguf-py's `tensor_mapping.py`, which maps the other way.

/// Names in a layer that mean the same in every architecture read here.
const LAYER: &[(&str, &str)] = &[
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("attn_norm", "input_layernorm"),
];

/// Names outside the layers.
const MODEL: &[(&str, &str)] =
    &[("token_embd", "model.embed_tokens"), ("output_norm", "model.norm"), ("output", "lm_head")];

/// A norm before attention and one before the feed-forward part, which Hugging Face names after
/// the part that it follows.
pub(super) const TWO_NORMS: &[(&str, &str)] = &[("ffn_norm", "post_attention_layernorm")];

/// Norms before and after both parts (gemma 2 and 3).
pub(super) const FOUR_NORMS: &[(&str, &str)] = &[
    ("post_attention_norm", "post_attention_layernorm"),
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The Hugging Face name of a tensor, or `None` if the name is none of those known. `norms` is
/// [`TWO_NORMS`] or [`FOUR_NORMS`].
pub(super) fn hugging_face(name: &str, norms: &[(&str, &str)]) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    if let Some((layer, stem)) = layer_of(stem) {
        let stem = find(LAYER, stem).or_else(|| find(norms, stem))?;
        return Some(format!("model.layers.{layer}.{stem}.{kind}"));
    }
    find(MODEL, stem).map(|stem| format!("{stem}.{kind}"))
}

fn find<'a>(table: &[(&str, &'a str)], stem: &str) -> Option<&'a str> {
    table.iter().find(|entry| entry.0 == stem).map(|entry| entry.1)
}

/// `blk.7.attn_q` is 7 and `attn_q`. Only the plain decimal form counts: `blk.07` is no layer's
/// name, so two tensors cannot meet in one Hugging Face name.
pub(super) fn layer_of(stem: &str) -> Option<(u32, &str)> {
    let (digits, stem) = stem.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = digits.parse().ok()?;
    (layer.to_string() == digits).then_some((layer, stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (gguf, norms, expected) in [
            ("token_embd.weight", TWO_NORMS, Some("model.embed_tokens.weight")),
            ("output_norm.weight", TWO_NORMS, Some("model.norm.weight")),
            ("output.weight", FOUR_NORMS, Some("lm_head.weight")),
            ("blk.12.attn_q.weight", TWO_NORMS, Some("model.layers.12.self_attn.q_proj.weight")),
            ("blk.0.attn_k.bias", TWO_NORMS, Some("model.layers.0.self_attn.k_proj.bias")),
            ("blk.0.attn_output.weight", TWO_NORMS, Some("model.layers.0.self_attn.o_proj.weight")),
            ("blk.0.attn_q_norm.weight", TWO_NORMS, Some("model.layers.0.self_attn.q_norm.weight")),
            (
                "blk.3.ffn_norm.weight",
                TWO_NORMS,
                Some("model.layers.3.post_attention_layernorm.weight"),
            ),
            (
                "blk.3.ffn_norm.weight",
                FOUR_NORMS,
                Some("model.layers.3.pre_feedforward_layernorm.weight"),
            ),
            (
                "blk.3.post_attention_norm.weight",
                FOUR_NORMS,
                Some("model.layers.3.post_attention_layernorm.weight"),
            ),
            (
                "blk.3.post_ffw_norm.weight",
                FOUR_NORMS,
                Some("model.layers.3.post_feedforward_layernorm.weight"),
            ),
            ("blk.3.post_ffw_norm.weight", TWO_NORMS, None),
            ("blk.03.attn_q.weight", TWO_NORMS, None),
            ("blk.+3.attn_q.weight", TWO_NORMS, None),
            ("blk.3.attn_qkv.weight", TWO_NORMS, None),
            ("rope_freqs.weight", TWO_NORMS, None),
            ("output.scale", TWO_NORMS, None),
            ("attn_q.weight", TWO_NORMS, None),
            ("blk", TWO_NORMS, None),
        ] {
            assert_eq!(hugging_face(gguf, norms).as_deref(), expected, "{gguf}");
        }
    }
}
