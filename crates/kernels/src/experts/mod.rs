//! Networks of experts: each token is computed by a few of many.
//!
//! Pairs of a token and a choice are grouped by expert: a step reads each chosen expert once.
//! Products are those of [`crate::linear`], whose rows are independent of each other. A token adds
//! the results of its experts in the order of its choices, so its bits are independent of the step.

mod checks;
mod combine;
mod routes;

use std::cell::RefCell;
use std::mem::take;
use std::ops::Range;

use stablemate_encodings::LANES;

use crate::error::KernelError;
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::linear::{Activation, Epilogue, Gate, Inputs, Lines, Part, Stack, Weight};
use combine::Combine;
use routes::Routes;

/// Bytes of activations that are multiplied in one parallel region: what bounds their memory.
const ROUTED_BYTES: usize = 16 << 20;

/// Bytes of experts' results held at a time: small enough to be added before they leave the
/// last-level cache.
const PARTIAL_BYTES: usize = 8 << 20;

/// Rows of an expert's last matrix whose results are there at a time, a multiple of this.
const SLAB: usize = 4 * LANES;

/// The networks of `X` experts, which map `D` inputs to as many outputs by `F` features.
#[derive(Clone, Copy, Debug)]
pub struct Experts<'a> {
    /// How features come about.
    pub inner: Inner<'a>,
    /// `[X, D, F]`.
    pub down: Stack<'a>,
    /// `[X, D]`, added to the products with `down`.
    pub down_bias: Option<&'a [f32]>,
}

/// From an expert's inputs to its features.
#[derive(Clone, Copy, Debug)]
pub enum Inner<'a> {
    /// Of two products.
    Gated {
        /// `[X, F, D]`.
        gate: Stack<'a>,
        /// `[X, F, D]`.
        up: Stack<'a>,
        /// `[X, F]`, added to the products with `gate` and `up`.
        biases: Option<[&'a [f32]; 2]>,
        /// How the products are combined.
        activation: Gate,
    },
    /// Of one product.
    Plain {
        /// `[X, F, D]`.
        up: Stack<'a>,
        /// `[X, F]`, added to the product.
        bias: Option<&'a [f32]>,
        /// What the product goes through.
        activation: Activation,
    },
}

impl<'a> Inner<'a> {
    fn up(&self) -> Stack<'a> {
        match self {
            Self::Gated { up, .. } | Self::Plain { up, .. } => *up,
        }
    }

    /// What an expert does to a section of rows of x.
    fn part<'p>(&self, section: usize, expert: usize, out: &'p mut [f32]) -> Part<'p>
    where
        'a: 'p,
    {
        let features = self.up().rows;
        let bias = |all: &'a [f32]| &all[expert * features..][..features];
        match *self {
            Self::Gated { gate, up, biases, activation } => {
                let biases = match biases {
                    Some(both) => both.map(|all| Some(bias(all))),
                    None => [None; 2],
                };
                let epilogue = Epilogue::Gated(activation, biases);
                let (first, second) = (gate.matrix(expert), Some(up.matrix(expert)));
                Part { section, first, second, epilogue, out }
            }
            Self::Plain { up, bias: all, activation } => {
                let epilogue = Epilogue::Activated(activation, all.map(bias));
                Part { section, first: up.matrix(expert), second: None, epilogue, out }
            }
        }
    }
}

/// Which experts compute which tokens.
#[derive(Clone, Copy, Debug)]
pub struct Routing<'a> {
    /// Negative for padding.
    pub live: &'a [i32],
    /// Experts `[T, N]`. Numbers beyond the ends are moved to them.
    pub chosen: &'a [i32],
    /// What their results are multiplied by, `[T, N]`.
    pub weights: &'a [f32],
}

thread_local! {
    /// Features and partial results of the last call, kept for their memory.
    static SCRATCH: RefCell<[Lines; 2]> = RefCell::default();
}

