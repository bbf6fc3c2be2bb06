//! The selective scan of Mamba 1 (Gu and Dao, arXiv 2312.00752) and Mamba 2 (Dao and Gu, arXiv
//! 2405.21060).

use super::runs::{Run, StateAddresses};
use super::{clear_padding, length, load_some, positive, run, store_some};
use crate::Kernels;
use crate::error::KernelError;
use crate::exponential::exponential;
use crate::simd::{Operation, Simd, dispatch};

/// Rows of a state per task: one lane of a vector for the sum of each.
const ROWS: usize = 16;

/// Sizes of [`Kernels::scan`]. Mamba 1 has a head of width 1 per channel, one group, and rates per
/// element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Heads.
    pub heads: usize,
    /// Values of a head, each with a row of the state.
    pub width: usize,
    /// Groups of heads that share `b` and `c`.
    pub groups: usize,
    /// Values of a row of the state.
    pub states: usize,
    /// Whether each of them decays at its own rate.
    pub per_state: bool,
}

/// Operands of [`Kernels::scan`], in the letters of the papers.
#[derive(Clone, Copy, Debug)]
pub struct ScanOperands<'a> {
    /// `[T, heads, width]`.
    pub x: &'a [f32],
    /// `[T, heads]`: the step size, at least 0.
    pub dt: &'a [f32],
    /// `[heads]` or, per state, `[heads, states]`: the rate of decay, at most 0.
    pub a: &'a [f32],
    /// `[T, groups, states]`: the input projection.
    pub b: &'a [f32],
    /// `[T, groups, states]`: the output projection.
    pub c: &'a [f32],
}

impl Kernels {
    /// The selective scan: for each token, with `S [width, states]` the state of a head, `S ←
    /// exp(dt · a) · S + (dt · x) ⊗ b`, `y = S c`, into `out [T, heads, width]`; rows of padding
    /// become 0. The states after the step replace those in `pool [N, heads, width, states]`.
    ///
    /// # Errors
    /// If sizes do not fit together, or a token's sequence or slot does not exist.
    pub fn scan(
        &self,
        scan: &Scan,
        pool: &mut [f32],
        operands: &ScanOperands<'_>,
        addresses: &StateAddresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let error = |message: String| KernelError { kernel: "scan", message };
        let Scan { heads, width, states, .. } = *scan;
        scan.check(operands, addresses.positions.len(), out.len()).map_err(error)?;
        let runs = addresses.runs(pool.len(), &[heads, width, states]).map_err(error)?;
        clear_padding(out, addresses.positions);
        let blocks = (heads * width).div_ceil(ROWS);
        let work = addresses.positions.len() * heads * width * states;
        let (tasks, isa) = (runs.len() * blocks, self.isa());
        let (pool, out) = (pool.as_mut_ptr(), out.as_mut_ptr());
        let call = Call { scan: *scan, operands, runs, pool, out };
        run(self.pool(), work, tasks, &|index| {
            let run = call.runs[index / blocks];
            let task = Task { call: &call, run, first: index % blocks * ROWS };
            // SAFETY: an `Isa` in use is available, sizes were checked, and each task is alone with
            // its rows.
            unsafe { dispatch(isa, task) }
        });
        Ok(())
    }
}

impl Scan {
    fn check(&self, operands: &ScanOperands<'_>, tokens: usize, out: usize) -> Result<(), String> {
        let Self { heads, width, groups, states, per_state } = *self;
        positive(&[heads, width, groups, states], self)?;
        if !heads.is_multiple_of(groups) {
            return Err(format!("{heads} heads in {groups} groups, a multiple expected"));
        }
        length("x", operands.x.len(), &[tokens, heads, width])?;
        length("dt", operands.dt.len(), &[tokens, heads])?;
        length("a", operands.a.len(), &[heads, if per_state { states } else { 1 }])?;
        length("b", operands.b.len(), &[tokens, groups, states])?;
        length("c", operands.c.len(), &[tokens, groups, states])?;
        length("out", out, &[tokens, heads, width])
    }
}

/// A checked call.
struct Call<'a> {
    scan: Scan,
    operands: &'a ScanOperands<'a>,
    runs: Vec<Run>,
    pool: *mut f32,
    out: *mut f32,
}

// SAFETY: pool and out are borrowed for the whole call, and each task writes rows of its own.
unsafe impl Sync for Call<'_> {}

/// Some rows of a state, for all tokens of a run.
struct Task<'a> {
    call: &'a Call<'a>,
    run: Run,
    /// The first of up to [`ROWS`] rows, counted through all heads.
    first: usize,
}

/// The operands of one token for a row.
struct Factors {
    /// The decay of the row, if its elements share a rate.
    decay: f32,
    dt: f32,
    /// `dt · x`.
    input: f32,
    /// `[states]` of the row's head, if each element has its own rate.
    rates: *const f32,
    /// `[states]` of the row's group.
    b: *const f32,
    c: *const f32,
}

impl Operation for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: passed on.
        unsafe {
            match self.call.scan.per_state {
                true => self.recur::<S, true>(),
                false => self.recur::<S, false>(),
            }
        }
    }
}

