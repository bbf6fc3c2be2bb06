//! Recurrent parts in a description.

use super::{At, Sizes};
use crate::ModelError;
use crate::dimensions::{
    CHANNEL, GROUP, HEAD, HEAD_DIM, KV_HEAD, MIXED, MODEL, TAIL, TAP, VALUE_DIM,
};
use crate::parts::{DeltaNet, Linear, NormKind, Part, ShortConvolution};
use crate::reading::Read;
use crate::source::{Layout, Piece, Rows};
use crate::{Param, State};
use stablemate_graph::Dimension;

/// Sizes of gated delta nets, under Qwen's names.
#[derive(Clone, Copy, Debug)]
pub struct DeltaSizes {
    /// `K`: `linear_num_key_heads`.
    pub key_heads: usize,
    /// `G`: value heads of a key head.
    pub group: usize,
    /// `H`: `linear_key_head_dim`.
    pub key_dim: usize,
    /// `E`: `linear_value_head_dim`.
    pub value_dim: usize,
    /// `W`: `linear_conv_kernel_dim`.
    pub taps: usize,
}

impl DeltaSizes {
    /// Reads them, with these defaults.
    ///
    /// # Errors
    /// Zeros, too large sizes, and head counts that do not divide.
    pub fn read(at: &At<'_>, defaults: Self) -> Result<Self, ModelError> {
        let config = at.config();
        let size = |key: &str, default| config.size_or(key, 1 << 16, default);
        let key_heads = size("linear_num_key_heads", defaults.key_heads)?;
        let heads = size("linear_num_value_heads", defaults.key_heads * defaults.group)?;
        let expected = format!("it must be a multiple of linear_num_key_heads, {key_heads}");
        let divides = heads.is_multiple_of(key_heads);
        config.check(divides, "linear_num_value_heads", heads, expected)?;
        let taps = size("linear_conv_kernel_dim", defaults.taps)?;
        let expected = "a convolution needs at least 2 taps";
        config.check(taps > 1, "linear_conv_kernel_dim", taps, expected)?;
        Ok(Self {
            key_heads,
            group: heads / key_heads,
            key_dim: size("linear_key_head_dim", defaults.key_dim)?,
            value_dim: size("linear_value_head_dim", defaults.value_dim)?,
            taps,
        })
    }

    /// `K·G`.
    fn heads(&self) -> usize {
        self.key_heads * self.group
    }

    /// `C`.
    fn channels(&self) -> usize {
        2 * self.key_heads * self.key_dim + self.heads() * self.value_dim
    }
}

