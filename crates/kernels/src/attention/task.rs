//! One piece of work: a run's rows of one head against some chunks of the context.

use std::cell::RefCell;
use std::ops::Range;

use super::element::{F16, F32, I8, decode, scale};
use super::plan::{Piece, Plan, Run};
use super::products::{Mixed, Queries, mix, rows_at_once, scores};
use super::softmax::{HEADER, Scores, append, finish, weigh};
use super::{Addresses, Attention, CHUNK};
use crate::cache::CacheElement;
use crate::simd::{Operation, Simd};

/// Slots whose decoded rows are used before the next are decoded: they stay in the innermost cache.
const TILE: usize = 64;

/// How many slots ahead rows are asked for.
const AHEAD: usize = 32;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([f32; 16]);

/// Memory of a thread that tasks use one after the other, or of a call.
pub(super) type Memory = Vec<Line>;

thread_local! {
    static SCRATCH: RefCell<Memory> = const { RefCell::new(Vec::new()) };
}

/// Makes `memory` at least `floats` long (its content is of no meaning).
pub(super) fn reserve(memory: &mut Memory, floats: usize) -> *mut f32 {
    let lines = floats.div_ceil(16);
    if memory.len() < lines {
        memory.clear();
        memory.resize(lines, Line([0.0; 16]));
    }
    memory.as_mut_ptr().cast()
}

/// A checked call.
pub(super) struct Call<'a> {
    pub attention: Attention,
    pub query: &'a [f32],
    pub keys: &'a [u8],
    pub values: &'a [u8],
    pub sinks: Option<&'a [f32]>,
    pub addresses: Addresses<'a>,
    pub plan: Plan,
    /// Bytes of a row (block, slot, head).
    pub key_bytes: usize,
    pub value_bytes: usize,
    /// `[heads, plan.partials]` rows of [`Call::partial_stride`].
    pub partials: *mut f32,
    /// `[tokens, heads, group, value_width]`.
    pub out: *mut f32,
}

// SAFETY: partials and out outlive the call's tasks, and each task writes rows of its own.
unsafe impl Sync for Call<'_> {}

impl Call<'_> {
    fn key_vectors(&self) -> usize {
        self.attention.key_width.div_ceil(16)
    }

    fn value_vectors(&self) -> usize {
        self.attention.value_width.div_ceil(16)
    }

    /// From partial to partial.
    pub fn partial_stride(&self) -> usize {
        HEADER + 16 * self.value_vectors()
    }

    /// Where a run's token's query and result rows begin, in rows.
    fn row(&self, token: usize, head: usize) -> usize {
        (token * self.attention.kv_heads + head) * self.attention.group
    }

    /// The slots of chunk `chunk` that row `row` of a run sees, counted from the chunk's first.
    fn visible(&self, run: Run, row: usize, chunk: usize) -> Range<usize> {
        let Range { start, end } = run.visible(row / self.attention.group, self.attention.window);
        let within = |position: usize| position.saturating_sub(chunk * CHUNK).min(CHUNK);
        within(start)..within(end)
    }
}

/// A piece, or the putting together of a cut run, for one head.
pub(super) struct Task<'a> {
    pub call: &'a Call<'a>,
    pub piece: &'a Piece,
    pub head: usize,
    /// Whether the partials of all pieces of the run are there and to be put together.
    pub join: bool,
}

impl Operation for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut memory = SCRATCH.with_borrow_mut(std::mem::take);
        // SAFETY: passed on.
        unsafe {
            match self.join {
                true => self.join::<S>(),
                false => self.attend::<S>(&mut memory),
            }
        }
        SCRATCH.with_borrow_mut(|scratch| *scratch = memory);
    }
}

