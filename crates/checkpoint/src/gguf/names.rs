//! Tensor names: GGUF's to Hugging Face's, as tables that both directions read.
//!
//! Source: gguf-py's `tensor_mapping.py`, which maps the other way. Each architecture composes its
//! [`Names`] of the shared tables here and of its own.

/// What llama.cpp's converter did to a tensor before it wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conversion {
    /// Nothing.
    None,
    /// In each query head, rows alternate between the halves of the head.
    InterleavedQueries,
    /// In each key head, rows alternate between the halves of the head.
    InterleavedKeys,
    /// Fused rows, one group for each key–value head, became all queries, all keys, all values.
    SeparatedGroups,
    /// 1.0 was added to each value.
    OneAdded,
    /// `[n]` became `[n, 1]`.
    Column,
    /// `[1, n]` became `[n]`.
    Squeezed,
    /// `[groups · width]` became `[groups, width]`.
    Grouped,
    /// `[channels, 1, kernel]` became `[channels, kernel]`.
    Depthwise,
}

/// One tensor name, or the names of a weight and its bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The name in the file, behind `blk.N.` for tensors of a layer.
    stored: &'static str,
    /// The name to the outside, behind the name of the layer.
    name: &'static str,
    conversion: Conversion,
    /// Whether both names stand for themselves; otherwise `.weight` or `.bias` follows.
    exact: bool,
    /// Whether the tensor always has a bias.
    biased: bool,
}

/// The weight `stored.weight` is `name.weight`.
pub(super) const fn weight(stored: &'static str, name: &'static str) -> Rule {
    Rule { stored, name, conversion: Conversion::None, exact: false, biased: false }
}

/// The tensor `stored` is `name`, whatever the two end with.
pub(super) const fn exact(stored: &'static str, name: &'static str) -> Rule {
    Rule { exact: true, ..weight(stored, name) }
}

impl Rule {
    /// The tensor has a bias in every file.
    pub(super) const fn biased(self) -> Self {
        Self { biased: true, ..self }
    }

    /// The converter changed the tensor.
    pub(super) const fn converted(self, conversion: Conversion) -> Self {
        Self { conversion, ..self }
    }

    /// The outside name for `rest`, the name in the file behind the layer.
    fn apply(&self, rest: &str, companies: &[&[&str]]) -> Option<String> {
        let kind = rest.strip_prefix(self.stored)?;
        self.has(kind, companies).then(|| format!("{}{kind}", self.name))
    }

    /// The other direction of [`Self::apply`].
    fn reverse(&self, rest: &str, companies: &[&[&str]]) -> Option<String> {
        let kind = rest.strip_prefix(self.name)?;
        self.has(kind, companies).then(|| format!("{}{kind}", self.stored))
    }

    /// Whether the rule means a tensor whose name ends with `kind`.
    fn has(&self, kind: &str, companies: &[&[&str]]) -> bool {
        let optional = || companies.iter().any(|stems| stems.contains(&self.stored));
        match kind {
            "" => self.exact,
            ".weight" => !self.exact,
            ".bias" => !self.exact && (self.biased || optional()),
            _ => false,
        }
    }
}

/// The tensor names of one architecture.
#[derive(Debug)]
pub(super) struct Names {
    /// The name of the list of layers to the outside: `model.layers`.
    pub(super) layers: &'static str,
    /// Tensors outside of the layers.
    pub(super) model: &'static [Rule],
    /// Tensors of a layer.
    pub(super) layer: &'static [&'static [Rule]],
    /// Stems whose biases exist together in every layer that has the weights, or not at all.
    pub(super) companies: &'static [&'static [&'static str]],
}

/// A tensor whose name is known.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    /// The name to the outside.
    pub(super) name: String,
    pub(super) conversion: Conversion,
    pub(super) layer: Option<usize>,
}

impl Names {
    /// The tensor with this name in the file.
    pub(super) fn find(&self, stored: &str) -> Option<Found> {
        let Some((layer, rest)) = layer_of(stored) else {
            return self.model.iter().find_map(|rule| {
                let name = rule.apply(stored, &[])?;
                Some(Found { name, conversion: rule.conversion, layer: None })
            });
        };
        self.layer.iter().copied().flatten().find_map(|rule| {
            let rest = rule.apply(rest, self.companies)?;
            let name = format!("{}.{layer}.{rest}", self.layers);
            Some(Found { name, conversion: rule.conversion, layer: Some(layer) })
        })
    }

    /// The name in the file of the tensor with this name to the outside.
    pub(super) fn stored(&self, name: &str) -> Option<(String, Conversion)> {
        let in_layer = name.strip_prefix(self.layers).and_then(|rest| {
            let (layer, rest) = rest.strip_prefix('.')?.split_once('.')?;
            Some((number(layer)?, rest))
        });
        let Some((layer, rest)) = in_layer else {
            return self
                .model
                .iter()
                .find_map(|rule| Some((rule.reverse(name, &[])?, rule.conversion)));
        };
        self.layer.iter().copied().flatten().find_map(|rule| {
            let rest = rule.reverse(rest, self.companies)?;
            Some((format!("blk.{layer}.{rest}"), rule.conversion))
        })
    }
}

