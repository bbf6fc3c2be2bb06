//! Writing tokens' keys and values into the paged cache.

use crate::Kernels;
use crate::error::KernelError;
use crate::isa::Isa;
use crate::pool::Pool;
use crate::simd::{Operation, Simd, dispatch};

/// What a cache stores keys and values as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheElement {
    /// f32.
    F32,
    /// f16: rounded to the nearest, ties to even; ±∞ beyond its range.
    F16,
    /// i8 with one f32 scale per row (block, slot, head), which follows the row's values: the value is
    /// scale · q, the scale max|x| / 127. A row with a value that is not finite has the scale NaN.
    Q8,
}

impl CacheElement {
    /// Bytes of one row (block, slot, head) of `width` values; `None` beyond the address space.
    pub fn row_bytes(self, width: usize) -> Option<usize> {
        match self {
            Self::F32 => width.checked_mul(4),
            Self::F16 => width.checked_mul(2),
            Self::Q8 => width.checked_add(4),
        }
    }

    /// The name, as `--kv-dtype` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8 => "q8",
        }
    }
}

/// The pool of a cache being written: `[blocks, block_length, heads, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// What it stores.
    pub element: CacheElement,
    /// Key-value heads.
    pub heads: usize,
    /// Values in a row.
    pub width: usize,
    /// Slots in a block.
    pub block_length: usize,
}

impl Kernels {
    /// Writes `update [T, heads, width]` to the slots `[T, 2]` (block, position in it) of a pool. Slots
    /// outside of the pool are dropped, as StableHLO's scatter does; of several tokens with one slot the last
    /// stays.
    ///
    /// # Errors
    /// If the sizes do not fit together.
    pub fn write_cache(
        &self,
        shape: CacheShape,
        pool: &mut [u8],
        slots: &[i32],
        update: &[f32],
    ) -> Result<(), KernelError> {
        write_cache(self.isa(), self.pool(), shape, pool, slots, update)
    }
}

fn write_cache(
    isa: Isa,
    threads: &Pool,
    shape: CacheShape,
    pool: &mut [u8],
    slots: &[i32],
    update: &[f32],
) -> Result<(), KernelError> {
    let CacheShape { element, heads, width, block_length } = shape;
    let error = |message: String| KernelError { kernel: "write_cache", message };
    let row_bytes = element.row_bytes(width);
    let token_bytes = row_bytes.and_then(|bytes| bytes.checked_mul(heads)).filter(|&b| b > 0);
    let block_bytes = token_bytes.and_then(|b| b.checked_mul(block_length)).filter(|&b| b > 0);
    let (Some(row_bytes), Some(token_bytes), Some(block_bytes)) =
        (row_bytes, token_bytes, block_bytes)
    else {
        return Err(error(format!(
            "{heads} heads of {width} in blocks of {block_length}: not the sizes of a cache"
        )));
    };
    if width == 0 || !pool.len().is_multiple_of(block_bytes) {
        let length = pool.len();
        return Err(error(format!(
            "a pool of {length} bytes, which are no blocks of {block_bytes} bytes"
        )));
    }
    if !slots.len().is_multiple_of(2)
        || Some(update.len()) != (slots.len() / 2 * heads).checked_mul(width)
    {
        return Err(error(format!(
            "an update of {} values for {} slot numbers and {heads} heads of {width}",
            update.len(),
            slots.len()
        )));
    }
    let write = Write {
        shape,
        row_bytes,
        token_bytes,
        blocks: pool.len() / block_bytes,
        pool: pool.as_mut_ptr(),
        slots,
        update,
    };
    let run = |first: usize, count: usize| {
        // SAFETY: an `Isa` in use is available, the sizes were checked, and threads take different heads.
        unsafe { dispatch(isa, Heads { write: &write, first, count }) }
    };
    // Tokens may share a slot (padding does), so that threads take heads: nothing is written by two.
    if update.len() < PARALLEL {
        run(0, heads);
    } else {
        threads.run(heads, &|head| run(head, 1));
    }
    Ok(())
}

/// Values from which threads are worth waking.
const PARALLEL: usize = 1 << 15;

/// A checked call.
struct Write<'a> {
    shape: CacheShape,
    row_bytes: usize,
    token_bytes: usize,
    blocks: usize,
    pool: *mut u8,
    slots: &'a [i32],
    update: &'a [f32],
}

// SAFETY: the pool is borrowed for the whole call, and threads write disjoint heads of it.
unsafe impl Sync for Write<'_> {}

