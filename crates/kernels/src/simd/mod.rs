//! Sixteen 32-bit lanes, whatever the machine calls them: one register of AVX-512, two of AVX2, an array
//! elsewhere.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(test)]
mod tests;

use crate::isa::Isa;

/// Operations on sixteen lanes. Implementations are `#[inline(always)]` wrappers of intrinsics, so that
/// they compile to instructions inside a function that enables their features, and only there: see
/// [`dispatch`].
///
/// # Safety
/// All functions: the machine has the implementation's instruction set, and the caller is compiled for
/// it. Pointers are valid for what the name says, and need no alignment.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen f32.
    type Floats: Copy;
    /// Sixteen i32 (or u32, or pairs of i16).
    type Integers: Copy;
    /// Sixteen f32 to be looked up.
    type Table: Copy;

    /// Which instruction set this is. [`Isa::Amx`] has the lanes of [`Isa::Avx512`].
    const ISA: Isa;

    unsafe fn zero() -> Self::Floats;
    unsafe fn splat(value: f32) -> Self::Floats;
    unsafe fn load(from: *const f32) -> Self::Floats;
    /// The first `count < 16` values, the other lanes 0.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::Floats;
    unsafe fn store(value: Self::Floats, to: *mut f32);
    unsafe fn store_part(value: Self::Floats, to: *mut f32, count: usize);
    /// Sixteen f16.
    unsafe fn load_f16(from: *const u16) -> Self::Floats;
    /// Sixteen bf16.
    unsafe fn load_bf16(from: *const u16) -> Self::Floats;
    /// Sixteen i8.
    unsafe fn load_i8(from: *const i8) -> Self::Floats;
    /// Rounded to the nearest f16, ties to even.
    unsafe fn store_f16(value: Self::Floats, to: *mut u16);
    unsafe fn add(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn subtract(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn multiply(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn divide(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The larger; `b` where either is NaN.
    unsafe fn maximum(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// The smaller; `b` where either is NaN.
    unsafe fn minimum(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn absolute(a: Self::Floats) -> Self::Floats;
    /// `a · b + c`, rounded once where the machine can.
    unsafe fn multiply_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::Floats) -> Self::Floats;
    /// The sum of the lanes, in a fixed order.
    unsafe fn sum(a: Self::Floats) -> f32;
    /// The largest lane; unspecified where a lane is NaN.
    unsafe fn largest(a: Self::Floats) -> f32;
    /// Lane `4 j + i` is the sum of the lanes `4 j .. 4 j + 4` of `a[i]`.
    unsafe fn fold_lanes(a: [Self::Floats; 4]) -> Self::Floats;
    /// Lane `4 i + l` is the sum of the lanes `l, l + 4, l + 8, l + 12` of `a[i]`. Of what
    /// [`Self::fold_lanes`] made of sixteen vectors: the sum of each.
    unsafe fn fold_quarters(a: [Self::Floats; 4]) -> Self::Floats;
    /// `yes` in lanes where `a < b`, else `no` (also where either is NaN).
    unsafe fn select_less(
        a: Self::Floats,
        b: Self::Floats,
        yes: Self::Floats,
        no: Self::Floats,
    ) -> Self::Floats;

    unsafe fn splat_integer(value: i32) -> Self::Integers;
    unsafe fn load_integers(from: *const i32) -> Self::Integers;
    unsafe fn store_integers(value: Self::Integers, to: *mut i32);
    /// The low halves of the lanes.
    unsafe fn store_i16(value: Self::Integers, to: *mut i16);
    unsafe fn and(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    unsafe fn or(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    unsafe fn add_integers(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    /// Bytes, wrapping.
    unsafe fn subtract_bytes(a: Self::Integers, b: Self::Integers) -> Self::Integers;
    /// 32-bit lanes, logical.
    unsafe fn shift_right<const BITS: u32>(a: Self::Integers) -> Self::Integers;
    unsafe fn shift_left<const BITS: u32>(a: Self::Integers) -> Self::Integers;
    /// Logical, by `count < 32`: an immediate shift wherever the compiler knows `count`.
    unsafe fn shift_right_by(a: Self::Integers, count: u32) -> Self::Integers;
    unsafe fn shift_left_by(a: Self::Integers, count: u32) -> Self::Integers;
    /// From i32.
    unsafe fn to_floats(a: Self::Integers) -> Self::Floats;
    /// To i32, nearest, ties to even; the values are in range.
    unsafe fn to_integers(a: Self::Floats) -> Self::Integers;
    /// The bits as f32.
    unsafe fn as_floats(a: Self::Integers) -> Self::Floats;
    unsafe fn as_integers(a: Self::Floats) -> Self::Integers;
    /// The low halves of the lanes as f16.
    unsafe fn low_f16(a: Self::Integers) -> Self::Floats;
    /// `sum + a.low · b.low + a.high · b.high` in each lane, halves as i16; exact unless i32 overflows.
    unsafe fn dot_pairs(
        sum: Self::Integers,
        a: Self::Integers,
        b: Self::Integers,
    ) -> Self::Integers;
    /// `sum + Σ a.byte · b.byte` in each lane, bytes of `a` unsigned, of `b` signed. Only where
    /// [`Isa::wide_byte_products`] holds; elsewhere `sum`.
    unsafe fn dot_bytes(
        sum: Self::Integers,
        _a: Self::Integers,
        _b: Self::Integers,
    ) -> Self::Integers {
        sum
    }

    /// `sum + a.byte · b.byte + a.next · b.next` in each half of a lane, bytes as in [`Self::dot_bytes`]; what is more than a half
    /// holds is wrong. Only in AVX2, elsewhere `sum`.
    unsafe fn dot_bytes_in_halves(
        sum: Self::Integers,
        _a: Self::Integers,
        _b: Self::Integers,
    ) -> Self::Integers {
        sum
    }
    /// `sum` and the halves of `a`, with their signs.
    #[inline(always)]
    unsafe fn add_halves(sum: Self::Integers, a: Self::Integers) -> Self::Integers {
        // SAFETY: passed on.
        unsafe { Self::dot_pairs(sum, a, Self::splat_integer(0x0001_0001)) }
    }

    unsafe fn table(values: &[f32; 16]) -> Self::Table;
    /// The values numbered by the four bits of each lane from `from <= 28` on.
    unsafe fn look_up(table: Self::Table, a: Self::Integers, from: u32) -> Self::Floats;
    /// The bytes numbered by the four bits of each byte from `from <= 4` on.
    unsafe fn look_up_bytes(table: &[u8; 16], a: Self::Integers, from: u32) -> Self::Integers;

    /// The entries numbered by the halves of the lanes, each of `bits <= 6` bits.
    unsafe fn look_up_halves(table: &[u16; 64], bits: usize, a: Self::Integers) -> Self::Integers;

    /// A hint that the cache line of `at` will be read soon. Any address is allowed.
    unsafe fn prefetch(_at: *const u8) {}
    /// The same for the second-level cache only.
    #[inline(always)]
    unsafe fn prefetch_far(at: *const u8) {
        // SAFETY: passed on.
        unsafe { Self::prefetch(at) };
    }
    /// One of both.
    #[inline(always)]
    unsafe fn prefetch_to(far: bool, at: *const u8) {
        // SAFETY: passed on.
        unsafe {
            if far {
                Self::prefetch_far(at);
            } else {
                Self::prefetch(at);
            }
        }
    }
}

/// One lane after the other, where there is no instruction for it.
fn look_up_halves(table: &[u16; 64], lanes: [i32; 16]) -> [i32; 16] {
    lanes.map(|lane| {
        let entry = |half: i32| i32::from(table[(half & 63) as usize]);
        entry(lane) | entry(lane >> 16) << 16
    })
}

/// Work that is written once for all instruction sets.
pub(crate) trait Operation {
    type Output;

    /// Must be `#[inline(always)]`, as all functions that it calls with `S`.
    ///
    /// # Safety
    /// As for [`Simd`], and what the operation asks for itself.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// Runs `operation` in a function compiled for `isa`.
///
/// # Safety
/// `isa.available()`, and what the operation asks for.
pub(crate) unsafe fn dispatch<O: Operation>(isa: Isa, operation: O) -> O::Output {
    match isa {
        // SAFETY: passed on.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 | Isa::Amx => unsafe { avx512::call(operation) },
        // SAFETY: passed on.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2::call(operation) },
        // SAFETY: passed on.
        _ => unsafe { operation.run::<portable::Portable>() },
    }
}

/// Runs an operation of tiles, beside which there is AVX-512: its code for other instruction sets would be nobody's.
///
/// # Safety
/// There are tiles, and what the operation asks for.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "there are no tiles"))]
pub(crate) unsafe fn dispatch_tiles<O: Operation<Output = ()>>(operation: O) {
    // SAFETY: passed on.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        avx512::call(operation);
    }
}