/// `blk.7.attn_q.weight` is 7 and `attn_q.weight`.
pub(super) fn layer_of(stored: &str) -> Option<(usize, &str)> {
    let (digits, rest) = stored.strip_prefix("blk.")?.split_once('.')?;
    Some((number(digits)?, rest))
}

/// Only the plain decimal form counts: `blk.07` is no layer's name, so two tensors cannot meet in
/// one outside name.
fn number(digits: &str) -> Option<usize> {
    let layer: usize = digits.parse().ok()?;
    (layer.to_string() == digits).then_some(layer)
}

/// Embedding, last norm and head of llama and its relatives.
pub(super) const MODEL: &[Rule] = &[
    weight("token_embd", "model.embed_tokens"),
    weight("output_norm", "model.norm"),
    weight("output", "lm_head"),
];

/// Attention with one matrix for each of queries, keys, values and output.
pub(super) const ATTENTION: &[Rule] = &[
    weight("attn_q", "self_attn.q_proj"),
    weight("attn_k", "self_attn.k_proj"),
    weight("attn_v", "self_attn.v_proj"),
    weight("attn_output", "self_attn.o_proj"),
];

/// Norms of queries and keys.
pub(super) const HEAD_NORMS: &[Rule] =
    &[weight("attn_q_norm", "self_attn.q_norm"), weight("attn_k_norm", "self_attn.k_norm")];

/// A gated network.
pub(super) const GATED: &[Rule] = &[
    weight("ffn_gate", "mlp.gate_proj"),
    weight("ffn_up", "mlp.up_proj"),
    weight("ffn_down", "mlp.down_proj"),
];

/// A norm before attention and one before the network, which Hugging Face names after the part that
/// it follows.
pub(super) const TWO_NORMS: &[Rule] =
    &[weight("attn_norm", "input_layernorm"), weight("ffn_norm", "post_attention_layernorm")];

/// Stacked experts `[experts, out, in]` with mlx-lm's names.
pub(super) const EXPERTS: &[Rule] = &[
    weight("ffn_gate_exps", "mlp.switch_mlp.gate_proj"),
    weight("ffn_up_exps", "mlp.switch_mlp.up_proj"),
    weight("ffn_down_exps", "mlp.switch_mlp.down_proj"),
];

/// The biases of [`ATTENTION`], which families switch with `attention_bias`.
pub(super) const ATTENTION_BIASES: &[&str] = &["attn_q", "attn_k", "attn_v", "attn_output"];

/// The biases of [`GATED`], which families switch with `mlp_bias`.
pub(super) const NETWORK_BIASES: &[&str] = &["ffn_gate", "ffn_up", "ffn_down"];

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        layers: "model.layers",
        model: MODEL,
        layer: &[
            ATTENTION,
            &[
                exact("ssm_a", "linear_attn.A"),
                exact("attn_sinks.weight", "self_attn.sinks"),
                weight("attn_norm", "norm").converted(Conversion::OneAdded),
                weight("ffn_gate_inp", "mlp.router").biased(),
            ],
        ],
        companies: &[&["attn_q", "attn_k"]],
    };

    #[test]
    fn both_directions() {
        for (stored, name) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.12.attn_q.weight", "model.layers.12.self_attn.q_proj.weight"),
            ("blk.0.attn_k.bias", "model.layers.0.self_attn.k_proj.bias"),
            ("blk.1.ssm_a", "model.layers.1.linear_attn.A"),
            ("blk.1.attn_sinks.weight", "model.layers.1.self_attn.sinks"),
            ("blk.1.ffn_gate_inp.bias", "model.layers.1.mlp.router.bias"),
        ] {
            assert_eq!(NAMES.find(stored).map(|found| found.name).as_deref(), Some(name));
            assert_eq!(NAMES.stored(name).map(|(stored, _)| stored).as_deref(), Some(stored));
        }
        let found = NAMES.find("blk.3.attn_norm.weight").unwrap();
        assert_eq!((found.layer, found.conversion), (Some(3), Conversion::OneAdded));
    }

    #[test]
    fn names_that_are_not_known() {
        for stored in [
            "blk.0.attn_v.bias",
            "output.bias",
            "blk.03.attn_q.weight",
            "blk.+3.attn_q.weight",
            "blk.3.attn_qkv.weight",
            "blk.3.ssm_a.weight",
            "rope_freqs.weight",
            "output.scale",
            "attn_q.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "blk",
        ] {
            assert_eq!(NAMES.find(stored), None, "{stored}");
        }
        assert_eq!(NAMES.stored("model.layers.0.self_attn.q_norm.weight"), None);
        assert_eq!(NAMES.stored("model.layers.01.self_attn.q_proj.weight"), None);
    }
}
