//! Rows of a table.

use stablemate_encodings::{LANES, gather};

use super::dense::Widen;
use super::scratch::Shared;
use super::{Matrix, Weight, checks};
use crate::error::KernelError;
use crate::kernels::Kernels;
use crate::simd::dispatch;

/// Values from which rows are looked up in parallel.
const PARALLEL: usize = 1 << 15;

impl Kernels {
    /// Row `tokens[t]` of the table as `out[t]`, `[T, columns]`: values bit for bit as
    /// [`Packing::unpack_row`](stablemate_encodings::Packing::unpack_row) gives them. Ids outside the table are moved to
    /// its ends.
    ///
    /// # Errors
    /// Sizes that do not fit together; tokens but no rows.
    pub fn embed(
        &self,
        table: Matrix<'_>,
        tokens: &[i32],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        checks::matrix("embed", table)?;
        checks::rows("embed", tokens.len(), table, out)?;
        let (rows, columns) = (table.rows, table.columns);
        let shared = Shared::new(out);
        let row = |n: usize| {
            let id = usize::try_from(tokens[n]).unwrap_or(0).min(rows - 1);
            // SAFETY: tokens have results of their own, which are borrowed until the end.
            let out = unsafe { shared.part(n * columns, columns) };
            self.look_up(table, id, out);
        };
        if tokens.len() * columns < PARALLEL {
            (0..tokens.len()).for_each(row);
        } else {
            self.pool().run(tokens.len(), &row);
        }
        Ok(())
    }

    fn look_up(&self, table: Matrix<'_>, row: usize, out: &mut [f32]) {
        let columns = table.columns;
        match table.weight {
            Weight::Dense { float, bytes } => {
                let row_bytes = columns * float.bytes();
                let bytes = &bytes[row * row_bytes..][..row_bytes];
                // SAFETY: it is available; the row has as many values.
                unsafe { dispatch(self.isa(), Widen { float, bytes, out }) };
            }
            Weight::Packed { packing, words } => {
                let row_words = packing.row_words(columns);
                let tile_words = row_words * LANES;
                let tile = &words[row / LANES * tile_words..][..tile_words];
                let mut packed = vec![0; row_words];
                gather(tile, row % LANES, &mut packed);
                packing.unpack_row(&packed, out);
            }
        }
    }
}
