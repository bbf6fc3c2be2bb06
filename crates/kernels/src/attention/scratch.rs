//! Memory that tasks use one after the other.

use super::task::Call;
use super::{CHUNK, TILE};
use crate::scratch::{Memory, reserve};

/// Parts of a thread's memory, for a task with `rows` rows of each of its heads.
pub(super) struct Scratch {
    /// Rows of a head.
    pub rows: usize,
    /// `[heads, rows, key vectors]`.
    pub queries: *mut f32,
    /// `[heads, rows, CHUNK]`.
    pub weights: *mut f32,
    /// Partials of the chunk at hand: `[heads, rows]`, of heads [`Self::head_partials`] apart.
    pub partials: *mut f32,
    pub head_partials: usize,
    /// `[heads, rows]` partials of all chunks so far.
    pub totals: *mut f32,
    /// `[TILE, vectors]`.
    pub decoded: *mut f32,
    /// `[heads, CHUNK]` each.
    pub key_factors: *mut f32,
    pub value_factors: *mut f32,
    /// `[CHUNK]` each: the first head's rows.
    pub keys: *mut *const u8,
    pub values: *mut *const u8,
    /// `[TILE]`.
    pub decoded_rows: *mut *const u8,
}

impl Scratch {
    pub fn new(call: &Call<'_>, heads: usize, rows: usize, memory: &mut Memory) -> Self {
        const POINTERS: usize = size_of::<*const u8>() / size_of::<f32>();
        let widest = 16 * call.key_vectors().max(call.value_vectors());
        let sizes = [
            heads * rows * 16 * call.key_vectors(),
            heads * rows * CHUNK,
            heads * rows * call.partial_stride(),
            heads * rows * call.partial_stride(),
            TILE * widest,
            heads * CHUNK,
            heads * CHUNK,
            CHUNK * POINTERS,
            CHUNK * POINTERS,
            TILE * POINTERS,
        ];
        let mut at = reserve(memory, sizes.iter().sum());
        let parts = sizes.map(|size| {
            let part = at;
            // All sizes are whole lines, and the memory is their sum.
            at = at.wrapping_add(size);
            part
        });
        let [queries, weights, partials, totals, decoded, key_factors, value_factors, ..] = parts;
        let [.., keys, values, decoded_rows] = parts;
        Self {
            rows,
            queries,
            weights,
            partials,
            head_partials: rows * call.partial_stride(),
            totals,
            decoded,
            key_factors,
            value_factors,
            keys: keys.cast(),
            values: values.cast(),
            decoded_rows: decoded_rows.cast(),
        }
    }
}
