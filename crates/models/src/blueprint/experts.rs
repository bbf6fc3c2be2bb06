//! Networks of experts in a description.

use super::{At, Sizes};
use crate::ModelError;
use crate::Param;
use crate::dimensions::{EXPERT, FEATURE, MODEL, UNIT};
use crate::parts::{ExpertNetworks, Experts, GatedActivation, Part, Router, Score, Weighed};
use crate::reading::Read;
use crate::source::{Layout, Piece, Rows};
use stablemate_graph::Dimension;

/// Numbers of experts.
#[derive(Clone, Copy, Debug)]
pub struct ExpertSizes {
    /// `X`.
    pub experts: usize,
    /// `N`.
    pub choices: usize,
    /// `F` of an expert.
    pub features: usize,
}

impl ExpertSizes {
    /// Reads them from these keys.
    ///
    /// # Errors
    /// Zeros, and more choices than experts.
    pub fn read(
        at: &At<'_>,
        [experts_key, choices_key, features_key]: [&str; 3],
    ) -> Result<Self, ModelError> {
        let config = at.config();
        // transformers 5 writes the number of experts under one name for all families.
        const COMMON: &str = "num_local_experts";
        let absent = !config.contains(experts_key) && config.contains(COMMON);
        let experts_key = if absent { COMMON } else { experts_key };
        let experts = config.size(experts_key, 1 << 16)?;
        let choices = config.size(choices_key, 1 << 8)?;
        let expected = format!("{experts_key} is {experts}: not more can be chosen");
        config.check(choices <= experts, choices_key, choices, expected)?;
        Ok(Self { experts, choices, features: config.size(features_key, 1 << 30)? })
    }
}

/// Names of the projections of an expert.
pub const EXPERT_NAMES: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

