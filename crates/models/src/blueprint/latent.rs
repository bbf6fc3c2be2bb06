//! Latent attention in a description, under DeepSeek's names.

use super::{At, Sizes};
use crate::ModelError;
use crate::dimensions::{HEAD, HEAD_DIM, KEY, KV_HEAD, LATENT, MIXED, MODEL, QUERY, VALUE_DIM};
use crate::parts::{Latent, LatentQuery, Norm, NormKind, Part, Rope};
use crate::reading::Read;
use crate::source::{Layout, Piece, Rows};
use crate::{Blueprint, Param};
use stablemate_graph::Dimension;

/// Sizes of latent attention.
#[derive(Clone, Copy, Debug)]
pub struct LatentSizes {
    /// `H`: `qk_nope_head_dim`.
    pub plain: usize,
    /// `P`: `qk_rope_head_dim`.
    pub rotated: usize,
    /// `R`: `kv_lora_rank`.
    pub rank: usize,
    /// `E`: `v_head_dim`.
    pub value_dim: usize,
    /// `q_lora_rank`: of compressed queries.
    pub query_rank: Option<usize>,
    /// Projections from the stream to short vectors and the output have biases.
    pub bias: bool,
    /// Epsilon of the norms of short vectors.
    pub epsilon: f64,
}

impl LatentSizes {
    /// Reads them; without a `value_dim` for configurations that have no `v_head_dim`, the key must be
    /// there.
    ///
    /// # Errors
    /// Missing keys, zeros and too large sizes.
    pub fn read(m: &Blueprint, value_dim: Option<usize>) -> Result<Self, ModelError> {
        let size = |key: &str| m.config.size(key, 1 << 20);
        let query_rank = match m.config.contains("q_lora_rank") {
            true => Some(size("q_lora_rank")?),
            false => m.config.get("q_lora_rank")?,
        };
        Ok(Self {
            plain: size("qk_nope_head_dim")?,
            rotated: size("qk_rope_head_dim")?,
            rank: size("kv_lora_rank")?,
            value_dim: match value_dim {
                Some(default) => m.config.size_or("v_head_dim", 1 << 20, default)?,
                None => size("v_head_dim")?,
            },
            query_rank,
            bias: m.config.flag("attention_bias", false)?,
            // Of the class, whatever the configuration says.
            epsilon: 1e-6,
        })
    }
}

impl At<'_> {
    /// Latent attention whose rotated part is turned by `rope`.
    pub fn latent(&self, sizes: &Sizes, latent: &LatentSizes, rope: &Rope, scale: f32) -> Latent {
        let LatentSizes { plain, rotated, rank, value_dim, bias, .. } = *latent;
        let (heads, model) = (sizes.heads, MODEL.of(sizes.hidden));
        self.blueprint.uses_rope(rope);
        let one = KV_HEAD.of(1);
        let [keys, values] = self.blueprint.cache(self.n, one, rank + rotated, rank);
        Latent {
            heads,
            plain,
            rotated,
            rank,
            value_dim,
            query: self.latent_query(sizes, latent),
            compress: self.linear("kv_a_proj_with_mqa", KEY.of(rank + rotated), model, bias),
            norm: self.short_norm("kv_a_layernorm", latent, HEAD_DIM.of(rank)),
            keys_of: self.of_latents(sizes, latent, HEAD_DIM.of(plain), 0),
            values_of: self.of_latents(sizes, latent, VALUE_DIM.of(value_dim), plain),
            output: self.linear("o_proj", model, MIXED.of(heads * value_dim), bias),
            rope: rope.clone(),
            scale,
            keys,
            values,
        }
    }

    fn latent_query(&self, sizes: &Sizes, latent: &LatentSizes) -> LatentQuery {
        let rows = QUERY.of(sizes.heads * (latent.plain + latent.rotated));
        let model = MODEL.of(sizes.hidden);
        let Some(rank) = latent.query_rank else {
            return LatentQuery::Direct(self.linear("q_proj", rows, model, false));
        };
        let short = LATENT.of(rank);
        let down = self.linear("q_a_proj", short, model, latent.bias);
        let norm = self.short_norm("q_a_layernorm", latent, short);
        LatentQuery::Compressed { down, norm, up: self.linear("q_b_proj", rows, short, false) }
    }

    fn short_norm(&self, name: &str, latent: &LatentSizes, over: Dimension) -> Norm {
        let weight = self.blueprint.values(self.name(&format!("{name}.weight")), [over], vec![]);
        let epsilon = latent.epsilon;
        Norm { kind: NormKind::Rms, weight: Some(weight), bias: None, epsilon }
    }

    /// The rows of `kv_b_proj` that make keys (from 0) or values (from `H`) of each head, `[G, rows, R]`.
    /// GGUF and MLX keep them apart, those of keys transposed.
    fn of_latents(
        &self,
        sizes: &Sizes,
        latent: &LatentSizes,
        rows: Dimension,
        start: usize,
    ) -> Param {
        let LatentSizes { plain, rank, value_dim, .. } = *latent;
        let (heads, all) = (sizes.heads, plain + value_dim);
        let fused = Piece::whole(self.name("kv_b_proj.weight"), [heads * all, rank]);
        let fused = fused.only(Rows::every(all, heads, start, rows.size));
        let (name, apart) = match start {
            0 => {
                let tensor = self.name("embed_q.weight");
                ("keys", Piece::transposed(tensor, [heads, rank, rows.size]))
            }
            _ => {
                let tensor = self.name("unembed_out.weight");
                ("values", Piece::whole(tensor, [heads, rows.size, rank]))
            }
        };
        let layouts = vec![Layout::from(fused), apart.into()];
        let name = self.name(&format!("kv_b_proj.{name}.weight"));
        self.blueprint.values(name, [HEAD.of(heads), rows, LATENT.of(rank)], layouts)
    }
}

super::networks::boxed!(Latent);
