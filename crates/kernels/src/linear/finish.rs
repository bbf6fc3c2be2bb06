//! From products to results: sums with a residual, activations, gates.

#![expect(unsafe_op_in_unsafe_fn, reason = "lanes under the contract of `Simd`")]

use stablemate_encodings::LANES;

use super::activation::{Activation, Gate};
use crate::simd::{Operation, Simd};

/// What becomes of products. Slices are those of whole results until [`Self::part`].
#[derive(Clone, Copy)]
pub(crate) enum Epilogue<'a> {
    /// The result is the product.
    Store,
    /// The residual, `[rows of the result, rows]`, is added.
    Residual(&'a [f32]),
    /// The activated sum of the product and the bias `[rows]`, if there is one.
    Activated(Activation, Option<&'a [f32]>),
    /// The gate of both products, to which biases `[rows]` are added, if there are any.
    Gated(Gate, [Option<&'a [f32]>; 2]),
}

impl<'a> Epilogue<'a> {
    /// That of `count` rows from `first` on, of which the result lies from `at` on.
    pub(super) fn part(self, at: usize, first: usize, count: usize) -> Self {
        let bias = |bias: Option<&'a [f32]>| bias.map(|bias| &bias[first..][..count]);
        match self {
            Self::Store => Self::Store,
            Self::Residual(values) => Self::Residual(&values[at..][..count]),
            Self::Activated(activation, own) => Self::Activated(activation, bias(own)),
            Self::Gated(gate, both) => Self::Gated(gate, both.map(bias)),
        }
    }
}

/// Finishes some rows of one token.
///
/// # Safety
/// Products have the length of `out`, rounded up to whole registers; the second one for gates only. What the epilogue
/// holds has that length.
pub(super) struct Finish<'a> {
    pub epilogue: Epilogue<'a>,
    pub products: [*const f32; 2],
    pub out: &'a mut [f32],
}

impl Operation for Finish<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let length = self.out.len();
        let out = self.out.as_mut_ptr();
        for at in (0..length).step_by(LANES) {
            let count = (length - at).min(LANES);
            let product = S::load(self.products[0].add(at));
            let value = match self.epilogue {
                Epilogue::Store => product,
                Epilogue::Residual(values) => {
                    S::add(load::<S>(values.as_ptr().add(at), count), product)
                }
                Epilogue::Activated(activation, bias) => {
                    activation.apply::<S>(add_bias::<S>(product, bias, at, count))
                }
                Epilogue::Gated(gate, [first, second]) => gate.apply::<S>(
                    add_bias::<S>(product, first, at, count),
                    add_bias::<S>(S::load(self.products[1].add(at)), second, at, count),
                ),
            };
            if count == LANES {
                S::store(value, out.add(at));
            } else {
                S::store_part(value, out.add(at), count);
            }
        }
    }
}

/// At most sixteen values.
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, count: usize) -> S::Floats {
    if count == LANES { S::load(from) } else { S::load_part(from, count) }
}

#[inline(always)]
unsafe fn add_bias<S: Simd>(
    product: S::Floats,
    bias: Option<&[f32]>,
    at: usize,
    count: usize,
) -> S::Floats {
    match bias {
        Some(bias) => S::add(product, load::<S>(bias.as_ptr().add(at), count)),
        None => product,
    }
}
