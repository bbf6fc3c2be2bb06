//! Mamba 2 in a description.

use super::{At, Sizes};
use crate::ModelError;
use crate::dimensions::{CHANNEL, HEAD, MIXED, MODEL, STATE, VALUE_DIM};
use crate::parts::{GatedNorm, Mamba2, Norm, NormKind, Part};
use crate::reading::Read;
use crate::source::{Piece, Rows};
use stablemate_checkpoint::RawConfig;

/// Sizes and switches of Mamba 2.
#[derive(Clone, Copy, Debug)]
pub struct MambaSizes {
    /// `H`.
    pub heads: usize,
    /// `P`.
    pub head_dim: usize,
    /// `G`.
    pub groups: usize,
    /// `Z`.
    pub state: usize,
    /// `W`.
    pub taps: usize,
    /// The input projection has a bias.
    pub input_bias: bool,
    /// The output projection has a bias.
    pub output_bias: bool,
    /// The convolution has a bias.
    pub taps_bias: bool,
    /// Whether the output has a norm, and whether that comes before its gate.
    pub norm: Option<bool>,
    /// Factors of the projection's parts.
    pub multipliers: Option<[f32; 5]>,
}

impl MambaSizes {
    /// `I`.
    pub fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// `C`.
    fn channels(&self) -> usize {
        self.width() + 2 * self.groups * self.state
    }

    /// Checks the sizes, which stand under these keys: heads, groups, taps.
    ///
    /// # Errors
    /// Groups that do not divide heads, a convolution of one tap.
    pub fn check(&self, config: &RawConfig, keys: [&str; 3]) -> Result<(), ModelError> {
        let [heads, groups, taps] = keys;
        let divides = self.heads.is_multiple_of(self.groups);
        let expected = format!("it must divide {heads}, {}", self.heads);
        config.check(divides, groups, self.groups, expected)?;
        config.check(self.taps > 1, taps, self.taps, "a convolution needs at least 2 taps")
    }
}

/// Checks that `time_step_limit` bounds nothing: the reference applies it in prompts and not to
/// generated tokens, so a bound has no one meaning.
///
/// # Errors
/// Other limits than 0 and infinity.
pub fn no_step_limits(config: &RawConfig) -> Result<(), ModelError> {
    const KEY: &str = "time_step_limit";
    let Some(limits) = config.get::<Vec<f64>>(KEY)? else { return Ok(()) };
    let open = matches!(limits[..], [least, most] if least <= 0.0 && most == f64::INFINITY);
    let expected = "only [0, Infinity] means the same for prompts and for generated tokens";
    config.check(open, KEY, format!("{limits:?}"), expected)
}

impl At<'_> {
    /// Mamba 2 under its own names: `in_proj`, `conv1d`, `A_log`, `D`, `dt_bias`, `norm`, `out_proj`.
    pub fn mamba2(&self, sizes: &Sizes, mamba: &MambaSizes) -> Mamba2 {
        let MambaSizes { heads, head_dim, groups, state, taps, .. } = *mamba;
        let (width, channels, model) = (mamba.width(), mamba.channels(), MODEL.of(sizes.hidden));
        let all = width + channels + heads;
        let part = |part: &str, rows, start: usize, length: usize| {
            let runs = (all, Rows::range(start, length));
            self.rows_of("in_proj", part, [rows, model], runs, mamba.input_bias)
        };
        let values = |name: &str, size| self.blueprint.values(self.name(name), [size], vec![]);
        let rate = |name: &str| Piece::whole(self.name(name), [heads]).into();
        let norm = |before_gate| GatedNorm {
            norm: Norm {
                kind: NormKind::Rms,
                weight: Some(values("norm.weight", MIXED.of(width))),
                bias: None,
                epsilon: sizes.epsilon,
            },
            before_gate,
        };
        let states = vec![HEAD.of(heads), VALUE_DIM.of(head_dim), STATE.of(state)];
        Mamba2 {
            heads,
            head_dim,
            groups,
            state,
            gate: part("gate", MIXED.of(width), 0, width),
            mixed: part("mixed", CHANNEL.of(channels), width, channels),
            step: part("step", HEAD.of(heads), width + channels, heads),
            multipliers: mamba.multipliers,
            taps: self.taps("conv1d", channels, taps),
            taps_bias: mamba.taps_bias.then(|| values("conv1d.bias", CHANNEL.of(channels))),
            step_bias: values("dt_bias", HEAD.of(heads)),
            rate: self.blueprint.values(
                self.name("A_log"),
                [HEAD.of(heads)],
                vec![rate("A_log"), rate("A")],
            ),
            pass: values("D", HEAD.of(heads)),
            norm: mamba.norm.map(norm),
            output: self.linear("out_proj", model, MIXED.of(width), mamba.output_bias),
            tail: self.tail(channels, taps),
            states: self.sequence_state("states", states),
        }
    }
}

super::networks::boxed!(Mamba2);
