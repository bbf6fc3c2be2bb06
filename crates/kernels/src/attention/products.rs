//! The two products: queries with keys, weights with values. Rows of queries share each loaded vector of the
//! cache. What a row gets does not depend on the rows beside it: it is always the same operations in the same
//! order.

#![expect(
    clippy::needless_range_loop,
    reason = "indices of register blocks read better side by side"
)]

use super::element::Element;
use crate::isa::Isa;
use crate::simd::Simd;

/// Rows that a register block may have.
pub(super) const fn rows_at_once(isa: Isa) -> usize {
    // Four times four sums are half of the registers of AVX-512. A vector takes two of AVX2's, so that two times two are as much there.
    match isa {
        Isa::Avx512 => 4,
        Isa::Avx2 => 2,
        _ => 1,
    }
}

/// Slots (of keys) or vectors (of values) that a register block may have beside these rows.
const fn columns_at_once(isa: Isa) -> usize {
    match isa {
        Isa::Avx2 => 2,
        _ => 4,
    }
}

/// Calls `$function::<$types, N>` with N = `$rows`, one to four.
macro_rules! by_rows {
    ($rows:expr, $function:ident::<$($types:ty),*>($($argument:expr),* $(,)?)) => {
        match $rows {
            4 if rows_at_once(S::ISA) >= 4 => $function::<$($types),*, 4>($($argument),*),
            3 if rows_at_once(S::ISA) >= 3 => $function::<$($types),*, 3>($($argument),*),
            2 if rows_at_once(S::ISA) >= 2 => $function::<$($types),*, 2>($($argument),*),
            _ => $function::<$($types),*, 1>($($argument),*),
        }
    };
}

/// Rows of the cache, or decoded ones: `offset` bytes behind each of the pointers at `at`.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub at: *const *const u8,
    pub offset: usize,
}

impl Rows {
    /// The rows from `index` on.
    pub fn from(self, index: usize) -> Self {
        Self { at: self.at.wrapping_add(index), ..self }
    }

    /// # Safety
    /// The row is there.
    #[inline(always)]
    unsafe fn row(self, index: usize) -> *const u8 {
        // SAFETY: the caller's contract.
        unsafe { (*self.at.add(index)).add(self.offset) }
    }
}

/// Cache lines that will be read soon, in the order of memory. They are asked for a few at a time between products: a core can wait for
/// some dozens, and does nothing else when it is to wait for more.
pub(super) struct Ahead {
    /// Rows whose lines are asked for: those of slots from here on.
    rows: *const *const u8,
    slots: usize,
    /// Lines of a slot.
    lines: usize,
    line: usize,
}

impl Default for Ahead {
    /// Nothing.
    fn default() -> Self {
        Self::new(std::ptr::null(), 0..0, 0)
    }
}

impl Ahead {
    /// The slots whose rows begin at `rows[slots]`, `bytes` each.
    pub fn new(rows: *const *const u8, slots: std::ops::Range<usize>, bytes: usize) -> Self {
        let count = slots.end.saturating_sub(slots.start);
        Self {
            rows: rows.wrapping_add(slots.start),
            slots: count,
            lines: bytes.div_ceil(64),
            line: 0,
        }
    }

    /// Lines that are left.
    pub fn len(&self) -> usize {
        self.slots * self.lines - self.line
    }

    /// Asks for the next `count` lines, or as many as there are.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the rows are there.
    #[inline(always)]
    unsafe fn fetch<S: Simd>(&mut self, count: usize) {
        let mut left = count;
        while left > 0 && self.slots > 0 {
            let lines = left.min(self.lines - self.line);
            // SAFETY: there is a row; any address may be asked for.
            unsafe {
                let from = (*self.rows).wrapping_add(64 * self.line);
                for line in 0..lines {
                    S::prefetch(from.wrapping_add(64 * line));
                }
            }
            left -= lines;
            self.line += lines;
            if self.line == self.lines {
                self.line = 0;
                self.slots -= 1;
                self.rows = self.rows.wrapping_add(1);
            }
        }
    }
}

/// Some rows of queries, filled up with zeros to whole vectors.
#[derive(Clone, Copy)]
pub(super) struct Queries {
    pub first: *const f32,
    /// From row to row.
    pub stride: usize,
    /// At most [`rows_at_once`].
    pub rows: usize,
}

/// The products of queries with the sixteen rows of `keys`; each query's go to `scores`, rows of which
/// are `stride` apart. Meanwhile so many lines `ahead` are asked for.
///
/// # Safety
/// As all functions of [`Simd`]; queries and keys have `vectors` vectors.
#[inline(always)]
pub(super) unsafe fn scores<S: Simd, E: Element>(
    queries: Queries,
    keys: Rows,
    vectors: usize,
    (scores, stride): (*mut f32, usize),
    (ahead, lines): (&mut Ahead, usize),
) {
    // SAFETY: the caller's contract.
    unsafe {
        by_rows!(
            queries.rows,
            scores_of::<S, E>(queries, keys, vectors, (scores, stride), (ahead, lines))
        );
    }
}

