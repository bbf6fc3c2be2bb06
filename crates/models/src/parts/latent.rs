//! Latent attention: keys and values are made of one short vector per token, which alone is cached.

use super::{Linear, Norm, Part, Rope};
use crate::dimensions::{
    GROUP, HEAD, HEAD_DIM, KEY, KV_HEAD, LATENT, MIXED, QUERY, TOKEN, VALUE_DIM,
};
use crate::kernels::{self, Attention, Span};
use crate::{Param, State, Step};
use stablemate_graph::Value;

/// Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434), absorbed: queries are brought to the
/// latents instead of keys from them, so that all heads read one cached key of `R + P` elements, of
/// which the first `R` are the value. `G` heads, of `H` elements that are not rotated and `P` that are.
#[derive(Debug)]
pub struct Latent {
    /// `G`.
    pub heads: usize,
    /// `H`: elements of a query head that are not rotated.
    pub plain: usize,
    /// `P`: elements that are rotated.
    pub rotated: usize,
    /// `R`.
    pub rank: usize,
    /// `E`: elements of a value head.
    pub value_dim: usize,
    /// Makes queries.
    pub query: LatentQuery,
    /// `[R + P, D]`.
    pub compress: Linear,
    /// Over the latent.
    pub norm: Norm,
    /// `[G, H, R]`: from latents to keys.
    pub keys_of: Param,
    /// `[G, E, R]`: from latents to values.
    pub values_of: Param,
    /// `[D, G·E]`.
    pub output: Linear,
    /// Rotates the `P` elements.
    pub rope: Rope,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Pool `[B, L, 1, R + P]`.
    pub keys: State,
    /// Pool `[B, L, 1, R]`.
    pub values: State,
}

/// How queries `[T, G·(H + P)]` are made.
#[derive(Debug)]
pub enum LatentQuery {
    /// By one projection.
    Direct(Linear),
    /// Through a short vector with a norm.
    Compressed {
        /// To the short vector.
        down: Linear,
        /// Over the short vector.
        norm: Norm,
        /// From the short vector.
        up: Linear,
    },
}

impl Latent {
    /// Queries `[T, 1, G, R + P]`, as the cached keys are.
    fn query<'b>(&self, step: &Step<'b>, projected: Value<'b>) -> Value<'b> {
        let (heads, all) = (HEAD.of(self.heads), self.plain + self.rotated);
        let query = projected.split(QUERY, &[heads, HEAD_DIM.of(all)]);
        let plain = query.slice(HEAD_DIM, 0..self.plain);
        let rotated = step.rotate(&self.rope, query.slice(HEAD_DIM, self.plain..all));
        // [G, T, R]
        let latent = plain.contract(step.param(self.keys_of), &[HEAD_DIM]);
        let latent = latent.transpose(&[TOKEN, HEAD, LATENT]).relabel(LATENT, HEAD_DIM);
        let query = latent.concatenate(&[rotated], HEAD_DIM);
        query.split(HEAD, &[KV_HEAD.of(1), GROUP.of(self.heads)]).named("query")
    }

    /// The mixed latents `[T, 1, G, R]` as values of all heads `[T, G·E]`.
    fn values<'b>(&self, step: &Step<'b>, mixed: Value<'b>) -> Value<'b> {
        let mixed = mixed.merge(&[KV_HEAD, GROUP], HEAD).relabel(VALUE_DIM, LATENT);
        // [G, T, E]
        let values = mixed.contract(step.param(self.values_of), &[LATENT]);
        values.transpose(&[TOKEN, HEAD, VALUE_DIM]).merge(&[HEAD, VALUE_DIM], MIXED)
    }
}

impl Part for Latent {
    fn forward<'b>(&self, step: &Step<'b>, x: Value<'b>, residual: Option<Value<'b>>) -> Value<'b> {
        let _scope = step.scope("attention");
        let first = match &self.query {
            LatentQuery::Direct(linear) => *linear,
            LatentQuery::Compressed { down, .. } => *down,
        };
        let products = step.linears(&[first, self.compress], x);
        let [first, compressed] = products[..] else { return x };
        let projected = match &self.query {
            LatentQuery::Direct(_) => first,
            LatentQuery::Compressed { norm, up, .. } => {
                step.linear(*up, norm.forward(step, first, LATENT), None)
            }
        };
        let query = self.query(step, projected);
        let latent = compressed.slice(KEY, 0..self.rank).relabel(KEY, HEAD_DIM);
        let latent = self.norm.forward(step, latent, HEAD_DIM).named("latent");
        let rotated = compressed.slice(KEY, self.rank..self.rank + self.rotated);
        let rotated = step.rotate(&self.rope, rotated.relabel(KEY, HEAD_DIM));
        let one = |x: Value<'b>, label| x.split(label, &[KV_HEAD.of(1), label.of(x.size(label))]);
        step.write(self.keys, one(latent.concatenate(&[rotated], HEAD_DIM), HEAD_DIM));
        step.write(self.values, one(latent.relabel(HEAD_DIM, VALUE_DIM), VALUE_DIM));
        let parameters = Attention { scale: self.scale, span: Span::Full, softcap: None };
        let (keys, values) = (step.state(self.keys), step.state(self.values));
        let addresses = step.addresses();
        let mixed = kernels::attention(parameters, query, keys, values, None, addresses);
        step.linear(self.output, self.values(step, mixed), residual).named("output")
    }

    fn describe(&self) -> String {
        let Self { heads, plain, rotated, rank, value_dim, scale, .. } = self;
        let query = match &self.query {
            LatentQuery::Direct(_) => "",
            LatentQuery::Compressed { .. } => ", compressed queries",
        };
        format!(
            "latent {heads} heads of {plain}+{rotated}, latent {rank}, values of {value_dim}{query}, \
             scale {scale}, rope {}",
            self.rope.describe()
        )
    }
}