impl Task<'_> {
    fn run_of_piece(&self) -> Run {
        self.call.plan.runs[self.piece.run]
    }

    /// # Safety
    /// As all functions of [`Simd`]; the call is checked, and no other task has this piece and head.
    #[inline(always)]
    unsafe fn attend<S: Simd>(&self, memory: &mut Memory) {
        let (call, run) = (self.call, self.run_of_piece());
        let rows = run.tokens * call.attention.group;
        let stride = call.partial_stride();
        let first_chunk = run.chunks(call.attention.window).start;
        // SAFETY: the scratch has what `Scratch::new` says; rows of partials and results are in bounds as
        // the plan counted them.
        unsafe {
            let scratch = Scratch::new(call, rows, memory);
            self.load_queries::<S>(run, scratch.queries);
            for chunk in self.piece.chunks.clone() {
                if let Some(start) = self.piece.partials {
                    let row = self.head * call.plan.partials + start + (chunk - first_chunk) * rows;
                    self.chunk::<S>(run, chunk, &scratch, call.partials.add(row * stride));
                    continue;
                }
                self.chunk::<S>(run, chunk, &scratch, scratch.partial);
                for row in 0..rows {
                    let partial = scratch.partial.add(row * stride);
                    self.total::<S>(run, row, chunk, partial, scratch.total.add(row * stride));
                }
            }
            if self.piece.partials.is_none() {
                for row in 0..rows {
                    self.finish::<S>(run, row, scratch.total.add(row * stride));
                }
            }
        }
    }

    /// Puts the partials of a run together, in the order of their chunks.
    ///
    /// # Safety
    /// As [`Self::attend`]; all partials of the run are there.
    #[inline(always)]
    unsafe fn join<S: Simd>(&self) {
        let (call, run) = (self.call, self.run_of_piece());
        let Some(start) = self.piece.partials else { return };
        let rows = run.tokens * call.attention.group;
        let chunks = run.chunks(call.attention.window);
        let stride = call.partial_stride();
        for row in 0..rows {
            let own = run.visible(row / call.attention.group, call.attention.window).start / CHUNK;
            // SAFETY: as in `attend`. The row's first partial becomes the total.
            unsafe {
                let partial = |chunk: usize| {
                    let row = self.head * call.plan.partials
                        + start
                        + (chunk - chunks.start) * rows
                        + row;
                    call.partials.add(row * stride)
                };
                for chunk in own + 1..chunks.end {
                    self.total::<S>(run, row, chunk, partial(chunk), partial(own));
                }
                self.finish::<S>(run, row, partial(own));
            }
        }
    }

    /// Takes a chunk's partial of a row into the row's total.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; both are partials of the call.
    #[inline(always)]
    unsafe fn total<S: Simd>(
        &self,
        run: Run,
        row: usize,
        chunk: usize,
        partial: *const f32,
        total: *mut f32,
    ) {
        let attention = self.call.attention;
        if self.call.visible(run, row, chunk).is_empty() {
            return;
        }
        let first = run.visible(row / attention.group, attention.window).start / CHUNK;
        // SAFETY: the caller's contract.
        unsafe {
            if chunk == first {
                total.copy_from_nonoverlapping(partial, self.call.partial_stride());
            } else {
                append::<S>(total, partial, self.call.value_vectors());
            }
        }
    }

    /// Writes a row's result.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; `total` is complete.
    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, run: Run, row: usize, total: *const f32) {
        let call = self.call;
        let Attention { group, value_width, .. } = call.attention;
        let sink = call.sinks.map(|sinks| sinks[self.head * group + row % group]);
        let to = call.row(run.token + row / group, self.head) + row % group;
        // SAFETY: the row is one of the step's, and only this task writes it.
        unsafe { finish::<S>(total, sink, call.out.add(to * value_width), value_width) };
    }

    /// Copies the run's queries, filled up with zeros to whole vectors.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; `to` has space for the rows.
    #[inline(always)]
    unsafe fn load_queries<S: Simd>(&self, run: Run, to: *mut f32) {
        let Attention { group, key_width, .. } = self.call.attention;
        let stride = 16 * self.call.key_vectors();
        for row in 0..run.tokens * group {
            let from = self.call.row(run.token + row / group, self.head) + row % group;
            let from = self.call.query[from * key_width..][..key_width].as_ptr().cast();
            // SAFETY: `from` has the row's values, `to` space for whole vectors.
            unsafe { decode::<S>(CacheElement::F32, from, key_width, to.add(row * stride)) };
        }
    }

    /// The partials of the run's rows, at `to`, for the slots of one chunk. Rows that see nothing of the
    /// chunk have none.
    ///
    /// # Safety
    /// As [`Self::attend`]; `to` has space for the partials.
    #[inline(always)]
    unsafe fn chunk<S: Simd>(&self, run: Run, chunk: usize, scratch: &Scratch, to: *mut f32) {
        let (call, attention) = (self.call, self.call.attention);
        let rows = run.tokens * attention.group;
        let (value_vectors, stride) = (call.value_vectors(), call.partial_stride());
        let seen = call.visible(run, 0, chunk).start..call.visible(run, rows - 1, chunk).end;
        let quantized = attention.element == CacheElement::Q8;
        let factors = quantized
            .then_some((scratch.key_factors.cast_const(), scratch.value_factors.cast_const()));
        let scores = Scores { scale: attention.scale, softcap: attention.softcap, factors };
        // SAFETY: the plan checked the slots that the run sees; the scratch has rows for a chunk.
        unsafe {
            self.find_rows(run, chunk, seen.clone(), scratch);
            self.products::<S>(run, chunk, seen.clone(), scratch);
            for row in 0..rows {
                let partial = to.add(row * stride);
                let own = call.visible(run, row, chunk);
                if own.is_empty() {
                    continue;
                }
                let (largest, sum) =
                    weigh::<S>(scratch.weights.add(row * CHUNK), own.start, own.end, scores);
                *partial = largest;
                *partial.add(1) = sum;
                for vector in 0..value_vectors {
                    S::store(S::zero(), partial.add(HEADER + 16 * vector));
                }
            }
            self.mixtures::<S>(run, chunk, seen, scratch, to.add(HEADER));
        }
    }

    /// Where the key and value rows of the chunk's slots are. Vectors are of sixteen slots: those that
    /// nobody sees are replaced by ones that are seen, and never used.
    ///
    /// # Safety
    /// The plan checked the slots; the scratch has places for a chunk.
    #[inline(always)]
    unsafe fn find_rows(&self, run: Run, chunk: usize, seen: Range<usize>, scratch: &Scratch) {
        let Call { attention, addresses, key_bytes, value_bytes, .. } = *self.call;
        let Addresses { block_tables, pages, block_length, .. } = addresses;
        let table = &block_tables[run.sequence * pages..][..pages];
        let whole = seen.start - seen.start % 16..seen.end.next_multiple_of(16);
        let (mut page, mut offset) = {
            let position = chunk * CHUNK + seen.start;
            (position / block_length, position % block_length)
        };
        for slot in whole {
            let row =
                (table[page] as usize * block_length + offset) * attention.kv_heads + self.head;
            // SAFETY: the row exists in both pools, as the plan checked.
            unsafe {
                let key = self.call.keys.as_ptr().add(row * key_bytes);
                let value = self.call.values.as_ptr().add(row * value_bytes);
                *scratch.keys.add(slot) = key;
                *scratch.values.add(slot) = value;
                if attention.element == CacheElement::Q8 {
                    *scratch.key_factors.add(slot) =
                        scale(attention.element, key, attention.key_width);
                    *scratch.value_factors.add(slot) =
                        scale(attention.element, value, attention.value_width);
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
        let (call, attention) = (self.call, self.call.attention);
        let (rows, vectors) = (run.tokens * attention.group, call.key_vectors());
        let direct = attention.key_width.is_multiple_of(16) && rows <= 2 * rows_at_once::<S>();
        let mut start = seen.start - seen.start % 16;
        while start < seen.end {
            let tile = start..(start - start % TILE + TILE).min(seen.end.next_multiple_of(16));
            // SAFETY: the caller's contract; rows of the tile are either the cache's or decoded ones.
            unsafe {
                let mut keys = scratch.keys.add(start).cast_const();
                if !direct {
                    let width = attention.key_width;
                    decode_tile::<S>(attention.element, keys, tile.len(), width, scratch);
                    keys = scratch.decoded_rows;
                }
                let mut row = 0;
                while row < rows {
                    let count = (rows - row).min(rows_at_once::<S>());
                    let own = call.visible(run, row, chunk).start
                        ..call.visible(run, row + count - 1, chunk).end;
                    let first = scratch.queries.add(row * 16 * vectors);
                    let queries = Queries { first, stride: 16 * vectors, rows: count };
                    let own = own.start.max(tile.start)..own.end.min(tile.end);
                    let mut slot = own.start - own.start % 16;
                    while slot < own.end {
                        let to = scratch.weights.add(row * CHUNK + slot);
                        let keys = keys.add(slot - tile.start);
                        match (direct, attention.element) {
                            (true, CacheElement::F16) => {
                                prefetch::<S>(scratch, slot, seen.end, call.key_bytes);
                                scores::<S, F16>(queries, keys, vectors, to, CHUNK);
                            }
                            (true, CacheElement::Q8) => {
                                prefetch::<S>(scratch, slot, seen.end, call.key_bytes);
                                scores::<S, I8>(queries, keys, vectors, to, CHUNK);
                            }
                            _ => scores::<S, F32>(queries, keys, vectors, to, CHUNK),
                        }
                        slot += 16;
                    }
                    row += count;
                }
            }
            start = tile.end;
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
        sums: *mut f32,
    ) {
        let (call, attention) = (self.call, self.call.attention);
        let (rows, vectors) = (run.tokens * attention.group, call.value_vectors());
        let direct = attention.value_width.is_multiple_of(16) && rows <= 2 * rows_at_once::<S>();
        let mut start = seen.start;
        while start < seen.end {
            let tile = start..(start - start % TILE + TILE).min(seen.end);
            // SAFETY: the caller's contract; rows of the tile are either the cache's or decoded ones.
            unsafe {
                let mut values = scratch.values.add(start).cast_const();
                if !direct {
                    let width = attention.value_width;
                    decode_tile::<S>(attention.element, values, tile.len(), width, scratch);
                    values = scratch.decoded_rows;
                }
                let mut row = 0;
                while row < rows {
                    let count = (rows - row).min(rows_at_once::<S>());
                    for part in self.parts(run, chunk, row, count, &tile) {
                        let Part { rows, slots } = part;
                        if slots.is_empty() {
                            continue;
                        }
                        let mixed = Mixed {
                            weights: scratch.weights.add(rows.start * CHUNK + slots.start),
                            weights_stride: CHUNK,
                            sums: sums.add(rows.start * call.partial_stride()),
                            sums_stride: call.partial_stride(),
                            rows: rows.len(),
                        };
                        let values = values.add(slots.start - tile.start);
                        match (direct, attention.element) {
                            (true, CacheElement::F16) => {
                                mix::<S, F16>(mixed, values, slots.len(), vectors);
                            }
                            (true, CacheElement::Q8) => {
                                mix::<S, I8>(mixed, values, slots.len(), vectors);
                            }
                            _ => mix::<S, F32>(mixed, values, slots.len(), vectors),
                        }
                    }
                    row += count;
                }
            }
            start = tile.end;
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
        let clip = |slots: Range<usize>| slots.start.max(tile.start)..slots.end.min(tile.end);
        let own = |row: usize| clip(self.call.visible(run, row, chunk));
        let (first, last) = (own(row), own(row + count - 1));
        // Later tokens see later slots.
        let mut common = last.start..first.end;
        if common.is_empty() {
            common = tile.end..tile.end;
        }
        let mut parts = [const { Part { rows: 0..0, slots: 0..0 } }; 9];
        parts[4] = Part { rows: row..row + count, slots: common.clone() };
        if first == last {
            return parts;
        }
        for index in 0..count {
            let (rows, own) = (row + index..row + index + 1, own(row + index));
            parts[index] = Part { rows: rows.clone(), slots: own.start..own.end.min(common.start) };
            parts[5 + index] = Part { rows, slots: own.start.max(common.end)..own.end };
        }
        parts
    }
}

/// Rows that take slots together.
struct Part {
    rows: Range<usize>,
    slots: Range<usize>,
}

/// Decodes the rows of a tile.
///
/// # Safety
/// As all functions of [`Simd`]; the rows have `width` values, the tile at most [`TILE`] rows.
#[inline(always)]
unsafe fn decode_tile<S: Simd>(
    element: CacheElement,
    rows: *const *const u8,
    count: usize,
    width: usize,
    scratch: &Scratch,
) {
    let stride = width.next_multiple_of(16);
    for index in 0..count {
        // SAFETY: the caller's contract; the scratch has space for the tile.
        unsafe {
            let to = scratch.decoded.add(index * stride);
            decode::<S>(element, *rows.add(index), width, to);
            *scratch.decoded_rows.add(index) = to.cast_const().cast();
        }
    }
}

/// Asks for the key rows of the sixteen slots some way ahead of `slot`, or else the first value rows.
///
/// # Safety
/// As all functions of [`Simd`]; the scratch has the rows up to `end`.
#[inline(always)]
unsafe fn prefetch<S: Simd>(scratch: &Scratch, slot: usize, end: usize, bytes: usize) {
    for slot in slot + AHEAD..slot + AHEAD + 16 {
        // SAFETY: rows below `end` are there.
        unsafe {
            if slot >= end {
                return;
            }
            let row = *scratch.keys.add(slot);
            for line in 0..bytes.div_ceil(64) {
                S::prefetch(row.wrapping_add(64 * line));
            }
        }
    }
}

/// Parts of a thread's memory.
struct Scratch {
    /// `[rows, key vectors]`.
    queries: *mut f32,
    /// `[rows, CHUNK]`.
    weights: *mut f32,
    /// `[rows, partial]`, and the same again for the sum over chunks.
    partial: *mut f32,
    total: *mut f32,
    /// `[TILE, vectors]`.
    decoded: *mut f32,
    /// `[CHUNK]` each.
    key_factors: *mut f32,
    value_factors: *mut f32,
    keys: *mut *const u8,
    values: *mut *const u8,
    /// `[TILE]`.
    decoded_rows: *mut *const u8,
}

impl Scratch {
    fn new(call: &Call<'_>, rows: usize, memory: &mut Memory) -> Self {
        const POINTERS: usize = size_of::<*const u8>() / size_of::<f32>();
        let widest = 16 * call.key_vectors().max(call.value_vectors());
        let sizes = [
            rows * 16 * call.key_vectors(),
            rows * CHUNK,
            rows * call.partial_stride(),
            rows * call.partial_stride(),
            TILE * widest,
            CHUNK,
            CHUNK,
            CHUNK * POINTERS,
            CHUNK * POINTERS,
            TILE * POINTERS,
        ];
        let mut at = reserve(memory, sizes.iter().sum());
        let mut next = sizes.iter().map(|&size| {
            let part = at;
            // All sizes are whole lines, and the memory is their sum.
            at = at.wrapping_add(size);
            part
        });
        let mut part = || next.next().unwrap_or(std::ptr::null_mut());
        Self {
            queries: part(),
            weights: part(),
            partial: part(),
            total: part(),
            decoded: part(),
            key_factors: part(),
            value_factors: part(),
            keys: part().cast(),
            values: part().cast(),
            decoded_rows: part().cast(),
        }
    }
}