/// # Safety
/// As [`scores`]; the queries are `ROWS`.
#[inline(always)]
unsafe fn scores_of<S: Simd, E: Element, const ROWS: usize>(
    queries: Queries,
    keys: Rows,
    vectors: usize,
    (scores, stride): (*mut f32, usize),
    (ahead, lines): (&mut Ahead, usize),
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut folded = [[S::zero(); 4]; ROWS];
        let lines = lines.div_ceil(4);
        for quarter in 0..4 {
            ahead.fetch::<S>(lines);
            let keys = keys.from(4 * quarter);
            let mut sums = [[S::zero(); 4]; ROWS];
            if columns_at_once(S::ISA) == 4 {
                add_products::<S, E, ROWS, 4>(queries, keys, vectors, 0, &mut sums);
            } else {
                add_products::<S, E, ROWS, 2>(queries, keys, vectors, 0, &mut sums);
                add_products::<S, E, ROWS, 2>(queries, keys, vectors, 2, &mut sums);
            }
            for row in 0..ROWS {
                folded[row][quarter] = S::fold_lanes(sums[row]);
            }
        }
        for row in 0..ROWS {
            S::store(S::fold_quarters(folded[row]), scores.add(row * stride));
        }
    }
}

/// Adds the products of queries with `SLOTS` keys from the `first` on to their sums.
///
/// # Safety
/// As [`scores`].
#[inline(always)]
unsafe fn add_products<S: Simd, E: Element, const ROWS: usize, const SLOTS: usize>(
    queries: Queries,
    keys: Rows,
    vectors: usize,
    first: usize,
    all: &mut [[S::Floats; 4]; ROWS],
) {
    // SAFETY: the caller's contract.
    unsafe {
        let mut rows = [std::ptr::null(); SLOTS];
        for slot in 0..SLOTS {
            rows[slot] = keys.row(first + slot);
        }
        let mut sums = [[S::zero(); SLOTS]; ROWS];
        for vector in 0..vectors {
            let mut key = [S::zero(); SLOTS];
            for slot in 0..SLOTS {
                key[slot] = E::load::<S>(rows[slot], vector);
            }
            for row in 0..ROWS {
                let query = S::load(queries.first.add(row * queries.stride + 16 * vector));
                for slot in 0..SLOTS {
                    sums[row][slot] = S::multiply_add(query, key[slot], sums[row][slot]);
                }
            }
        }
        for row in 0..ROWS {
            for slot in 0..SLOTS {
                all[row][first + slot] = sums[row][slot];
            }
        }
    }
}

/// Some rows of weights and of the sums that they add to.
#[derive(Clone, Copy)]
pub(super) struct Mixed {
    /// The weight of the first slot in the first row.
    pub weights: *const f32,
    /// From row to row.
    pub weights_stride: usize,
    pub sums: *mut f32,
    /// From row to row.
    pub sums_stride: usize,
    /// At most [`rows_at_once`].
    pub rows: usize,
}

/// Adds `weight · value` of the slots with the rows `values`, one after the other. Meanwhile so many lines `ahead` are asked for.
///
/// # Safety
/// As all functions of [`Simd`]; sums and values have `vectors` vectors, weights and `values` `slots`.
#[inline(always)]
pub(super) unsafe fn mix<S: Simd, E: Element>(
    mixed: Mixed,
    values: Rows,
    slots: usize,
    vectors: usize,
    (ahead, lines): (&mut Ahead, usize),
) {
    // SAFETY: the caller's contract.
    unsafe {
        by_rows!(mixed.rows, mix_rows::<S, E>(mixed, values, slots, vectors, (ahead, lines)));
    }
}

/// # Safety
/// As [`mix`]; the rows are `ROWS`.
#[inline(always)]
unsafe fn mix_rows<S: Simd, E: Element, const ROWS: usize>(
    mixed: Mixed,
    values: Rows,
    slots: usize,
    vectors: usize,
    (ahead, lines): (&mut Ahead, usize),
) {
    let mut vector = 0;
    let lines = lines.div_ceil(vectors.div_ceil(columns_at_once(S::ISA)));
    // SAFETY: the caller's contract.
    unsafe {
        while vector + 4 <= vectors && columns_at_once(S::ISA) >= 4 {
            ahead.fetch::<S>(lines);
            mix_vectors::<S, E, ROWS, 4>(mixed, values, slots, vector);
            vector += 4;
        }
        while vector + 2 <= vectors {
            ahead.fetch::<S>(lines);
            mix_vectors::<S, E, ROWS, 2>(mixed, values, slots, vector);
            vector += 2;
        }
        if vector < vectors {
            mix_vectors::<S, E, ROWS, 1>(mixed, values, slots, vector);
        }
    }
}

/// # Safety
/// As [`mix`]; the rows are `ROWS`.
#[inline(always)]
unsafe fn mix_vectors<S: Simd, E: Element, const ROWS: usize, const VECTORS: usize>(
    mixed: Mixed,
    values: Rows,
    slots: usize,
    first: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let sums_at = |row: usize, vector: usize| {
            mixed.sums.add(row * mixed.sums_stride + 16 * (first + vector))
        };
        let mut sums = [[S::zero(); VECTORS]; ROWS];
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                sums[row][vector] = S::load(sums_at(row, vector));
            }
        }
        for slot in 0..slots {
            let row_of_slot = values.row(slot);
            let mut value = [S::zero(); VECTORS];
            for vector in 0..VECTORS {
                value[vector] = E::load::<S>(row_of_slot, first + vector);
            }
            for row in 0..ROWS {
                let weight = S::splat(*mixed.weights.add(row * mixed.weights_stride + slot));
                for vector in 0..VECTORS {
                    sums[row][vector] = S::multiply_add(weight, value[vector], sums[row][vector]);
                }
            }
        }
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                S::store(sums[row][vector], sums_at(row, vector));
            }
        }
    }
}
