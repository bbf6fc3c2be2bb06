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
    /// The checkpoint has the first value heads of all key heads first, then the second ones, as GGUF
    /// files do: `linear_value_heads_tiled`. Else the value heads of a key head are neighbours.
    pub tiled: bool,
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
            tiled: config.flag("linear_value_heads_tiled", defaults.tiled)?,
        })
    }

    /// The rows of all value heads, `width` each from `start` on, as neighbours of their key head.
    fn value_rows(&self, start: usize, width: usize) -> Vec<Rows> {
        let Self { key_heads, group, .. } = *self;
        if !self.tiled {
            return vec![Rows::range(start, key_heads * group * width)];
        }
        let of_key_head = |n| Rows::every(key_heads * width, group, start + n * width, width);
        (0..key_heads).map(of_key_head).collect()
    }

    /// The rows of queries and keys, then those of values.
    fn channel_rows(&self) -> Vec<Rows> {
        let keys = 2 * self.key_heads * self.key_dim;
        [vec![Rows::range(0, keys)], self.value_rows(keys, self.value_dim)].concat()
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
        let (heads, width) = (HEAD.of(delta.heads()), delta.value_dim);
        let values = MIXED.of(delta.heads() * width);
        let projection = |name: &str, rows: Dimension, order: Vec<Rows>| {
            let tensor = self.name(&format!("{name}.weight"));
            let layout = ordered(Piece::whole(&tensor, [rows.size, sizes.hidden]), &order);
            let dimensions = [rows, MODEL.of(sizes.hidden)];
            Linear { weight: self.blueprint.layouts(tensor, dimensions, vec![layout]), bias: None }
        };
        let projections = [
            projection("in_proj_qkv", CHANNEL.of(delta.channels()), delta.channel_rows()),
            projection("in_proj_z", values, delta.value_rows(0, width)),
            projection("in_proj_b", heads, delta.value_rows(0, 1)),
            projection("in_proj_a", heads, delta.value_rows(0, 1)),
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
        let DeltaSizes { key_heads, group, key_dim, value_dim, taps, tiled } = *delta;
        let (heads, values) = (delta.heads(), VALUE_DIM.of(value_dim));
        let order = delta.value_rows(0, 1);
        let stored = |name: &str| ordered(Piece::whole(self.name(name), [heads]), &order);
        let of_heads = |name: &str, layouts: Vec<Layout>| {
            self.blueprint.values(self.name(name), [HEAD.of(heads)], layouts)
        };
        let norm = Sizes { norm: NormKind::Rms, norm_bias: false, ..*sizes };
        let matrix = [KV_HEAD.of(key_heads), GROUP.of(group), HEAD_DIM.of(key_dim), values];
        DeltaNet {
            key_heads,
            group,
            key_dim,
            value_dim,
            tiled,
            mixed,
            gate,
            beta,
            step,
            taps: self.taps_of("conv1d", [delta.channels(), taps], &delta.channel_rows()),
            rate: of_heads("A_log", vec![stored("A_log"), stored("A")]),
            step_bias: of_heads("dt_bias", vec![stored("dt_bias")]),
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
        self.taps_of(name, [channels, taps], &[Rows::all(channels)])
    }

    /// The same with channels in another order.
    fn taps_of(&self, name: &str, [channels, taps]: [usize; 2], order: &[Rows]) -> Param {
        let name = self.name(&format!("{name}.weight"));
        let stored =
            |shape: Vec<usize>| ordered(Piece::viewed(&name, shape, [channels, taps]), order);
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

/// The rows of a tensor in this order; the tensor as it stands if that is all of it.
fn ordered(whole: Piece, order: &[Rows]) -> Layout {
    match order {
        [all] if *all == whole.rows => whole.into(),
        _ => Layout(order.iter().map(|rows| whole.clone().only(*rows)).collect()),
    }
}

super::networks::boxed!(DeltaNet, ShortConvolution);
