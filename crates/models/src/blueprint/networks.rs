//! Feed-forward networks in a description, under Llama's names.

use super::{At, Sizes};
use crate::dimensions::{FEATURE, MODEL};
use crate::parts::{Gated, Multiplied, Part, Plain};
use crate::source::Rows;

impl At<'_> {
    /// A gated network under Llama's names: `gate_proj`, `up_proj`, `down_proj`.
    pub fn gated(&self, sizes: &Sizes, bias: bool) -> Gated {
        self.gated_named(sizes, ["gate_proj", "up_proj", "down_proj"], bias)
    }

    /// A gated network with these names of gate, up and down.
    pub fn gated_named(&self, sizes: &Sizes, [gate, up, down]: [&str; 3], bias: bool) -> Gated {
        let (model, feature) = (MODEL.of(sizes.hidden), FEATURE.of(sizes.features));
        Gated {
            gate: self.linear(gate, feature, model, bias),
            up: self.linear(up, feature, model, bias),
            down: self.linear(down, model, feature, bias),
            activation: sizes.activation,
            gate_scale: None,
            features: sizes.features,
        }
    }

    /// A gated network whose `gate_up_proj` has the gate's rows before those of up.
    pub fn gated_fused(&self, sizes: &Sizes) -> Gated {
        let (model, feature) = (MODEL.of(sizes.hidden), FEATURE.of(sizes.features));
        let half = |part: &str, start: usize| {
            let rows = (2 * sizes.features, Rows::range(start, sizes.features));
            self.rows_of("gate_up_proj", part, [feature, model], rows, false)
        };
        Gated {
            gate: half("gate", 0),
            up: half("up", sizes.features),
            down: self.linear("down_proj", model, feature, false),
            activation: sizes.activation,
            gate_scale: None,
            features: sizes.features,
        }
    }

    /// A network without a gate, with these names of its two projections.
    pub fn plain(&self, sizes: &Sizes, [up, down]: [&str; 2], bias: bool) -> Plain {
        let (model, feature) = (MODEL.of(sizes.hidden), FEATURE.of(sizes.features));
        Plain {
            up: self.linear(up, feature, model, bias),
            down: self.linear(down, model, feature, bias),
            activation: sizes.activation,
            features: sizes.features,
        }
    }
}

/// Parts that become boxed parts as they are.
macro_rules! boxed {
    ($($part:ty),*) => {
        $(impl From<$part> for Box<dyn Part> {
            fn from(part: $part) -> Self {
                Box::new(part)
            }
        })*
    };
}

pub(super) use boxed;

boxed!(Gated, Plain, Multiplied);
