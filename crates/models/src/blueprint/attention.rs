//! Attention in a description, under Llama's names.

use super::{At, Sizes};
use crate::dimensions::{
    GROUP, HEAD, HEAD_DIM, KEY, KV_HEAD, MIXED, MODEL, QUERY, VALUE, VALUE_DIM,
};
use crate::kernels::Span;
use crate::parts::{
    Alibi, GateFunction, Gqa, HeadNorm, KeysValues, Linear, Norm, NormExtent, OutputGate, Part,
    Position, QueryGrowth, Rope,
};
use crate::reading::Read;
use crate::source::{Layout, Piece, Rows};
use crate::{Blueprint, ModelError, State};
use stablemate_checkpoint::RawConfig;
use stablemate_graph::Dimension;

/// Projections of an attention layer that have a bias.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionBias {
    /// Query, key and value.
    pub inputs: bool,
    /// Output.
    pub output: bool,
}

impl AttentionBias {
    /// On all projections or on none.
    pub fn all(bias: bool) -> Self {
        Self { inputs: bias, output: bias }
    }

    /// On query, key and value.
    pub const INPUTS: Self = Self { inputs: true, output: false };
}

/// Attention under construction: all tokens visible, scores scaled by `1/√H`, no positions, no norms.
/// A family adds its differences and passes it on as a part.
pub struct AttentionDraft<'m> {
    at: At<'m>,
    /// The part as it will be.
    pub gqa: Gqa,
}