impl Task<'_> {
    /// # Safety
    /// As all functions of [`Simd`]; the call is checked, and no other task has these rows.
    #[inline(always)]
    unsafe fn recur<S: Simd, const PER_STATE: bool>(&self) {
        let call = self.call;
        let Scan { heads, width, groups, states, .. } = call.scan;
        let rows = ROWS.min(heads * width - self.first);
        // Rows beyond the last repeat it.
        let head: [usize; ROWS] =
            std::array::from_fn(|row| (self.first + row.min(rows - 1)) / width);
        let group = head.map(|head| head / (heads / groups));
        let rates = if PER_STATE { [0.0; ROWS] } else { head.map(|head| call.operands.a[head]) };
        // SAFETY: the pool has the slot and these rows in it, the operands have the run's tokens.
        unsafe {
            let pool = call.pool.add((self.run.slot * heads * width + self.first) * states);
            if self.run.position == 0 {
                pool.write_bytes(0, rows * states);
            }
            for token in self.run.token..self.run.token + self.run.tokens {
                let at = token * heads * width + self.first;
                let dt = head.map(|head| call.operands.dt[token * heads + head]);
                let x = load_some::<S>(call.operands.x.as_ptr().add(at), rows);
                let steps = S::load(dt.as_ptr());
                let (mut inputs, mut decays) = ([0.0; ROWS], [0.0; ROWS]);
                S::store(S::multiply(steps, x), inputs.as_mut_ptr());
                if !PER_STATE {
                    let decay = exponential::<S>(S::multiply(steps, S::load(rates.as_ptr())));
                    S::store(decay, decays.as_mut_ptr());
                }
                let of_row = |row: usize| Factors {
                    decay: decays[row],
                    dt: dt[row],
                    input: inputs[row],
                    rates: call.operands.a.as_ptr().wrapping_add(head[row] * states),
                    b: call.operands.b[(token * groups + group[row]) * states..].as_ptr(),
                    c: call.operands.c[(token * groups + group[row]) * states..].as_ptr(),
                };
                let mut sums = [S::zero(); ROWS];
                // Two rows at a time: the sum of one is a chain of dependent additions.
                for row in (1..rows).step_by(2) {
                    let factors = [of_row(row - 1), of_row(row)];
                    let pool = pool.add((row - 1) * states);
                    let both = step::<S, PER_STATE, 2>(&factors, pool, states);
                    [sums[row - 1], sums[row]] = both;
                }
                if rows % 2 == 1 {
                    let factors = [of_row(rows - 1)];
                    let pool = pool.add((rows - 1) * states);
                    [sums[rows - 1]] = step::<S, PER_STATE, 1>(&factors, pool, states);
                }
                store_some::<S>(fold::<S>(&sums), call.out.add(at), rows);
            }
        }
    }
}

/// Computes one token for `N` rows and updates them. The lanes of a result add up to the row's `y`.
///
/// # Safety
/// As all functions of [`Simd`]; rows and factors have `states` values.
#[inline(always)]
unsafe fn step<S: Simd, const PER_STATE: bool, const N: usize>(
    factors: &[Factors; N],
    rows: *mut f32,
    states: usize,
) -> [S::Floats; N] {
    // SAFETY: the caller's contract; parts of vectors end with the row.
    unsafe {
        let mut sums = [S::zero(); N];
        let whole = states - states % 16;
        for first in (0..whole).step_by(16) {
            for (n, (factors, sum)) in factors.iter().zip(&mut sums).enumerate() {
                let at = rows.add(n * states + first);
                let rates = if PER_STATE { S::load(factors.rates.add(first)) } else { S::zero() };
                let b = S::load(factors.b.add(first));
                let state = factors.after::<S, PER_STATE>(S::load(at), rates, b);
                S::store(state, at);
                *sum = S::multiply_add(state, S::load(factors.c.add(first)), *sum);
            }
        }
        let left = states - whole;
        if left == 0 {
            return sums;
        }
        for (n, (factors, sum)) in factors.iter().zip(&mut sums).enumerate() {
            let at = rows.add(n * states + whole);
            let rates = match PER_STATE {
                true => S::load_part(factors.rates.add(whole), left),
                false => S::zero(),
            };
            let b = S::load_part(factors.b.add(whole), left);
            let state = factors.after::<S, PER_STATE>(S::load_part(at, left), rates, b);
            S::store_part(state, at, left);
            *sum = S::multiply_add(state, S::load_part(factors.c.add(whole), left), *sum);
        }
        sums
    }
}

impl Factors {
    /// The elements of a row after the token.
    ///
    /// # Safety
    /// As all functions of [`Simd`].
    #[inline(always)]
    unsafe fn after<S: Simd, const PER_STATE: bool>(
        &self,
        state: S::Floats,
        rates: S::Floats,
        b: S::Floats,
    ) -> S::Floats {
        // SAFETY: the caller's contract.
        unsafe {
            let decay = match PER_STATE {
                true => exponential::<S>(S::multiply(S::splat(self.dt), rates)),
                false => S::splat(self.decay),
            };
            S::multiply_add(decay, state, S::multiply(S::splat(self.input), b))
        }
    }
}

/// The sum of the lanes of each vector.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn fold<S: Simd>(sums: &[S::Floats; ROWS]) -> S::Floats {
    // SAFETY: the caller's contract.
    unsafe {
        let mut fours = [S::zero(); ROWS / 4];
        for (n, four) in fours.iter_mut().enumerate() {
            let first = 4 * n;
            *four = S::fold_lanes([sums[first], sums[first + 1], sums[first + 2], sums[first + 3]]);
        }
        S::fold_quarters(fours)
    }
}
