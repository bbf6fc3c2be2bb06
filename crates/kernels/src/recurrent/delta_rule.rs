//! The gated delta rule (Yang et al., arXiv 2412.06464).

use std::cell::RefCell;

use super::runs::{Run, StateAddresses};
use super::{clear_padding, length, load_some, positive, run, store_some};
use crate::Kernels;
use crate::error::KernelError;
use crate::exponential::exponential;
use crate::scratch::{Memory, reserve};
use crate::simd::{Operation, Simd, dispatch};

/// Vectors of columns per task: as many as keep all sums in the registers of AVX2.
const VECTORS: usize = 2;
/// Columns per task.
const COLUMNS: usize = 16 * VECTORS;

/// Fewest tokens for which a task works on a copy of its columns. In the pool, rows are often a
/// power of two apart and evict each other from the first-level cache.
const COPIED: usize = 3;

/// Sizes of [`Kernels::delta_rule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeltaRule {
    /// Key heads.
    pub key_heads: usize,
    /// Value heads per key head.
    pub group: usize,
    /// Values of a key.
    pub key_width: usize,
    /// Values of a value.
    pub value_width: usize,
    /// Whether each of a key's channels has its own decay.
    pub per_channel: bool,
}

/// Operands of [`Kernels::delta_rule`].
#[derive(Clone, Copy, Debug)]
pub struct DeltaRuleOperands<'a> {
    /// `[T, key_heads, key_width]`, normalised and scaled.
    pub query: &'a [f32],
    /// `[T, key_heads, key_width]`, normalised.
    pub key: &'a [f32],
    /// `[T, key_heads, group, value_width]`.
    pub value: &'a [f32],
    /// `[T, key_heads, group]` or, per channel, `[T, key_heads, group, key_width]`: the natural
    /// logarithm of the state's decay, at most 0.
    pub decay: &'a [f32],
    /// `[T, key_heads, group]`: the weight of a change; at 1, the value replaces the recalled one.
    pub beta: &'a [f32],
}

thread_local! {
    static SCRATCH: RefCell<Memory> = const { RefCell::new(Vec::new()) };
}

impl Kernels {
    /// The gated delta rule: for each token, with `S [key_width, value_width]` the state of a value
    /// head, `S ← exp(decay) · S`, `Δ = beta · (value − Sᵀ key)`, `S ← S + key ⊗ Δ`, `out = Sᵀ
    /// query`, into `out [T, key_heads, group, value_width]`; rows of padding become 0. The states
    /// after the step replace those in `pool [N, key_heads, group, key_width, value_width]`.
    ///
    /// # Errors
    /// If sizes do not fit together, or a token's sequence or slot does not exist.
    pub fn delta_rule(
        &self,
        rule: &DeltaRule,
        pool: &mut [f32],
        operands: &DeltaRuleOperands<'_>,
        addresses: &StateAddresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let error = |message: String| KernelError { kernel: "delta_rule", message };
        let DeltaRule { key_heads, group, key_width, value_width, .. } = *rule;
        rule.check(operands, addresses.positions.len(), out.len()).map_err(error)?;
        let sizes = [key_heads, group, key_width, value_width];
        let runs = addresses.runs(pool.len(), &sizes).map_err(error)?;
        clear_padding(out, addresses.positions);
        let heads = key_heads * group;
        let blocks = value_width.div_ceil(COLUMNS);
        let work = addresses.positions.len() * heads * key_width * value_width;
        let tasks = runs.len() * heads * blocks;
        let isa = self.isa();
        let call =
            Call { rule: *rule, operands, runs, pool: pool.as_mut_ptr(), out: out.as_mut_ptr() };
        run(self.pool(), work, tasks, &|index| {
            let (head, block) = (index / blocks, index % blocks);
            let run = call.runs[head / heads];
            let task = Task { call: &call, run, head: head % heads, first: block * COLUMNS };
            // SAFETY: an `Isa` in use is available, sizes were checked, and each task is alone with
            // its columns.
            unsafe { dispatch(isa, task) }
        });
        Ok(())
    }
}

impl DeltaRule {
    fn check(
        &self,
        operands: &DeltaRuleOperands<'_>,
        tokens: usize,
        out: usize,
    ) -> Result<(), String> {
        let Self { key_heads, group, key_width, value_width, per_channel } = *self;
        positive(&[key_heads, group, key_width, value_width], self)?;
        let channels = if per_channel { key_width } else { 1 };
        length("query", operands.query.len(), &[tokens, key_heads, key_width])?;
        length("key", operands.key.len(), &[tokens, key_heads, key_width])?;
        length("value", operands.value.len(), &[tokens, key_heads, group, value_width])?;
        length("decay", operands.decay.len(), &[tokens, key_heads, group, channels])?;
        length("beta", operands.beta.len(), &[tokens, key_heads, group])?;
        length("out", out, &[tokens, key_heads, group, value_width])
    }
}