impl Kernels {
    /// `out[t] = residual[t] + Σₙ weights[t, n] · expert(chosen[t, n])(x[t])`, `[T, D]`; results of padding are 0. Weights
    /// of experts without tokens are not read.
    ///
    /// Products are those of [`Self::linear`]. A token's results are the same bits whatever else is computed with it, and
    /// on however many threads.
    ///
    /// # Errors
    /// Sizes that do not fit together.
    pub fn experts(
        &self,
        experts: &Experts<'_>,
        routing: &Routing<'_>,
        x: &[f32],
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        checks::experts(experts)?;
        checks::operands(experts, routing, x, residual, out)?;
        let routes = Routes::new(routing, experts.down.count);
        let [mut features, mut partial] = SCRATCH.with_borrow_mut(take);
        let width = experts.inner.up().rows;
        let places = routes.rows().len();
        let features_of = features.floats(places * width);
        self.features(experts, &routes, x, features_of);
        let combine = Combine { routes: &routes, routing, experts, residual };
        self.results(&combine, features_of, &mut partial, out);
        SCRATCH.with_borrow_mut(|scratch| *scratch = [features, partial]);
        Ok(())
    }

    /// The features of all routes, `[places, F]`.
    fn features(&self, experts: &Experts<'_>, routes: &Routes, x: &[f32], out: &mut [f32]) {
        if routes.groups().is_empty() {
            return;
        }
        let (features, columns) = (experts.inner.up().rows, experts.inner.up().columns);
        let matrices = match experts.inner {
            Inner::Gated { gate, up, .. } => vec![gate.matrix(0), up.matrix(0)],
            Inner::Plain { up, .. } => vec![up.matrix(0)],
        };
        let most = ROUTED_BYTES / (self.routed_bytes(&experts.inner.up()) * columns).max(1);
        let mut left = out;
        for groups in routes.passes(most) {
            let mut parts = Vec::with_capacity(groups.len());
            for (section, group) in groups.iter().enumerate() {
                let (out, rest) = take(&mut left).split_at_mut(group.places.len() * features);
                parts.push(experts.inner.part(section, group.expert, out));
                left = rest;
            }
            let rows = groups.iter().map(|group| &routes.rows()[group.places.clone()]);
            Inputs::sections(self, x, rows, columns, &matrices).multiply(&mut parts);
        }
    }

    /// Bytes of an activation that is multiplied by these weights, roughly.
    fn routed_bytes(&self, stack: &Stack<'_>) -> usize {
        match stack.weight {
            Weight::Packed { .. } => 2,
            Weight::Dense { .. } if self.isa() == Isa::Avx2 => 4,
            Weight::Dense { .. } => 0,
        }
    }

    /// The experts' results, a slab of rows of all of them at a time, and their sums.
    fn results(
        &self,
        combine: &Combine<'_>,
        features: &[f32],
        partial: &mut Lines,
        out: &mut [f32],
    ) {
        let (routes, down) = (combine.routes, combine.experts.down);
        let places: Vec<usize> = (0..routes.rows().len()).collect();
        let sections = routes.groups().iter().map(|group| &places[group.places.clone()]);
        let matrices = if routes.groups().is_empty() { vec![] } else { vec![down.matrix(0)] };
        let inputs = Inputs::sections(self, features, sections, down.columns, &matrices);
        for rows in slabs(down.rows, places.len()) {
            let partial = partial.floats(places.len() * rows.len());
            let mut left = &mut *partial;
            let mut parts = Vec::with_capacity(routes.groups().len());
            for (section, group) in routes.groups().iter().enumerate() {
                let (out, rest) = take(&mut left).split_at_mut(group.places.len() * rows.len());
                let first = down.matrix(group.expert).part(rows.clone());
                parts.push(Part { section, first, second: None, epilogue: Epilogue::Store, out });
                left = rest;
            }
            inputs.multiply(&mut parts);
            combine.add(self, rows, partial, out);
        }
    }
}

/// Cuts rows into slabs whose results for all `places` take at most [`PARTIAL_BYTES`], or that have
/// [`SLAB`] rows.
fn slabs(rows: usize, places: usize) -> impl Iterator<Item = Range<usize>> {
    let most = PARTIAL_BYTES / (4 * places).max(1) / SLAB * SLAB;
    let most = most.max(SLAB);
    (0..rows).step_by(most).map(move |first| first..(first + most).min(rows))
}
