//! Products of activations and weights.

mod activation;
pub(crate) mod checks;
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
mod task;
mod tiles;
mod tokens;
mod widened;
mod work;

use std::ops::Range;

use stablemate_encodings::{Float, LANES, Packing};

use crate::error::KernelError;
use crate::kernels::Kernels;
pub use activation::{Activation, Gate};
pub(crate) use finish::Epilogue;
pub(crate) use scratch::{Lines, Shared};
pub(crate) use work::{Inputs, Part};

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
    /// The packed layout of `stablemate_encodings`. At an address that is a multiple of 64 it is
    /// read fastest.
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

impl<'a> Matrix<'a> {
    /// Some of the rows, from a multiple of sixteen on.
    pub(crate) fn part(self, rows: Range<usize>) -> Self {
        let weight = match self.weight {
            Weight::Dense { float, bytes } => {
                let row = self.columns * float.bytes();
                Weight::Dense { float, bytes: &bytes[rows.start * row..rows.end * row] }
            }
            Weight::Packed { packing, words } => {
                let tile = packing.row_words(self.columns) * LANES;
                let tiles = rows.start / LANES..Packing::tiles(rows.end);
                Weight::Packed { packing, words: &words[tiles.start * tile..tiles.end * tile] }
            }
        };
        Self { weight, rows: rows.len(), columns: self.columns }
    }
}

/// Matrices of one shape, such as those of experts: `[count, rows, columns]`.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// The values, one matrix after the other; packed ones in whole tiles each.
    pub weight: Weight<'a>,
    /// How many there are.
    pub count: usize,
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub columns: usize,
}

impl<'a> Stack<'a> {
    /// The matrix numbered so.
    pub(crate) fn matrix(&self, number: usize) -> Matrix<'a> {
        let (rows, columns) = (self.rows, self.columns);
        let weight = match self.weight {
            Weight::Dense { float, bytes } => {
                let length = rows * columns * float.bytes();
                Weight::Dense { float, bytes: &bytes[number * length..][..length] }
            }
            Weight::Packed { packing, words } => {
                let length = packing.words(rows, columns);
                Weight::Packed { packing, words: &words[number * length..][..length] }
            }
        };
        Matrix { weight, rows, columns }
    }
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
            parts.push(Part {
                section: 0,
                first: product.matrix,
                second: None,
                epilogue: product.residual.map_or(Epilogue::Store, Epilogue::Residual),
                out: product.out,
            });
        }
        self.multiply(x, live, &mut parts);
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
        let epilogue = Epilogue::Gated(activation.into(), [None; 2]);
        let part = Part { section: 0, first: gate, second: Some(up), epilogue, out };
        self.multiply(x, live, &mut [part]);
        Ok(())
    }

    /// Checked parts of one section, all of the same columns; results of padding are 0.
    fn multiply(&self, x: &[f32], live: &[i32], parts: &mut [Part<'_>]) {
        for part in &mut *parts {
            let rows = part.first.rows;
            for (token, live) in live.iter().enumerate() {
                if *live < 0 {
                    part.out[token * rows..][..rows].fill(0.0);
                }
            }
        }
        let matrices: Vec<Matrix<'_>> = parts.iter().flat_map(Part::matrices).collect();
        let Some(columns) = matrices.first().map(|matrix| matrix.columns) else { return };
        Inputs::live(self, x, live, columns, &matrices).multiply(parts);
    }
}
