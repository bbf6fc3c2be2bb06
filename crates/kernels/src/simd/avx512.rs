//! AVX-512: a register each.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each function is an intrinsic under the trait's contract"
)]

use std::arch::x86_64::*;

use super::{Operation, Simd};
use crate::isa::Isa;

#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// # Safety
/// See [`super::dispatch`].
#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
pub(super) unsafe fn call<O: Operation>(operation: O) -> O::Output {
    operation.run::<Avx512>()
}

/// The first `count` lanes.
#[inline(always)]
fn first(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

/// The halves of `a` added, then those of `b`.
#[inline(always)]
unsafe fn halves(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(
        _mm512_shuffle_f32x4::<0b01_00_01_00>(a, b),
        _mm512_shuffle_f32x4::<0b11_10_11_10>(a, b),
    )
}

/// `vpdpwssd`. Written as such since LLVM makes two instructions of the intrinsic in a chain of them
/// (a multiplication and an addition, to shorten the chain), which here costs a third of the speed.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dot_pairs(mut sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
    std::arch::asm!(
        "vpdpwssd {sum}, {a}, {b}",
        sum = inout(zmm_reg) sum,
        a = in(zmm_reg) a,
        b = in(zmm_reg) b,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

impl Simd for Avx512 {
    type Floats = __m512;
    type Integers = __m512i;
    type Table = __m512;

    const ISA: Isa = Isa::Avx512;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
        _mm512_maskz_loadu_ps(first(count), from)
    }
    #[inline(always)]
    unsafe fn store(value: __m512, to: *mut f32) {
        _mm512_storeu_ps(to, value);
    }
    #[inline(always)]
    unsafe fn store_part(value: __m512, to: *mut f32, count: usize) {
        _mm512_mask_storeu_ps(to, first(count), value);
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> __m512 {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> __m512 {
        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast())))
    }
    #[inline(always)]
    unsafe fn store_f16(value: __m512, to: *mut u16) {
        let half = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(value);
        _mm256_storeu_si256(to.cast(), half);
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }
    #[inline(always)]
    unsafe fn subtract(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }
    #[inline(always)]
    unsafe fn multiply(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }
    #[inline(always)]
    unsafe fn divide(a: __m512, b: __m512) -> __m512 {
        _mm512_div_ps(a, b)
    }
    #[inline(always)]
    unsafe fn maximum(a: __m512, b: __m512) -> __m512 {
        _mm512_max_ps(a, b)
    }
    #[inline(always)]
    unsafe fn minimum(a: __m512, b: __m512) -> __m512 {
        _mm512_min_ps(a, b)
    }
    #[inline(always)]
    unsafe fn absolute(a: __m512) -> __m512 {
        _mm512_abs_ps(a)
    }
    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512 {
        _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        _mm512_reduce_max_ps(a)
    }
    #[inline(always)]
    unsafe fn fold_lanes(a: [__m512; 4]) -> __m512 {
        let low = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        let high = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        _mm512_add_ps(
            _mm512_shuffle_ps::<0b01_00_01_00>(low, high),
            _mm512_shuffle_ps::<0b11_10_11_10>(low, high),
        )
    }
    #[inline(always)]
    unsafe fn fold_quarters(a: [__m512; 4]) -> __m512 {
        let (a01, a23) = (halves(a[0], a[1]), halves(a[2], a[3]));
        _mm512_add_ps(
            _mm512_shuffle_f32x4::<0b10_00_10_00>(a01, a23),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(a01, a23),
        )
    }
    #[inline(always)]
    unsafe fn select_less(a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b), no, yes)
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }
    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }
    #[inline(always)]
    unsafe fn store_integers(value: __m512i, to: *mut i32) {
        _mm512_storeu_si512(to.cast(), value);
    }
    #[inline(always)]
    unsafe fn store_i16(value: __m512i, to: *mut i16) {
        _mm256_storeu_si256(to.cast(), _mm512_cvtepi32_epi16(value));
    }
    #[inline(always)]
    unsafe fn and(a: __m512i, b: __m512i) -> __m512i {
        _mm512_and_si512(a, b)
    }
    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }
    #[inline(always)]
    unsafe fn add_integers(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }
    #[inline(always)]
    unsafe fn subtract_bytes(a: __m512i, b: __m512i) -> __m512i {
        _mm512_sub_epi8(a, b)
    }
    #[inline(always)]
    unsafe fn shift_right<const BITS: u32>(a: __m512i) -> __m512i {
        _mm512_srli_epi32::<BITS>(a)
    }
    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(a: __m512i) -> __m512i {
        _mm512_slli_epi32::<BITS>(a)
    }
    #[inline(always)]
    unsafe fn shift_right_by(a: __m512i, count: u32) -> __m512i {
        _mm512_srlv_epi32(a, _mm512_set1_epi32(count as i32))
    }
    #[inline(always)]
    unsafe fn shift_left_by(a: __m512i, count: u32) -> __m512i {
        _mm512_sllv_epi32(a, _mm512_set1_epi32(count as i32))
    }
    #[inline(always)]
    unsafe fn to_floats(a: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(a)
    }
    #[inline(always)]
    unsafe fn to_integers(a: __m512) -> __m512i {
        _mm512_cvt_roundps_epi32::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a)
    }
    #[inline(always)]
    unsafe fn as_floats(a: __m512i) -> __m512 {
        _mm512_castsi512_ps(a)
    }
    #[inline(always)]
    unsafe fn as_integers(a: __m512) -> __m512i {
        _mm512_castps_si512(a)
    }
    #[inline(always)]
    unsafe fn low_f16(a: __m512i) -> __m512 {
        _mm512_cvtph_ps(_mm512_cvtepi32_epi16(a))
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        dot_pairs(sum, a, b)
    }
    #[inline(always)]
    unsafe fn dot_bytes(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(sum, a, b)
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T0>(at.cast());
    }
    #[inline(always)]
    unsafe fn prefetch_far(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    #[inline(always)]
    unsafe fn table(values: &[f32; 16]) -> __m512 {
        Self::load(values.as_ptr())
    }
    #[inline(always)]
    unsafe fn look_up(table: __m512, a: __m512i, from: u32) -> __m512 {
        // Only the lowest four bits count.
        _mm512_permutexvar_ps(Self::shift_right_by(a, from), table)
    }
    #[inline(always)]
    unsafe fn look_up_bytes(table: &[u8; 16], a: __m512i, from: u32) -> __m512i {
        let table = _mm512_broadcast_i32x4(_mm_loadu_si128(table.as_ptr().cast()));
        let places = _mm512_and_si512(Self::shift_right_by(a, from), _mm512_set1_epi8(15));
        _mm512_shuffle_epi8(table, places)
    }
    #[inline(always)]
    unsafe fn look_up_halves(table: &[u16; 64], bits: usize, a: __m512i) -> __m512i {
        let low = _mm512_loadu_si512(table.as_ptr().cast());
        if bits <= 5 {
            return _mm512_permutexvar_epi16(a, low);
        }
        let high = _mm512_loadu_si512(table.as_ptr().add(32).cast());
        _mm512_permutex2var_epi16(low, a, high)
    }
}