impl At<'_> {
    /// A gated delta net whose projections `in_proj_qkv`, `in_proj_z`, `in_proj_b` and `in_proj_a` stand
    /// apart.
    pub fn delta_net(&self, sizes: &Sizes, delta: &DeltaSizes) -> DeltaNet {
        let model = MODEL.of(sizes.hidden);
        let heads = HEAD.of(delta.heads());
        let values = MIXED.of(delta.heads() * delta.value_dim);
        let projection = |name: &str, rows: Dimension| self.linear(name, rows, model, false);
        let projections = [
            projection("in_proj_qkv", CHANNEL.of(delta.channels())),
            projection("in_proj_z", values),
            projection("in_proj_b", heads),
            projection("in_proj_a", heads),
        ];
        self.delta_net_of(sizes, delta, projections)
    }

    /// A gated delta net whose projections `in_proj_qkvz` and `in_proj_ba` hold, for each key head, its
    /// part of each.
    pub fn delta_net_by_key_head(&self, sizes: &Sizes, delta: &DeltaSizes) -> DeltaNet {
        let DeltaSizes { key_heads, group, key_dim, value_dim, .. } = *delta;
        let (columns, model) = (sizes.hidden, MODEL.of(sizes.hidden));
        let (width, values) = (2 * key_dim + 2 * group * value_dim, group * value_dim);
        let piece = |tensor: &str, rows: usize, start: usize, length: usize| {
            let tensor = self.name(&format!("{tensor}.weight"));
            let whole = Piece::whole(tensor, [key_heads * rows, columns]);
            whole.only(Rows::every(rows, key_heads, start, length))
        };
        let linear = |name: &str, rows: Dimension, pieces: Vec<Piece>| {
            let name = self.name(&format!("{name}.weight"));
            let layouts = vec![Layout(pieces)];
            Linear { weight: self.blueprint.layouts(name, [rows, model], layouts), bias: None }
        };
        let qkvz = |start, length| piece("in_proj_qkvz", width, start, length);
        let ba = |start| vec![piece("in_proj_ba", 2 * group, start, group)];
        let (heads, mixed) = (HEAD.of(delta.heads()), MIXED.of(delta.heads() * value_dim));
        let qkv = vec![qkvz(0, key_dim), qkvz(key_dim, key_dim), qkvz(2 * key_dim, values)];
        let projections = [
            linear("in_proj_qkv", CHANNEL.of(delta.channels()), qkv),
            linear("in_proj_z", mixed, vec![qkvz(2 * key_dim + values, values)]),
            linear("in_proj_b", heads, ba(0)),
            linear("in_proj_a", heads, ba(group)),
        ];
        self.delta_net_of(sizes, delta, projections)
    }

    fn delta_net_of(
        &self,
        sizes: &Sizes,
        delta: &DeltaSizes,
        [mixed, gate, beta, step]: [Linear; 4],
    ) -> DeltaNet {
        let DeltaSizes { key_heads, group, key_dim, value_dim, taps } = *delta;
        let (heads, values) = (delta.heads(), VALUE_DIM.of(value_dim));
        let of_heads = |name: &str, layouts: Vec<Layout>| {
            self.blueprint.values(self.name(name), [HEAD.of(heads)], layouts)
        };
        let rate = |name: &str| Piece::whole(self.name(name), [heads]).into();
        let norm = Sizes { norm: NormKind::Rms, norm_bias: false, ..*sizes };
        let matrix = [KV_HEAD.of(key_heads), GROUP.of(group), HEAD_DIM.of(key_dim), values];
        DeltaNet {
            key_heads,
            group,
            key_dim,
            value_dim,
            mixed,
            gate,
            beta,
            step,
            taps: self.taps("conv1d", delta.channels(), taps),
            rate: of_heads("A_log", vec![rate("A_log"), rate("A")]),
            step_bias: of_heads("dt_bias", Vec::new()),
            norm: self.norm_over("norm", &norm, [values]),
            output: self.linear(
                "out_proj",
                MODEL.of(sizes.hidden),
                MIXED.of(heads * value_dim),
                false,
            ),
            tail: self.tail(delta.channels(), taps),
            matrices: self.sequence_state("matrices", matrix.to_vec()),
        }
    }

    /// A gated short convolution over `W = taps` tokens: `in_proj` holds the gate before the convolution,
    /// the gate behind it and the value; `conv`; `out_proj`.
    pub fn short_convolution(&self, sizes: &Sizes, taps: usize, bias: bool) -> ShortConvolution {
        let (width, model) = (sizes.hidden, MODEL.of(sizes.hidden));
        let channels = CHANNEL.of(width);
        let input = |part: &str, n: usize| {
            let rows = (3 * width, Rows::range(n * width, width));
            self.rows_of("in_proj", part, [channels, model], rows, bias)
        };
        let shift = || self.blueprint.values(self.name("conv.bias"), [channels], Vec::new());
        ShortConvolution {
            inputs: [input("before", 0), input("behind", 1), input("value", 2)],
            taps: self.taps("conv", width, taps),
            bias: bias.then(shift),
            output: self.linear("out_proj", model, channels, bias),
            tail: self.tail(width, taps),
            width: taps,
        }
    }

    /// The weights `name.weight [C, W]` of a convolution per channel, stored `[C, 1, W]` by PyTorch,
    /// `[C, W, 1]` by MLX and `[C, W]` by GGUF.
    pub fn taps(&self, name: &str, channels: usize, taps: usize) -> Param {
        let name = self.name(&format!("{name}.weight"));
        let stored =
            |shape: Vec<usize>| Layout::from(Piece::viewed(&name, shape, [channels, taps]));
        let layouts = vec![
            stored(vec![channels, 1, taps]),
            stored(vec![channels, taps, 1]),
            stored(vec![channels, taps]),
        ];
        self.blueprint.values(&name, [CHANNEL.of(channels), TAP.of(taps)], layouts)
    }

    /// The last inputs of a convolution, `[N, W - 1, C]`.
    pub fn tail(&self, channels: usize, taps: usize) -> State {
        let shape = vec![TAIL.of(taps.saturating_sub(1)), CHANNEL.of(channels)];
        self.sequence_state("tail", shape)
    }

    /// Per-sequence state of this layer.
    pub fn sequence_state(&self, name: &str, dimensions: Vec<Dimension>) -> State {
        self.blueprint.sequence_state(format!("state.{}.{name}", self.n), dimensions)
    }
}

super::networks::boxed!(DeltaNet, ShortConvolution);
