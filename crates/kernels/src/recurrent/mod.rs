//! Kernels with a state per sequence: the short convolution, the gated delta rule, the selective
//! scan.
//!
//! The delta rule computes each column of a state by itself, the scan each row, the convolution
//! each channel. A task takes some of them through all tokens of a sequence, token by token. So a
//! token's bits depend neither on the chunks of a prompt, nor on the other sequences of a step, nor
//! on the number of threads.

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

/// Fewest multiplications for which waking other threads, two microseconds, pays.
const PARALLEL: usize = 1 << 14;

/// Runs `task(0)` … `task(tasks − 1)`, about `work` multiplications in all.
fn run(pool: &Pool, work: usize, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
    if work < PARALLEL {
        (0..tasks).for_each(task);
    } else {
        pool.run(tasks, task);
    }
}

/// Zeroes the rows of `out [T, …]` whose tokens are padding.
fn clear_padding(out: &mut [f32], positions: &[i32]) {
    let width = out.len() / positions.len().max(1);
    for (row, position) in out.chunks_exact_mut(width.max(1)).zip(positions) {
        if *position < 0 {
            row.fill(0.0);
        }
    }
}

/// Checks that `found`, the length of the operand `name`, is the product of `sizes`.
fn length(name: &str, found: usize, sizes: &[usize]) -> Result<(), String> {
    match product(sizes) == Some(found) {
        true => Ok(()),
        false => Err(format!("{name} has {found} values, {sizes:?} expected")),
    }
}

/// Checks that no size is 0.
fn positive(sizes: &[usize], what: &dyn std::fmt::Debug) -> Result<(), String> {
    match sizes.contains(&0) {
        true => Err(format!("sizes of at least 1 expected: {what:?}")),
        false => Ok(()),
    }
}

/// The product; none beyond the address space.
fn product(factors: &[usize]) -> Option<usize> {
    factors.iter().try_fold(1usize, |product, &factor| product.checked_mul(factor))
}

/// Loads the first `count` values, at most sixteen; the other lanes are 0.
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

/// Stores the first `count` lanes, at most sixteen.
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