/// A checked call.
struct Call<'a> {
    rule: DeltaRule,
    operands: &'a DeltaRuleOperands<'a>,
    runs: Vec<Run>,
    pool: *mut f32,
    out: *mut f32,
}

// SAFETY: pool and out are borrowed for the whole call, and each task writes columns of its own.
unsafe impl Sync for Call<'_> {}

/// Some columns of a head's state, for all tokens of a run.
struct Task<'a> {
    call: &'a Call<'a>,
    run: Run,
    /// The value head.
    head: usize,
    /// The first column.
    first: usize,
}

/// Rows of [`COLUMNS`] values.
#[derive(Clone, Copy)]
struct Block {
    start: *mut f32,
    /// From row to row.
    stride: usize,
    rows: usize,
}

/// The operands of one token for a block.
struct Factors {
    /// `[rows]` each.
    query: *const f32,
    key: *const f32,
    decay: *const f32,
    decayed_key: *const f32,
    beta: f32,
}

impl Operation for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut memory = SCRATCH.with_borrow_mut(std::mem::take);
        // SAFETY: passed on.
        unsafe { self.recur::<S>(&mut memory) };
        SCRATCH.with_borrow_mut(|scratch| *scratch = memory);
    }
}

impl Task<'_> {
    /// # Safety
    /// As all functions of [`Simd`]; the call is checked, and no other task has these columns.
    #[inline(always)]
    unsafe fn recur<S: Simd>(&self, memory: &mut Memory) {
        let DeltaRule { key_heads, group, key_width, value_width, .. } = self.call.rule;
        let (heads, columns) = (key_heads * group, COLUMNS.min(value_width - self.first));
        let padded = key_width.next_multiple_of(16);
        let factors = reserve(memory, 2 * padded + key_width * COLUMNS);
        let copied = columns < COLUMNS || self.run.tokens >= COPIED;
        // SAFETY: the pool has the slot, and the head's state in it; the scratch is as long as
        // reserved.
        unsafe {
            let state = (self.run.slot * heads + self.head) * key_width * value_width + self.first;
            let there =
                Block { start: self.call.pool.add(state), stride: value_width, rows: key_width };
            let here = Block { start: factors.add(2 * padded), stride: COLUMNS, rows: key_width };
            let block = if copied { here } else { there };
            if self.run.position == 0 {
                block.clear::<S>();
            } else if copied {
                there.copy::<S>(here, columns, COLUMNS);
            }
            for token in self.run.token..self.run.token + self.run.tokens {
                let factors = self.factors::<S>(token, factors);
                let at = (token * heads + self.head) * value_width + self.first;
                let value = load::<S>(self.call.operands.value.as_ptr().add(at), columns);
                let result = step::<S>(block, &factors, value);
                store::<S>(result, self.call.out.add(at), columns);
            }
            if copied {
                here.copy::<S>(there, columns, columns);
            }
        }
    }

    /// The token's factors; decays and decayed keys go to `scratch`.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the scratch is twice as long as a key in whole vectors.
    #[inline(always)]
    unsafe fn factors<S: Simd>(&self, token: usize, scratch: *mut f32) -> Factors {
        let DeltaRule { key_heads, group, key_width, per_channel, .. } = self.call.rule;
        let operands = self.call.operands;
        let padded = key_width.next_multiple_of(16);
        let head = token * key_heads * group + self.head;
        let key_head = (token * key_heads + self.head / group) * key_width;
        // SAFETY: the operands have these rows; parts of vectors end with them.
        unsafe {
            let key = operands.key.as_ptr().add(key_head);
            let decay = operands.decay.as_ptr();
            let shared = match per_channel {
                true => S::zero(),
                false => exponential::<S>(S::splat(*decay.add(head))),
            };
            for first in (0..key_width).step_by(16) {
                let count = key_width - first;
                let decay = match per_channel {
                    true => {
                        exponential::<S>(load_some::<S>(decay.add(head * key_width + first), count))
                    }
                    false => shared,
                };
                let decayed = S::multiply(decay, load_some::<S>(key.add(first), count));
                S::store(decay, scratch.add(first));
                S::store(decayed, scratch.add(padded + first));
            }
            Factors {
                query: operands.query.as_ptr().add(key_head),
                key,
                decay: scratch,
                decayed_key: scratch.add(padded),
                beta: operands.beta[head],
            }
        }
    }
}

