//! The softmax of a chunk's scores, and how chunks are put together.
//!
//! What is kept of a chunk, a *partial*, is a row of f32: the largest score, the sum of the weights
//! `e^(score - largest)`, fourteen unused places, then the weighted sums of the values.

use crate::exponential::{exponential, hyperbolic_tangent};
use crate::simd::Simd;

/// Where the weighted sums begin in a partial.
pub(super) const HEADER: usize = 16;

/// What happens to products before the softmax.
#[derive(Clone, Copy)]
pub(super) struct Scores {
    pub scale: f32,
    /// 0 where there is none.
    pub softcap: f32,
    /// Factors of the slots' keys and values, in a q8 cache.
    pub factors: Option<(*const f32, *const f32)>,
}

/// Lanes of a vector that are visible: bits to keep, then bits to set in the others (-∞).
static EDGES: [i32; 48] = edges(0, -1);
static HIDDEN: [i32; 48] = edges(f32::NEG_INFINITY.to_bits() as i32, 0);

/// Sixteen of `outer`, of `inner`, and of `outer`.
const fn edges(outer: i32, inner: i32) -> [i32; 48] {
    let mut lanes = [outer; 48];
    let mut lane = 16;
    while lane < 32 {
        lanes[lane] = inner;
        lane += 1;
    }
    lanes
}

/// `x` with -∞ in the lanes outside of `from..to`, whatever was there.
///
/// # Safety
/// As all functions of [`Simd`]; `from` and `to` are at most 16.
#[inline(always)]
unsafe fn only<S: Simd>(x: S::Floats, from: usize, to: usize) -> S::Floats {
    // SAFETY: the caller's contract; the windows begin at most at 32.
    unsafe {
        let keep = S::and(window::<S>(&EDGES, 16 - from), window::<S>(&EDGES, 32 - to));
        let hidden = S::or(window::<S>(&HIDDEN, 16 - from), window::<S>(&HIDDEN, 32 - to));
        S::as_floats(S::or(S::and(S::as_integers(x), keep), hidden))
    }
}

/// # Safety
/// As all functions of [`Simd`]; `at` is at most 32.
#[inline(always)]
unsafe fn window<S: Simd>(table: &[i32; 48], at: usize) -> S::Integers {
    // SAFETY: the caller's contract.
    unsafe { S::load_integers(table.as_ptr().add(at)) }
}

/// Makes weights of the products at `row`, of which the slots `from..to` are visible, and returns
/// their largest score and the weights' sum. Weights of other slots in the same vectors become 0. In a q8
/// cache the weights take the values' factors along (the sum does not).
///
/// # Safety
/// As all functions of [`Simd`]; the row and the factors have whole vectors up to `to`, and `from < to`.
#[inline(always)]
pub(super) unsafe fn weigh<S: Simd>(
    row: *mut f32,
    from: usize,
    to: usize,
    scores: Scores,
) -> (f32, f32) {
    let vectors = from / 16..to.div_ceil(16);
    // SAFETY: the caller's contract.
    unsafe {
        let scale = S::splat(scores.scale);
        let mut largest = S::splat(f32::NEG_INFINITY);
        for vector in vectors.clone() {
            let at = row.add(16 * vector);
            let mut score = S::multiply(S::load(at), scale);
            if let Some((keys, _)) = scores.factors {
                score = S::multiply(score, S::load(keys.add(16 * vector)));
            }
            if scores.softcap != 0.0 {
                let cap = S::splat(scores.softcap);
                score = S::multiply(hyperbolic_tangent::<S>(S::divide(score, cap)), cap);
            }
            let (first, last) = (from.saturating_sub(16 * vector), (to - 16 * vector).min(16));
            if (first, last) != (0, 16) {
                score = only::<S>(score, first, last);
            }
            largest = S::maximum(largest, score);
            S::store(score, at);
        }
        // Finite where nothing is visible or everything is -∞: all weights are 0 then.
        let largest = S::largest(largest).max(f32::MIN);
        let shift = S::splat(largest);
        let mut sum = S::zero();
        for vector in vectors {
            let at = row.add(16 * vector);
            let mut weight = exponential::<S>(S::subtract(S::load(at), shift));
            sum = S::add(sum, weight);
            if let Some((_, values)) = scores.factors {
                weight = S::multiply(weight, S::load(values.add(16 * vector)));
            }
            S::store(weight, at);
        }
        (largest, S::sum(sum))
    }
}

/// `e^x` for x ≤ 0.
///
/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn exponential_of<S: Simd>(x: f32) -> f32 {
    let mut lanes = [0.0; 16];
    // SAFETY: the caller's contract.
    unsafe { S::store(exponential::<S>(S::splat(x)), lanes.as_mut_ptr()) };
    lanes[0]
}

/// Adds a chunk's partial to that of the chunks before it.
///
/// # Safety
/// As all functions of [`Simd`]; both have `vectors` vectors of sums.
#[inline(always)]
pub(super) unsafe fn append<S: Simd>(total: *mut f32, chunk: *const f32, vectors: usize) {
    // SAFETY: the caller's contract.
    unsafe {
        let largest = (*total).max(*chunk);
        let old = exponential_of::<S>(*total - largest);
        let new = exponential_of::<S>(*chunk - largest);
        *total = largest;
        *total.add(1) = *total.add(1) * old + *chunk.add(1) * new;
        let (old, new) = (S::splat(old), S::splat(new));
        for vector in 0..vectors {
            let at = HEADER + 16 * vector;
            let scaled = S::multiply(S::load(total.add(at)), old);
            S::store(S::multiply_add(S::load(chunk.add(at)), new, scaled), total.add(at));
        }
    }
}

/// The mean of the values, `width` long, with the sink's share of the weights taken off.
///
/// # Safety
/// As all functions of [`Simd`]; `total` has the sums, and `to` space for `width` values.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd>(
    total: *const f32,
    sink: Option<f32>,
    to: *mut f32,
    width: usize,
) {
    // SAFETY: the caller's contract.
    unsafe {
        let (mut share, mut sum) = (1.0, *total.add(1));
        if let Some(sink) = sink {
            let largest = (*total).max(sink);
            share = exponential_of::<S>(*total - largest);
            sum = sum * share + exponential_of::<S>(sink - largest);
        }
        // Without any weight there is no mean.
        let share = S::splat(if sum == 0.0 { 0.0 } else { share / sum });
        let sums = total.add(HEADER);
        for vector in 0..width / 16 {
            S::store(S::multiply(S::load(sums.add(16 * vector)), share), to.add(16 * vector));
        }
        let (done, rest) = (width - width % 16, width % 16);
        // Behind the last whole vector may be the end of the memory.
        if rest > 0 {
            S::store_part(S::multiply(S::load(sums.add(done)), share), to.add(done), rest);
        }
    }
}