impl At<'_> {
    /// A router `name [X, D]` by softmax over all experts, whose factors are not renormalised.
    pub fn router(&self, name: &str, sizes: &Sizes, experts: &ExpertSizes, bias: bool) -> Router {
        let rows = EXPERT.of(experts.experts);
        Router {
            gate: self.linear(name, rows, MODEL.of(sizes.hidden), bias),
            input: None,
            experts: experts.experts,
            choices: experts.choices,
            score: Score::Softmax,
            correction: None,
            groups: None,
            renormalise: None,
            scale: None,
            expert_scale: None,
        }
    }

    /// A vector `name [X]` of the experts.
    pub fn of_experts(&self, name: &str, experts: &ExpertSizes) -> Param {
        self.blueprint.values(self.name(name), [EXPERT.of(experts.experts)], Vec::new())
    }

    /// The networks of all experts at `experts` below this place, however they are stored: in a list with
    /// `names` for their projections, in `gate_up_proj` and `down_proj` of either order, or stacked one projection each as
    /// MLX stores them (`switch_mlp`).
    pub fn expert_networks(
        &self,
        sizes: &Sizes,
        experts: &ExpertSizes,
        names: [&str; 3],
    ) -> ExpertNetworks {
        let [gate, up, down] = names;
        let (model, features) = (MODEL.of(sizes.hidden), FEATURE.of(experts.features));
        let stack = |place: usize, name: &str, rows: Dimension, columns: Dimension| {
            self.stack(experts, place, name, [rows, columns])
        };
        ExpertNetworks {
            gate: stack(0, gate, features, model),
            up: stack(1, up, features, model),
            down: stack(2, down, model, features),
            biases: None,
            activation: GatedActivation::Plain(sizes.activation),
            features: experts.features,
        }
    }

    /// The networks of all experts with biases, whose gate and up rows alternate in one tensor of floats
    /// `[X, in, out]`. MLX, GGUF and the reader of MXFP4 keep gate and up apart.
    pub fn alternating_experts(
        &self,
        sizes: &Sizes,
        experts: &ExpertSizes,
        activation: GatedActivation,
    ) -> ExpertNetworks {
        let (model, features) = (MODEL.of(sizes.hidden), FEATURE.of(experts.features));
        let stack = |place: usize, [rows, columns]: [Dimension; 2]| {
            self.alternating(experts, place, rows, columns)
        };
        let [gate, up, down] =
            [(0, [features, model]), (1, [features, model]), (2, [model, features])]
                .map(|(place, shape)| stack(place, shape));
        ExpertNetworks {
            gate: gate.0,
            up: up.0,
            down: down.0,
            biases: Some([gate.1, up.1, down.1]),
            activation,
            features: experts.features,
        }
    }

    /// Projection number `place` `[X, rows, columns]` and its bias `[X · rows]`.
    fn alternating(
        &self,
        sizes: &ExpertSizes,
        place: usize,
        rows: Dimension,
        columns: Dimension,
    ) -> (Param, Param) {
        let ExpertSizes { experts, choices, .. } = *sizes;
        let (out, input, name) = (rows.size, columns.size, EXPERT_NAMES[place]);
        let (tensor, all, runs) = match place {
            2 => ("down_proj", out, Rows::all(experts * out)),
            _ => ("gate_up_proj", 2 * out, Rows::every(2, experts * out, place, 1)),
        };
        let tensor = self.name(&format!("experts.{tensor}"));
        let apart = |kind: &str| self.name(&format!("experts.{name}.{kind}"));
        let weight = vec![
            Piece::transposed(&tensor, [experts, input, all]).only(runs).into(),
            Piece::whole(apart("weight"), [experts, out, input]).into(),
        ];
        let flat = |name: String, all| Piece::viewed(name, [experts, all], [experts * all]);
        let bias = vec![
            flat(format!("{tensor}_bias"), all).only(runs).into(),
            flat(apart("bias"), out).into(),
        ];
        let dimensions = [EXPERT.of(experts), rows, columns];
        (
            self.blueprint.stack(apart("weight"), dimensions, weight, choices),
            self.blueprint.values(apart("bias"), [rows.label.of(experts * out)], bias),
        )
    }

    /// Projection number `place` (gate, up, down) of all experts, `[X, rows, columns]`.
    fn stack(
        &self,
        sizes: &ExpertSizes,
        place: usize,
        name: &str,
        [rows, columns]: [Dimension; 2],
    ) -> Param {
        let ExpertSizes { experts, choices, .. } = *sizes;
        let (out, input) = (rows.size, columns.size);
        let one =
            |n: usize| Piece::whole(self.name(&format!("experts.{n}.{name}.weight")), [out, input]);
        let list = Layout((0..experts).map(one).collect());
        let fused = match place {
            2 => Piece::whole(self.name("experts.down_proj"), [experts, out, input]),
            _ => Piece::whole(self.name("experts.gate_up_proj"), [experts, 2 * out, input])
                .only(Rows::every(2 * out, experts, place * out, out)),
        };
        // Only the shape tells whether the fused tensors are stored [X, in, out].
        let turned = match place {
            2 => Piece::transposed(self.name("experts.down_proj"), [experts, input, out]),
            _ => Piece::transposed(self.name("experts.gate_up_proj"), [experts, input, 2 * out])
                .only(Rows::every(2 * out, experts, place * out, out)),
        };
        let stacked = |folder: &str| {
            let tensor = self.name(&format!("{folder}.{}.weight", EXPERT_NAMES[place]));
            Layout::from(Piece::whole(tensor, [experts, out, input]))
        };
        let layouts = vec![
            list,
            fused.into(),
            turned.into(),
            stacked("switch_mlp"),
            stacked("experts.switch_glu"),
        ];
        let name = self.name(&format!("experts.{name}.weight"));
        self.blueprint.stack(name, [EXPERT.of(experts), rows, columns], layouts, choices)
    }

    /// A part `name` whose share is `sigmoid(gate(x))`, `gate [1, D]`.
    pub fn weighed(&self, gate: &str, sizes: &Sizes, part: impl Into<Box<dyn Part>>) -> Weighed {
        let gate = self.linear(gate, UNIT.of(1), MODEL.of(sizes.hidden), false);
        Weighed { part: part.into(), gate }
    }
}

super::networks::boxed!(Experts, Weighed);