/// Computes one token: returns its result and updates the state.
///
/// # Safety
/// As all functions of [`Simd`]; the factors have the block's rows.
#[inline(always)]
unsafe fn step<S: Simd>(
    block: Block,
    factors: &Factors,
    value: [S::Floats; VECTORS],
) -> [S::Floats; VECTORS] {
    // SAFETY: the caller's contract.
    unsafe {
        let found = block.recall::<S>(factors.decayed_key);
        let mut change = value;
        for (change, found) in change.iter_mut().zip(found) {
            *change = S::multiply(S::splat(factors.beta), S::subtract(*change, found));
        }
        let mut out = [S::zero(); VECTORS];
        for row in 0..block.rows {
            let decay = S::splat(*factors.decay.add(row));
            let key = S::splat(*factors.key.add(row));
            let query = S::splat(*factors.query.add(row));
            for (vector, (out, change)) in out.iter_mut().zip(change).enumerate() {
                let at = block.start.add(row * block.stride + 16 * vector);
                let state = S::multiply_add(key, change, S::multiply(decay, S::load(at)));
                S::store(state, at);
                *out = S::multiply_add(state, query, *out);
            }
        }
        out
    }
}

impl Block {
    /// The sum of the rows, each times its factor. Even and odd rows have separate sums, which
    /// shortens the chain of additions.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; there are as many factors as rows.
    #[inline(always)]
    unsafe fn recall<S: Simd>(self, factors: *const f32) -> [S::Floats; VECTORS] {
        // SAFETY: the caller's contract.
        unsafe {
            let (mut even, mut odd) = ([S::zero(); VECTORS], [S::zero(); VECTORS]);
            for row in (1..self.rows).step_by(2) {
                self.add_row::<S>(row - 1, factors, &mut even);
                self.add_row::<S>(row, factors, &mut odd);
            }
            if self.rows % 2 == 1 {
                self.add_row::<S>(self.rows - 1, factors, &mut even);
            }
            for (even, odd) in even.iter_mut().zip(odd) {
                *even = S::add(*even, odd);
            }
            even
        }
    }

    /// Adds a row times its factor to `sums`.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the row is one of the block's, and has a factor.
    #[inline(always)]
    unsafe fn add_row<S: Simd>(
        self,
        row: usize,
        factors: *const f32,
        sums: &mut [S::Floats; VECTORS],
    ) {
        // SAFETY: the caller's contract.
        unsafe {
            let factor = S::splat(*factors.add(row));
            for (vector, sum) in sums.iter_mut().enumerate() {
                let state = S::load(self.start.add(row * self.stride + 16 * vector));
                *sum = S::multiply_add(state, factor, *sum);
            }
        }
    }

    /// # Safety
    /// As all functions of [`Simd`].
    #[inline(always)]
    unsafe fn clear<S: Simd>(self) {
        for row in 0..self.rows {
            // SAFETY: the block's.
            unsafe { store::<S>([S::zero(); VECTORS], self.start.add(row * self.stride), COLUMNS) };
        }
    }

    /// Copies `columns` of each row and fills up with zeros to `written` columns.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; both blocks have these columns.
    #[inline(always)]
    unsafe fn copy<S: Simd>(self, to: Self, columns: usize, written: usize) {
        for row in 0..self.rows {
            // SAFETY: the caller's contract.
            unsafe {
                let values = load::<S>(self.start.add(row * self.stride), columns);
                store::<S>(values, to.start.add(row * to.stride), written);
            }
        }
    }
}

/// Loads the first `columns` values; the others are 0.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32, columns: usize) -> [S::Floats; VECTORS] {
    // SAFETY: only the first `columns` values are read.
    unsafe {
        let mut values = [S::zero(); VECTORS];
        for (vector, value) in values.iter_mut().enumerate() {
            *value =
                load_some::<S>(from.wrapping_add(16 * vector), columns.saturating_sub(16 * vector));
        }
        values
    }
}

/// # Safety
/// As all functions of [`Simd`]; there is space for `columns` values.
#[inline(always)]
unsafe fn store<S: Simd>(values: [S::Floats; VECTORS], to: *mut f32, columns: usize) {
    for (vector, value) in values.into_iter().enumerate() {
        let count = columns.saturating_sub(16 * vector);
        // SAFETY: only the first `columns` values are written.
        unsafe { store_some::<S>(value, to.wrapping_add(16 * vector), count) };
    }
}