impl<'m> At<'m> {
    /// Attention under Llama's names: `q_proj`, `k_proj`, `v_proj`, `o_proj`.
    pub fn attention(&self, sizes: &Sizes, bias: AttentionBias) -> AttentionDraft<'m> {
        self.attention_of(sizes, bias, self.query(sizes, bias), KeySource::Own)
    }

    /// Attention whose values are its projected keys, before their norm and rotation: no `v_proj`.
    pub fn attention_of_keys(&self, sizes: &Sizes, bias: AttentionBias) -> AttentionDraft<'m> {
        self.attention_of(sizes, bias, self.query(sizes, bias), KeySource::KeysAreValues)
    }

    /// Attention over the keys and values of an earlier layer: only `q_proj` and `o_proj`.
    pub fn attention_over(
        &self,
        sizes: &Sizes,
        bias: AttentionBias,
        pools: [State; 2],
    ) -> AttentionDraft<'m> {
        self.attention_of(sizes, bias, self.query(sizes, bias), KeySource::Earlier(pools))
    }

    /// Attention whose `q_proj` holds, for each head, the query and then the output's gate, a sigmoid.
    pub fn attention_gated_by_query(
        &self,
        sizes: &Sizes,
        bias: AttentionBias,
    ) -> AttentionDraft<'m> {
        let Sizes { heads, head_dim, hidden, .. } = *sizes;
        let part = |name: &str, rows: Dimension, start: usize| {
            let runs = Rows::every(2 * head_dim, heads, start, head_dim);
            let all = 2 * heads * head_dim;
            let stored = |kind: &str, shape: Vec<usize>| {
                vec![Piece::whole(self.name(&format!("q_proj.{kind}")), shape).only(runs).into()]
            };
            let (weight, values) = (stored("weight", vec![all, hidden]), stored("bias", vec![all]));
            let name = |kind: &str| self.name(&format!("{name}.{kind}"));
            let dimensions = [rows, MODEL.of(hidden)];
            Linear {
                weight: self.blueprint.layouts(name("weight"), dimensions, weight),
                bias: (bias.inputs).then(|| self.blueprint.values(name("bias"), [rows], values)),
            }
        };
        let query = part("q_proj", QUERY.of(heads * head_dim), 0);
        let projection = part("q_proj.gate", MIXED.of(heads * head_dim), head_dim);
        let mut draft = self.attention_of(sizes, bias, query, KeySource::Own);
        let function = GateFunction::Sigmoid;
        draft.gqa.gate = Some(OutputGate { projection, per_head: false, function });
        draft
    }

    /// The projection of queries under Llama's name.
    fn query(&self, sizes: &Sizes, bias: AttentionBias) -> Linear {
        let rows = QUERY.of(sizes.heads * sizes.head_dim);
        self.linear("q_proj", rows, MODEL.of(sizes.hidden), bias.inputs)
    }

    fn attention_of(
        &self,
        sizes: &Sizes,
        bias: AttentionBias,
        query: Linear,
        source: KeySource,
    ) -> AttentionDraft<'m> {
        let Sizes { heads, kv_heads, head_dim, hidden, .. } = *sizes;
        let (model, mixed) = (MODEL.of(hidden), MIXED.of(heads * head_dim));
        let (key, value) = (KEY.of(kv_heads * head_dim), VALUE.of(kv_heads * head_dim));
        let own = || {
            let key = self.linear("k_proj", key, model, bias.inputs);
            let value = matches!(source, KeySource::Own)
                .then(|| self.linear("v_proj", value, model, bias.inputs));
            KeysValues { key, value, key_norm: None, value_norm: None, key_scale: None }
        };
        let (own, pools) = match source {
            KeySource::Earlier(pools) => (None, pools),
            KeySource::Own | KeySource::KeysAreValues => {
                let heads = KV_HEAD.of(kv_heads);
                (Some(own()), self.blueprint.cache(self.n, heads, head_dim, head_dim))
            }
        };
        let output = self.linear("o_proj", model, mixed, bias.output);
        let gqa = Gqa { query, own, output, ..Gqa::new(sizes, pools, query) };
        AttentionDraft { at: self.clone(), gqa }
    }

    /// Attention with these names of the projections of query, key, value and output.
    pub fn attention_named(
        &self,
        sizes: &Sizes,
        [query, key, value, output]: [&str; 4],
        bias: AttentionBias,
    ) -> AttentionDraft<'m> {
        let Sizes { heads, kv_heads, head_dim, hidden, .. } = *sizes;
        let (model, keys) = (MODEL.of(hidden), kv_heads * head_dim);
        let rows = [QUERY.of(heads * head_dim), KEY.of(keys), VALUE.of(keys)];
        let input = |name: &str, n: usize| self.linear(name, rows[n], model, bias.inputs);
        let output = |mixed| self.linear(output, model, mixed, bias.output);
        let projections = [input(query, 0), input(key, 1), input(value, 2)];
        let [query, key, value] = projections;
        let output = output(MIXED.of(heads * head_dim));
        self.attention_with(sizes, [query, key, value, output])
    }

    /// Attention with projections that the family has declared, over pools of this layer.
    pub fn attention_with(
        &self,
        sizes: &Sizes,
        [query, key, value, output]: [Linear; 4],
    ) -> AttentionDraft<'m> {
        let heads = KV_HEAD.of(sizes.kv_heads);
        let pools = self.blueprint.cache(self.n, heads, sizes.head_dim, sizes.head_dim);
        let value = Some(value);
        let own = KeysValues { key, value, key_norm: None, value_norm: None, key_scale: None };
        let gqa = Gqa { own: Some(own), output, ..Gqa::new(sizes, pools, query) };
        AttentionDraft { at: self.clone(), gqa }
    }
}

/// Where keys and values come from.
enum KeySource {
    /// Projections of their own.
    Own,
    /// One projection for both.
    KeysAreValues,
    /// The pools of an earlier layer.
    Earlier([State; 2]),
}

impl Blueprint {
    /// The pools of keys `[B, L, K, H]` and values `[B, L, K, E]` of layer `n`.
    pub fn cache(
        &self,
        n: usize,
        kv_heads: Dimension,
        head_dim: usize,
        value_dim: usize,
    ) -> [State; 2] {
        [
            self.state(format!("cache.{n}.keys"), kv_heads, HEAD_DIM.of(head_dim)),
            self.state(format!("cache.{n}.values"), kv_heads, VALUE_DIM.of(value_dim)),
        ]
    }
}

