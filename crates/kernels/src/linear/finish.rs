//! From products to results: sums with a residual, gates.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::LANES;

use super::activation::{Activation, gelu, gelu_tanh, relu, silu};
use crate::simd::{Operation, Simd};

/// What becomes of products.
#[derive(Clone, Copy)]
pub(super) enum Epilogue {
    /// The result is the product.
    Store,
    /// The residual is added.
    Residual,
    /// The activated first product times the second one.
    Gated(Activation),
}

/// Finishes some rows of one token.
///
/// # Safety
/// Products have the length of `out`, rounded up to whole registers; the second one for gates only. There is a residual of
/// that length if the epilogue is that.
pub(super) struct Finish<'a> {
    pub epilogue: Epilogue,
    pub products: [*const f32; 2],
    pub residual: Option<&'a [f32]>,
    pub out: &'a mut [f32],
}

impl Operation for Finish<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let length = self.out.len();
        let out = self.out.as_mut_ptr();
        let residual = self.residual.map_or(std::ptr::null(), <[f32]>::as_ptr);
        for at in (0..length).step_by(LANES) {
            let count = (length - at).min(LANES);
            let product = S::load(self.products[0].add(at));
            let value = match self.epilogue {
                Epilogue::Store => product,
                Epilogue::Residual if count == LANES => S::add(S::load(residual.add(at)), product),
                Epilogue::Residual => S::add(S::load_part(residual.add(at), count), product),
                Epilogue::Gated(activation) => {
                    let gate = match activation {
                        Activation::Silu => silu::<S>(product),
                        Activation::GeluTanh => gelu_tanh::<S>(product),
                        Activation::Gelu => gelu::<S>(product),
                        Activation::Relu => relu::<S>(product),
                    };
                    S::multiply(gate, S::load(self.products[1].add(at)))
                }
            };
            if count == LANES {
                S::store(value, out.add(at));
            } else {
                S::store_part(value, out.add(at), count);
            }
        }
    }
}
