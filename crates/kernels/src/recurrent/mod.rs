//! Kernels with a state per sequence: the short convolution, the gated delta rule, the selective scan.
//!
//! Columns of a state (of the delta rule), rows (of the scan) and channels (of the convolution) do not depend on
//! each other. A task takes some of them through all tokens of a sequence, one token after the other. So a token's
//! result is the same, bit by bit, wherever a prompt is cut into steps, whatever else is in a step and however many
//! threads there are.

mod convolve;
mod delta_rule;
mod runs;
mod scan;

pub use convolve::Convolution;
pub use delta_rule::{DeltaRule, DeltaRuleOperands};
pub use runs::StateAddresses;
pub use scan::{Scan, ScanOperands};

use crate::pool::Pool;
use crate::simd::Simd;

/// Multiplications from which other threads are worth their two microseconds.
const PARALLEL: usize = 1 << 14;

/// Runs `task(0)` … `task(tasks − 1)`, which together do about `work` multiplications.
fn run(pool: &Pool, work: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    if work < PARALLEL {
        (0..tasks).for_each(task);
    } else {
        pool.run(tasks, task);
    }
}

/// Zeros in the rows of `out [T, …]` whose tokens are padding.
fn clear_padding(out: &mut [f32], positions: &[i32]) {
    let width = out.len() / positions.len().max(1);
    for (row, position) in out.chunks_exact_mut(width.max(1)).zip(positions) {
        if *position < 0 {
            row.fill(0.0);
        }
    }
}

/// That `found`, the length of the operand `name`, is the product of `sizes`.
fn length(name: &str, found: usize, sizes: &[usize]) -> Result<(), String> {
    match product(sizes) == Some(found) {
        true => Ok(()),
        false => Err(format!("{name} has {found} values, {sizes:?} expected")),
    }
}

/// That no size is 0.
fn positive(sizes: &[usize], what: &dyn std::fmt::Debug) -> Result<(), String> {
    match sizes.contains(&0) {
        true => Err(format!("sizes of at least 1 expected: {what:?}")),
        false => Ok(()),
    }
}

/// The product, within the address space.
fn product(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor))
}

/// Up to sixteen values, of `count` that are left; the other lanes 0.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn load_some<S: Simd>(from: *const f32, count: usize) -> S::Floats {
    // SAFETY: the caller's contract. (A masked load of nothing is a slow one.)
    unsafe {
        match count {
            0 => S::zero(),
            1..16 => S::load_part(from, count),
            _ => S::load(from),
        }
    }
}

/// Stores up to sixteen lanes, where `count` values are left.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn store_some<S: Simd>(value: S::Floats, to: *mut f32, count: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        match count {
            0 => {}
            1..16 => S::store_part(value, to, count),
            _ => S::store(value, to),
        }
    }
}
