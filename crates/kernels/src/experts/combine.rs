//! Sums of the results of a token's experts.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use std::ops::Range;

use stablemate_encodings::LANES;

use super::routes::{Routes, routes_to};
use super::{Experts, Routing};
use crate::kernels::Kernels;
use crate::linear::Shared;
use crate::simd::{Operation, Simd, dispatch};

/// Values from which they are added up in parallel.
const PARALLEL: usize = 1 << 15;

/// What sums depend on, besides the experts' results.
pub(super) struct Combine<'a> {
    pub(super) routes: &'a Routes,
    pub(super) routing: &'a Routing<'a>,
    pub(super) experts: &'a Experts<'a>,
    /// `[T, D]`.
    pub(super) residual: Option<&'a [f32]>,
}

impl Combine<'_> {
    /// Writes the columns `rows` of `out [T, D]`, from the results `partial [places, rows]` of the
    /// experts.
    pub(super) fn add(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        partial: &[f32],
        out: &mut [f32],
    ) {
        let tokens = self.routing.live.len();
        let shared = Shared::new(out);
        let token = |token: usize| {
            let at = token * self.experts.down.rows + rows.start;
            // SAFETY: tokens have columns of their own, which are borrowed until the end.
            let out = unsafe { shared.part(at, rows.len()) };
            if self.routing.live[token] < 0 {
                out.fill(0.0);
                return;
            }
            let residual = self.residual.map(|values| &values[at..][..rows.len()]);
            let sum = Sum { combine: self, token, rows: rows.clone(), partial, residual, out };
            // SAFETY: it is available; the token has as many results and biases.
            unsafe { dispatch(kernels.isa(), sum) };
        };
        if partial.len() < PARALLEL {
            (0..tokens).for_each(token);
        } else {
            kernels.pool().run(tokens, &token);
        }
    }
}

/// Some columns of a token.
///
/// # Safety
/// The residual has the length of `out`, which is that of `rows`; sizes have been checked.
struct Sum<'a> {
    combine: &'a Combine<'a>,
    token: usize,
    rows: Range<usize>,
    partial: &'a [f32],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl Operation for Sum<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let length = self.out.len();
        let places = self.combine.routes.places(self.token);
        let first = self.token * places.len();
        let weights = &self.combine.routing.weights[first..][..places.len()];
        let chosen = &self.combine.routing.chosen[first..][..places.len()];
        for at in (0..length).step_by(LANES) {
            let count = (length - at).min(LANES);
            let mut sum = S::zero();
            for ((place, weight), chosen) in places.iter().zip(weights).zip(chosen) {
                let result = &self.partial[place * length + at..][..count];
                let mut value = load::<S>(result);
                if let Some(biases) = self.combine.experts.down_bias {
                    let down = &self.combine.experts.down;
                    let expert = routes_to(*chosen, down.count);
                    let bias = &biases[expert * down.rows + self.rows.start + at..][..count];
                    value = S::add(value, load::<S>(bias));
                }
                sum = S::multiply_add(S::splat(*weight), value, sum);
            }
            if let Some(residual) = self.residual {
                sum = S::add(load::<S>(&residual[at..][..count]), sum);
            }
            let out = self.out[at..][..count].as_mut_ptr();
            if count == LANES {
                S::store(sum, out);
            } else {
                S::store_part(sum, out, count);
            }
        }
    }
}

/// At most sixteen values.
#[inline(always)]
unsafe fn load<S: Simd>(values: &[f32]) -> S::Floats {
    if values.len() == LANES {
        S::load(values.as_ptr())
    } else {
        S::load_part(values.as_ptr(), values.len())
    }
}
