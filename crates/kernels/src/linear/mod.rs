//! Products of activations and weights.

mod activation;
mod checks;
mod codebook;
mod decode;
mod dense;
mod embed;
mod finish;
mod form;
mod micro;
mod multiply;
mod operand;
mod quantize;
mod scales;
mod scratch;
mod strip;
mod tiles;
mod tokens;
mod widened;
mod work;

use stablemate_encodings::{Float, Packing};

use crate::error::KernelError;
use crate::kernels::Kernels;
pub use activation::Activation;
use work::{Part, run};

/// The values of a weight, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Weight<'a> {
    /// Little-endian floats, `[rows, columns]`. They need no alignment.
    Dense {
        /// Their type.
        float: Float,
        /// The values.
        bytes: &'a [u8],
    },
    /// The packed layout of `stablemate_encodings`. At an address that is a multiple of 64 it is read
    /// fastest.
    Packed {
        /// How it is quantised.
        packing: Packing,
        /// [`Packing::words`] of them.
        words: &'a [u32],
    },
}

/// A weight `[rows, columns]`, which maps `columns` inputs to `rows` outputs.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// The values.
    pub weight: Weight<'a>,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
}

/// One product of [`Kernels::linear`].
#[derive(Debug)]
pub struct Product<'a> {
    /// The weight.
    pub matrix: Matrix<'a>,
    /// `[T, rows]`, added to the product.
    pub residual: Option<&'a [f32]>,
    /// `[T, rows]`, overwritten.
    pub out: &'a mut [f32],
}

impl Kernels {
    /// `out = x · Wᵀ + residual` of several weights at once. `x` is `[T, columns]`; tokens with
    /// `live[t] < 0` are padding: their results are 0.
    ///
    /// Packed weights are multiplied as [`Self::activations`] says, dense ones and NF4 in f32. A token's results are the same bits
    /// whatever else is computed with it, and on however many threads.
    ///
    /// # Errors
    /// Sizes that do not fit together.
    pub fn linear(
        &self,
        x: &[f32],
        live: &[i32],
        products: &mut [Product<'_>],
    ) -> Result<(), KernelError> {
        let mut parts = Vec::with_capacity(products.len());
        for product in products {
            checks::product("linear", x, live, product)?;
            let residual = product.residual;
            parts.push(Part::linear(product.matrix, residual, product.out));
        }
        run(self, x, live, &mut parts);
        Ok(())
    }

    /// `out = activation(x · gateᵀ) ⊙ (x · upᵀ)`, `[T, rows]`; otherwise as [`Self::linear`].
    ///
    /// # Errors
    /// Sizes that do not fit together.
    pub fn gated(
        &self,
        x: &[f32],
        live: &[i32],
        gate: Matrix<'_>,
        up: Matrix<'_>,
        activation: Activation,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        checks::same_shape("gated", gate, up)?;
        checks::operands("gated", x, live, up, out)?;
        checks::operands("gated", x, live, gate, out)?;
        run(self, x, live, &mut [Part::gated(gate, up, activation, out)]);
        Ok(())
    }
}
