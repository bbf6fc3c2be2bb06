//! A run's rows against one chunk of the context.

use std::ops::Range;

use super::element::{F16, F32, I8, decode, scale};
use super::plan::Run;
use super::products::{Ahead, Mixed, Queries, Rows, mix, rows_at_once, scores};
use super::scratch::Scratch;
use super::softmax::{HEADER, Scores, weigh};
use super::task::{Call, Task};
use super::{Addresses, CHUNK, TILE};
use crate::cache::CacheElement;
use crate::isa::Isa;
use crate::simd::Simd;

/// Slots whose rows are used by all heads before the next are, if they are used where the cache has them: as
/// many as a block usually has.
const NEAR: usize = 16;

/// Whether a head's rows are few enough to use the cache's rows where they are.
fn near(isa: Isa, rows: usize, width: usize) -> bool {
    width.is_multiple_of(16) && rows <= 2 * rows_at_once(isa)
}

impl Task<'_> {
    /// The partials of the run's rows for the slots of one chunk, into the scratch. Rows that see nothing of
    /// the chunk have none.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the call is checked, the scratch is the task's with queries in it.
    #[inline(always)]
    pub(super) unsafe fn chunk<S: Simd>(&self, run: Run, chunk: usize, scratch: &Scratch) {
        let (call, attention, rows) = (self.call, self.call.attention, scratch.rows);
        let seen = call.visible(run, 0, chunk).start..call.visible(run, rows - 1, chunk).end;
        // SAFETY: the plan checked the slots that the run sees; the scratch has rows for a chunk.
        unsafe {
            self.find_rows(run, chunk, seen.clone(), scratch);
            self.products::<S>(run, chunk, seen.clone(), scratch);
            for index in 0..self.heads.len() * rows {
                let (head, row) = (index / rows, index % rows);
                let own = call.visible(run, row, chunk);
                if own.is_empty() {
                    continue;
                }
                let factors = (attention.element == CacheElement::Q8).then(|| {
                    let of_head =
                        |factors: *mut f32| factors.wrapping_add(head * CHUNK).cast_const();
                    (of_head(scratch.key_factors), of_head(scratch.value_factors))
                });
                let scores = Scores { scale: attention.scale, softcap: attention.softcap, factors };
                let partial = scratch
                    .partials
                    .add(head * scratch.head_partials + row * call.partial_stride());
                let weights = scratch.weights.add(index * CHUNK);
                let (largest, sum) = weigh::<S>(weights, own.start, own.end, scores);
                *partial = largest;
                *partial.add(1) = sum;
                for vector in 0..call.value_vectors() {
                    S::store(S::zero(), partial.add(HEADER + 16 * vector));
                }
            }
            self.mixtures::<S>(run, chunk, seen, scratch);
        }
    }

    /// Where the first head's key and value rows of the chunk's slots are, and all heads' factors. Vectors are
    /// of sixteen slots: those that nobody sees are replaced by ones that are seen, and never used.
    ///
    /// # Safety
    /// The plan checked the slots; the scratch has places for a chunk.
    #[inline(always)]
    unsafe fn find_rows(&self, run: Run, chunk: usize, seen: Range<usize>, scratch: &Scratch) {
        let Call { attention, addresses, key_bytes, value_bytes, .. } = *self.call;
        let Addresses { block_tables, pages, block_length, .. } = addresses;
        let table = &block_tables[run.sequence * pages..][..pages];
        let position = chunk * CHUNK + seen.start;
        let (mut page, mut offset) = (position / block_length, position % block_length);
        for slot in seen.start - seen.start % 16..seen.end.next_multiple_of(16) {
            let row = table[page] as usize * block_length + offset;
            let row = row * attention.kv_heads + self.heads.start;
            // SAFETY: the rows exist in both pools, as the plan checked.
            unsafe {
                let key = self.call.keys.as_ptr().add(row * key_bytes);
                let value = self.call.values.as_ptr().add(row * value_bytes);
                *scratch.keys.add(slot) = key;
                *scratch.values.add(slot) = value;
                if attention.element == CacheElement::Q8 {
                    for head in 0..self.heads.len() {
                        let (key, value) =
                            (key.add(head * key_bytes), value.add(head * value_bytes));
                        let at = head * CHUNK + slot;
                        *scratch.key_factors.add(at) = scale(key, attention.key_width);
                        *scratch.value_factors.add(at) = scale(value, attention.value_width);
                    }
                }
            }
            if slot >= seen.start && slot + 1 < seen.end {
                offset += 1;
                if offset == block_length {
                    (page, offset) = (page + 1, 0);
                }
            }
        }
    }

    /// The products of all rows with the keys of the slots `seen`.
    ///
    /// # Safety
    /// As [`Self::chunk`]; the scratch has the rows.
    #[inline(always)]
    unsafe fn products<S: Simd>(
        &self,
        run: Run,
        chunk: usize,
        seen: Range<usize>,
        scratch: &Scratch,
    ) {
        let (call, bytes) = (self.call, self.call.key_bytes);
        let width = call.attention.key_width;
        let near = near(S::ISA, scratch.rows, width);
        let size = if near { NEAR } else { TILE };
        let mut start = seen.start - seen.start % 16;
        while start < seen.end {
            let tile = start..(start - start % size + size).min(seen.end.next_multiple_of(16));
            for head in 0..self.heads.len() {
                // SAFETY: the caller's contract; rows of the tile are either the cache's or decoded ones.
                unsafe {
                    let mut rows = Rows { at: scratch.keys.add(start), offset: head * bytes };
                    let mut ahead = None;
                    if near {
                        ahead = Some(match tile.end < seen.end {
                            true => self.ahead(scratch.keys, tile.end..seen.end, head, bytes),
                            // After the keys come the values.
                            false => {
                                let bytes = self.call.value_bytes;
                                self.ahead(scratch.values, seen.clone(), head, bytes)
                            }
                        });
                    } else {
                        rows = self.decode::<S>(rows, tile.len(), width, scratch);
                    }
                    self.tile_products::<S>((run, chunk, head), &tile, rows, ahead, scratch);
                }
            }
            start = tile.end;
        }
    }

    /// The products of a head's rows with the keys of a tile. What lies `ahead` is known where the rows are the cache's.
    ///
    /// # Safety
    /// As [`Self::chunk`]; `keys` has the tile's rows.
    #[inline(always)]
    unsafe fn tile_products<S: Simd>(
        &self,
        (run, chunk, head): (Run, usize, usize),
        tile: &Range<usize>,
        keys: Rows,
        ahead: Option<Ahead>,
        scratch: &Scratch,
    ) {
        let (call, rows, vectors) = (self.call, scratch.rows, self.call.key_vectors());
        let near = ahead.is_some();
        let mut ahead = ahead.unwrap_or_default();
        let lines = ahead.len().div_ceil(rows.div_ceil(rows_at_once(S::ISA)));
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(rows_at_once(S::ISA));
            let own =
                call.visible(run, row, chunk).start..call.visible(run, row + count - 1, chunk).end;
            let own = own.start.max(tile.start)..own.end.min(tile.end);
            let mut slot = own.start - own.start % 16;
            while slot < own.end {
                // SAFETY: the caller's contract; scores of whole vectors have space.
                unsafe {
                    let first = scratch.queries.add((head * rows + row) * 16 * vectors);
                    let queries = Queries { first, stride: 16 * vectors, rows: count };
                    let to = scratch.weights.add((head * rows + row) * CHUNK + slot);
                    let keys = keys.from(slot - tile.start);
                    let (to, ahead) = ((to, CHUNK), (&mut ahead, lines));
                    match (near, call.attention.element) {
                        (true, CacheElement::F16) => {
                            scores::<S, F16>(queries, keys, vectors, to, ahead)
                        }
                        (true, CacheElement::Q8) => {
                            scores::<S, I8>(queries, keys, vectors, to, ahead)
                        }
                        _ => scores::<S, F32>(queries, keys, vectors, to, ahead),
                    }
                }
                slot += 16;
            }
            row += count;
        }
    }

    /// Adds the weighted values of the slots `seen` to the sums of all rows.
    ///
    /// # Safety
    /// As [`Self::chunk`]; the scratch has the rows and the weights.
    #[inline(always)]
    unsafe fn mixtures<S: Simd>(
        &self,
        run: Run,
        chunk: usize,
        seen: Range<usize>,
        scratch: &Scratch,
    ) {
        let (call, bytes) = (self.call, self.call.value_bytes);
        let width = call.attention.value_width;
        let near = near(S::ISA, scratch.rows, width);
        let size = if near { NEAR } else { TILE };
        let mut start = seen.start;
        while start < seen.end {
            let tile = start..(start - start % size + size).min(seen.end);
            for head in 0..self.heads.len() {
                // SAFETY: the caller's contract; rows of the tile are either the cache's or decoded ones.
                unsafe {
                    let mut rows = Rows { at: scratch.values.add(start), offset: head * bytes };
                    let mut ahead = None;
                    if near {
                        let next = tile.end..seen.end;
                        ahead = Some(self.ahead(scratch.values, next, head, bytes));
                    } else {
                        rows = self.decode::<S>(rows, tile.len(), width, scratch);
                    }
                    self.tile_mixtures::<S>((run, chunk, head), &tile, rows, ahead, scratch);
                }
            }
            start = tile.end;
        }
    }

    /// Adds the weighted values of a tile to a head's sums. What lies `ahead` is known where the rows are the cache's.
    ///
    /// # Safety
    /// As [`Self::chunk`]; `values` has the tile's rows.
    #[inline(always)]
    unsafe fn tile_mixtures<S: Simd>(
        &self,
        (run, chunk, head): (Run, usize, usize),
        tile: &Range<usize>,
        values: Rows,
        ahead: Option<Ahead>,
        scratch: &Scratch,
    ) {
        let (call, rows, vectors) = (self.call, scratch.rows, self.call.value_vectors());
        let near = ahead.is_some();
        let mut ahead = ahead.unwrap_or_default();
        let lines = ahead.len().div_ceil(rows.div_ceil(rows_at_once(S::ISA)));
        let stride = call.partial_stride();
        let mut row = 0;
        while row < rows {
            let count = (rows - row).min(rows_at_once(S::ISA));
            for Part { first, count, slots } in self.parts(run, chunk, row, count, tile) {
                if slots.is_empty() {
                    continue;
                }
                // SAFETY: the caller's contract; the part is of the tile's slots and the head's rows.
                unsafe {
                    let weights = scratch.weights.add((head * rows + first) * CHUNK + slots.start);
                    let sums = scratch
                        .partials
                        .add(head * scratch.head_partials + first * stride + HEADER);
                    let mixed = Mixed {
                        weights,
                        weights_stride: CHUNK,
                        sums,
                        sums_stride: stride,
                        rows: count,
                    };
                    let values = values.from(slots.start - tile.start);
                    let ahead = (&mut ahead, lines);
                    match (near, call.attention.element) {
                        (true, CacheElement::F16) => {
                            mix::<S, F16>(mixed, values, slots.len(), vectors, ahead)
                        }
                        (true, CacheElement::Q8) => {
                            mix::<S, I8>(mixed, values, slots.len(), vectors, ahead)
                        }
                        _ => mix::<S, F32>(mixed, values, slots.len(), vectors, ahead),
                    }
                }
            }
            row += count;
        }
    }

    /// How a block of rows takes the slots of a tile: those that all of them see together, what only some see
    /// (the rows of a block may belong to several tokens) each for itself before and after.
    #[inline(always)]
    fn parts(
        &self,
        run: Run,
        chunk: usize,
        row: usize,
        count: usize,
        tile: &Range<usize>,
    ) -> [Part; 9] {
        let own = |row: usize| {
            let slots = self.call.visible(run, row, chunk);
            slots.start.max(tile.start)..slots.end.min(tile.end)
        };
        let (first, last) = (own(row), own(row + count - 1));
        let mut parts = [const { Part { first: 0, count: 0, slots: 0..0 } }; 9];
        // Later tokens see later slots.
        let mut common = last.start..first.end;
        if common.is_empty() {
            common = tile.end..tile.end;
        }
        parts[4] = Part { first: row, count, slots: common.clone() };
        if first == last {
            return parts;
        }
        for index in 0..count {
            let (first, own) = (row + index, own(row + index));
            parts[index] = Part { first, count: 1, slots: own.start..own.end.min(common.start) };
            parts[5 + index] = Part { first, count: 1, slots: own.start.max(common.end)..own.end };
        }
        parts
    }

    /// Decodes the rows of a tile.
    ///
    /// # Safety
    /// As [`Self::chunk`]; the rows have `width` values and are at most [`TILE`].
    #[inline(always)]
    unsafe fn decode<S: Simd>(
        &self,
        rows: Rows,
        count: usize,
        width: usize,
        scratch: &Scratch,
    ) -> Rows {
        let stride = width.next_multiple_of(16);
        for index in 0..count {
            // SAFETY: the caller's contract; the scratch has space for a tile.
            unsafe {
                let to = scratch.decoded.add(index * stride);
                let row = (*rows.at.add(index)).add(rows.offset);
                decode::<S>(self.call.attention.element, row, width, to);
                *scratch.decoded_rows.add(index) = to.cast_const().cast();
            }
        }
        Rows { at: scratch.decoded_rows, offset: 0 }
    }

    /// A head's share of what comes `next`, of all heads' rows: so that memory is read in its order.
    #[inline(always)]
    fn ahead(
        &self,
        rows: *const *const u8,
        next: Range<usize>,
        head: usize,
        bytes: usize,
    ) -> Ahead {
        let heads = self.heads.len();
        let share = |head: usize| (next.start + NEAR * head / heads).min(next.end);
        Ahead::new(rows, share(head)..share(head + 1), heads * bytes)
    }
}

/// Rows that take slots together.
struct Part {
    first: usize,
    count: usize,
    slots: Range<usize>,
}