impl Gqa {
    /// Attention of `sizes` over `[keys, values]` whose projections are `projection` until they are set.
    pub fn new(sizes: &Sizes, [keys, values]: [State; 2], projection: Linear) -> Self {
        Self {
            kv_heads: sizes.kv_heads,
            group: sizes.heads / sizes.kv_heads.max(1),
            head_dim: sizes.head_dim,
            value_dim: sizes.head_dim,
            query: projection,
            query_norm: None,
            own: None,
            gate: None,
            output: projection,
            position: Position::None,
            scaled_biases: false,
            query_growth: None,
            span: Span::Full,
            scale: 1.0 / (sizes.head_dim as f32).sqrt(),
            softcap: None,
            clip: None,
            sinks: None,
            keys,
            values,
        }
    }
}

impl QueryGrowth {
    /// Reads the growth, whose keys stand among those of the rotation: `llama_4_scaling_beta` per
    /// `original_max_position_embeddings` positions.
    ///
    /// # Errors
    /// Missing keys, positions that are not positive.
    pub fn read(config: &RawConfig) -> Result<Self, ModelError> {
        let parameters = Rope::parameters(config)?;
        let expected = "it has the growth of queries";
        let absent = || config.refuse("rope_parameters", "null", expected);
        let parameters = parameters.ok_or_else(absent)?;
        // A copy of the key beside it.
        parameters.ignore(&["max_position_embeddings"]);
        let rate = parameters.require("llama_4_scaling_beta")?;
        let rate = parameters.finite("llama_4_scaling_beta", rate)? as f32;
        let original = parameters.size("original_max_position_embeddings", 1 << 31)?;
        Ok(Self { rate, original, offset: 0 })
    }
}