/// `count` heads of a call from `first` on.
struct Heads<'a> {
    write: &'a Write<'a>,
    first: usize,
    count: usize,
}

impl Operation for Heads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let write = self.write;
        let CacheShape { element, heads, width, block_length } = write.shape;
        for (slot, token) in
            write.slots.chunks_exact(2).zip(write.update.chunks_exact(heads * width))
        {
            let (Ok(block), Ok(offset)) = (usize::try_from(slot[0]), usize::try_from(slot[1]))
            else {
                continue;
            };
            if block >= write.blocks || offset >= block_length {
                continue;
            }
            for head in self.first..self.first + self.count {
                let row = &token[head * width..][..width];
                let start =
                    (block * block_length + offset) * write.token_bytes + head * write.row_bytes;
                // SAFETY: block and offset were checked against the pool's size, so that the row lies in
                // it, and no other thread writes this head's rows; instructions by the caller's contract.
                unsafe {
                    let to = write.pool.add(start);
                    match element {
                        CacheElement::F32 => {
                            to.copy_from_nonoverlapping(row.as_ptr().cast(), 4 * width)
                        }
                        CacheElement::F16 => write_f16::<S>(row, to),
                        CacheElement::Q8 => write_q8::<S>(row, to),
                    }
                }
            }
        }
    }
}

/// # Safety
/// As all functions of [`Simd`]; `to` has space for the row.
#[inline(always)]
unsafe fn write_f16<S: Simd>(row: &[f32], to: *mut u8) {
    let (vectors, rest) = row.as_chunks::<16>();
    let to = to.cast::<u16>();
    // SAFETY: the caller's contract; the last lanes go through a vector of their own.
    unsafe {
        for (index, vector) in vectors.iter().enumerate() {
            S::store_f16(S::load(vector.as_ptr()), to.add(16 * index));
        }
        if !rest.is_empty() {
            let mut last = [0u16; 16];
            S::store_f16(S::load_part(rest.as_ptr(), rest.len()), last.as_mut_ptr());
            to.add(16 * vectors.len())
                .cast::<u8>()
                .copy_from_nonoverlapping(last.as_ptr().cast(), 2 * rest.len());
        }
    }
}

/// # Safety
/// As all functions of [`Simd`]; `to` has space for the row and its scale.
#[inline(always)]
unsafe fn write_q8<S: Simd>(row: &[f32], to: *mut u8) {
    let (vectors, rest) = row.as_chunks::<16>();
    // SAFETY: the caller's contract; the last lanes go through a vector of their own.
    unsafe {
        // (A masked load of nothing is a slow one.)
        let last =
            if rest.is_empty() { S::zero() } else { S::load_part(rest.as_ptr(), rest.len()) };
        // Zero times anything finite is zero: the sum tells whether a value is not.
        let mut largest = S::absolute(last);
        let mut check = S::multiply(last, S::zero());
        for vector in vectors {
            let x = S::load(vector.as_ptr());
            largest = S::maximum(largest, S::absolute(x));
            check = S::multiply_add(x, S::zero(), check);
        }
        let scale = if S::sum(check) == 0.0 { S::largest(largest) / 127.0 } else { f32::NAN };
        to.add(row.len()).cast::<[u8; 4]>().write_unaligned(scale.to_le_bytes());
        if scale == 0.0 || scale.is_nan() {
            to.write_bytes(0, row.len());
            return;
        }
        for (index, vector) in vectors.iter().enumerate() {
            let bytes = quantized::<S>(S::load(vector.as_ptr()), scale);
            to.add(16 * index).copy_from_nonoverlapping(bytes.as_ptr(), 16);
        }
        let bytes = quantized::<S>(last, scale);
        to.add(16 * vectors.len()).copy_from_nonoverlapping(bytes.as_ptr(), rest.len());
    }
}

/// # Safety
/// As all functions of [`Simd`].
#[inline(always)]
unsafe fn quantized<S: Simd>(x: S::Floats, scale: f32) -> [u8; 16] {
    let mut integers = [0i32; 16];
    // SAFETY: the caller's contract; the array has sixteen places.
    unsafe {
        // A scale that lost bits (below 2^-126) would lead beyond 127.
        let q = S::divide(x, S::splat(scale));
        let q = S::maximum(S::splat(-127.0), S::minimum(S::splat(127.0), q));
        S::store_integers(S::to_integers(q), integers.as_mut_ptr());
    }
    integers.map(|q| q as i8 as u8)
}
