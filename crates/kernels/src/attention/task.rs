//! One piece of work: a run's rows of some heads against some chunks of the context.

use std::cell::RefCell;
use std::ops::Range;

use super::element::decode;
use super::plan::{Piece, Plan, Run};
use super::scratch::Scratch;
use super::softmax::{HEADER, append, finish};
use super::{Addresses, Attention, CHUNK};
use crate::cache::CacheElement;
use crate::scratch::Memory;
use crate::simd::{Operation, Simd};

thread_local! {
    static SCRATCH: RefCell<Memory> = const { RefCell::new(Vec::new()) };
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
    pub fn key_vectors(&self) -> usize {
        self.attention.key_width.div_ceil(16)
    }

    pub fn value_vectors(&self) -> usize {
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
    pub fn visible(&self, run: Run, row: usize, chunk: usize) -> Range<usize> {
        let Range { start, end } = run.visible(row / self.attention.group, self.attention.window);
        let within = |position: usize| position.saturating_sub(chunk * CHUNK).min(CHUNK);
        within(start)..within(end)
    }
}

/// A piece, or the putting together of a cut run, for some heads.
pub(super) struct Task<'a> {
    pub call: &'a Call<'a>,
    pub piece: &'a Piece,
    pub heads: Range<usize>,
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
    /// As all functions of [`Simd`]; the call is checked, and no other task has this piece and these heads.
    #[inline(always)]
    unsafe fn attend<S: Simd>(&self, memory: &mut Memory) {
        let (call, run) = (self.call, self.run_of_piece());
        let rows = run.tokens * call.attention.group;
        let stride = call.partial_stride();
        let first_chunk = run.chunks(call.attention.window).start;
        // SAFETY: the scratch has what `Scratch::new` says; rows of partials and results are in bounds as
        // the plan counted them.
        unsafe {
            let mut scratch = Scratch::new(call, self.heads.len(), rows, memory);
            self.load_queries::<S>(run, scratch.queries);
            for chunk in self.piece.chunks.clone() {
                if let Some(start) = self.piece.partials {
                    let row = start + (chunk - first_chunk) * rows;
                    let row = self.heads.start * call.plan.partials + row;
                    scratch.partials = call.partials.add(row * stride);
                    scratch.head_partials = call.plan.partials * stride;
                    self.chunk::<S>(run, chunk, &scratch);
                    continue;
                }
                self.chunk::<S>(run, chunk, &scratch);
                for row in 0..self.heads.len() * rows {
                    let (from, to) =
                        (scratch.partials.add(row * stride), scratch.totals.add(row * stride));
                    self.total::<S>(run, row % rows, chunk, from, to);
                }
            }
            if self.piece.partials.is_none() {
                for row in 0..self.heads.len() * rows {
                    let head = self.heads.start + row / rows;
                    self.finish::<S>(run, head, row % rows, scratch.totals.add(row * stride));
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
        for index in 0..self.heads.len() * rows {
            let (head, row) = (self.heads.start + index / rows, index % rows);
            let own = run.visible(row / call.attention.group, call.attention.window).start / CHUNK;
            // SAFETY: as in `attend`. The row's first partial becomes the total.
            unsafe {
                let first = call.partials.add((head * call.plan.partials + start + row) * stride);
                let partial = |chunk: usize| first.add((chunk - chunks.start) * rows * stride);
                for chunk in own + 1..chunks.end {
                    self.total::<S>(run, row, chunk, partial(chunk), partial(own));
                }
                self.finish::<S>(run, head, row, partial(own));
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
    unsafe fn finish<S: Simd>(&self, run: Run, head: usize, row: usize, total: *const f32) {
        let call = self.call;
        let Attention { group, value_width, .. } = call.attention;
        let sink = call.sinks.map(|sinks| sinks[head * group + row % group]);
        let to = call.row(run.token + row / group, head) + row % group;
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
        let (rows, stride) = (run.tokens * group, 16 * self.call.key_vectors());
        for index in 0..self.heads.len() * rows {
            let (head, row) = (self.heads.start + index / rows, index % rows);
            let from = self.call.row(run.token + row / group, head) + row % group;
            let from = self.call.query[from * key_width..][..key_width].as_ptr().cast();
            // SAFETY: `from` has the row's values, `to` space for whole vectors.
            unsafe { decode::<S>(CacheElement::F32, from, key_width, to.add(index * stride)) };
        }
    }
}