impl AttentionDraft<'_> {
    /// Queries and keys are rotated; not at all by `None`.
    pub fn rotary_if(self, rope: Option<&Rope>) -> Self {
        match rope {
            Some(rope) => self.rotary(rope),
            None => self,
        }
    }

    /// Queries and keys are rotated.
    pub fn rotary(mut self, rope: &Rope) -> Self {
        self.at.blueprint.uses_rope(rope);
        self.gqa.position = Position::Rotary(rope.clone());
        self
    }

    /// Scores rise with the position of the key; `scaled` if the scale of scores applies to that, too.
    pub fn alibi(mut self, alibi: Alibi, scaled: bool) -> Self {
        self.at.blueprint.widen(self.gqa.keys, self.gqa.group);
        self.gqa.position = Position::Alibi(alibi);
        self.gqa.scaled_biases = scaled;
        self
    }

    /// Only part of the sequence is visible.
    pub fn span(mut self, span: Span) -> Self {
        self.gqa.span = span;
        self
    }

    /// Scores are multiplied by `scale` instead of `1/√H`.
    pub fn scale(mut self, scale: f32) -> Self {
        self.gqa.scale = scale;
        self
    }

    /// Scores are bounded.
    pub fn softcap(mut self, cap: Option<f32>) -> Self {
        self.gqa.softcap = cap;
        self
    }

    /// Norms `q_norm` and `k_norm` over whole projections, before the rotation.
    pub fn projection_norms(self, sizes: &Sizes) -> Self {
        let Gqa { kv_heads, group, head_dim, .. } = self.gqa;
        let query = self.at.norm_over("q_norm", sizes, [QUERY.of(kv_heads * group * head_dim)]);
        let key = self.at.norm_over("k_norm", sizes, [KEY.of(kv_heads * head_dim)]);
        self.norms(query, key, NormExtent::Projection, false)
    }

    /// Norms of queries and keys.
    pub fn norms(
        mut self,
        query: Norm,
        key: Norm,
        extent: NormExtent,
        after_rotation: bool,
    ) -> Self {
        let of = |norm| Some(HeadNorm { norm, extent, after_rotation });
        self.gqa.query_norm = of(query);
        if let Some(own) = &mut self.gqa.own {
            own.key_norm = of(key);
        }
        self
    }

    /// Values are normalised over each head, without a weight.
    pub fn value_norm(mut self, sizes: &Sizes) -> Self {
        let norm = Norm { kind: sizes.norm, weight: None, bias: None, epsilon: sizes.epsilon };
        if let Some(own) = &mut self.gqa.own {
            let extent = NormExtent::Head;
            own.value_norm = Some(HeadNorm { norm, extent, after_rotation: false });
        }
        self
    }

    /// A norm `q_norm` over each query head, and `k_norm` over each key head where the layer has keys,
    /// before the rotation.
    pub fn head_norms(self, sizes: &Sizes) -> Self {
        self.head_norms_named(["q_norm", "k_norm"], sizes)
    }

    /// [`head_norms`](Self::head_norms) with these names.
    pub fn head_norms_named(mut self, [query, key]: [&str; 2], sizes: &Sizes) -> Self {
        let over = [HEAD_DIM.of(self.gqa.head_dim)];
        let of = |norm| HeadNorm { norm, extent: NormExtent::Head, after_rotation: false };
        self.gqa.query_norm = Some(of(self.at.norm_over(query, sizes, over)));
        if let Some(own) = &mut self.gqa.own {
            own.key_norm = Some(of(self.at.norm_over(key, sizes, over)));
        }
        self
    }

    /// Norms `query` over each query head and `key` over each key head, before the rotation, with a
    /// weight for each head: stored `[heads, H]`, or head by head in `norms`. They have no biases.
    pub fn norms_of_heads(self, [query, key]: [&str; 2], sizes: &Sizes) -> Self {
        let Gqa { kv_heads, group, head_dim, .. } = self.gqa;
        let norm = |name: &str, heads: &[Dimension]| {
            let count = heads.iter().map(|dimension| dimension.size).product();
            let weight = self.at.name(&format!("{name}.weight"));
            let one = |n: usize| {
                let tensor = self.at.name(&format!("{name}.norms.{n}.weight"));
                Piece::viewed(tensor, [head_dim], [1, head_dim])
            };
            let list = Layout((0..count).map(one).collect());
            let layouts = vec![Piece::whole(&weight, [count, head_dim]).into(), list];
            let dimensions = [heads, &[HEAD_DIM.of(head_dim)]].concat();
            let weight = Some(self.at.blueprint.values(weight, dimensions, layouts));
            Norm { kind: sizes.norm, weight, bias: None, epsilon: sizes.epsilon }
        };
        let query = norm(query, &[KV_HEAD.of(kv_heads), GROUP.of(group)]);
        let key = norm(key, &[KV_HEAD.of(kv_heads)]);
        self.norms(query, key, NormExtent::Head, false)
    }

    /// The output is multiplied by `function(gate)`, `name` being the gate's projection.
    pub fn gate(
        mut self,
        name: &str,
        per_head: bool,
        function: GateFunction,
        sizes: &Sizes,
    ) -> Self {
        let Gqa { kv_heads, group, value_dim, .. } = self.gqa;
        let rows = match per_head {
            true => HEAD.of(kv_heads * group),
            false => MIXED.of(kv_heads * group * value_dim),
        };
        let projection = self.at.linear(name, rows, MODEL.of(sizes.hidden), false);
        self.gqa.gate = Some(OutputGate { projection, per_head, function });
        self
    }

    /// A logit `name [K·G]` per head takes part in the softmax.
    pub fn sinks(mut self, name: &str) -> Self {
        let heads = HEAD.of(self.gqa.kv_heads * self.gqa.group);
        self.gqa.sinks = Some(self.at.blueprint.values(self.at.name(name), [heads], Vec::new()));
        self
    }

    /// Queries grow with their position.
    pub fn query_growth(mut self, growth: QueryGrowth) -> Self {
        self.gqa.query_growth = Some(growth);
        self
    }
}

impl From<AttentionDraft<'_>> for Box<dyn Part> {
    fn from(draft: AttentionDraft<'_>) -> Self {
        Box::new(draft.gqa)
    }
}
