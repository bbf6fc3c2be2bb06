//! AVX2: two registers each, the lower eight lanes first.

#![expect(
    unsafe_op_in_unsafe_fn,
    reason = "each function is an intrinsic under the trait's contract"
)]

use std::arch::x86_64::*;

use super::{Operation, Simd};
use crate::isa::Isa;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// # Safety
/// See [`super::dispatch`].
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn call<O: Operation>(operation: O) -> O::Output {
    operation.run::<Avx2>()
}

/// Sixteen set lanes, then sixteen that are not: a window of it masks the first lanes.
static FIRST: [i32; 32] = {
    let mut lanes = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        lanes[lane] = -1;
        lane += 1;
    }
    lanes
};

/// Masks of the first `count <= 16` lanes.
#[inline(always)]
unsafe fn first(count: usize) -> [__m256i; 2] {
    let window = FIRST.as_ptr().add(16 - count);
    [_mm256_loadu_si256(window.cast()), _mm256_loadu_si256(window.add(8).cast())]
}

/// Sixteen 16-bit values, from lanes that hold them zero- or sign-extended or else only in the low half.
#[inline(always)]
unsafe fn narrow(a: [__m256i; 2]) -> __m256i {
    let low = _mm256_set1_epi32(0xFFFF);
    let packed = _mm256_packus_epi32(_mm256_and_si256(a[0], low), _mm256_and_si256(a[1], low));
    _mm256_permute4x64_epi64::<0b11_01_10_00>(packed)
}

/// [`Simd::fold_lanes`] of half registers.
#[inline(always)]
unsafe fn fold_lanes(a: __m256, b: __m256, c: __m256, d: __m256) -> __m256 {
    let low = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    let high = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    _mm256_add_ps(
        _mm256_shuffle_ps::<0b01_00_01_00>(low, high),
        _mm256_shuffle_ps::<0b11_10_11_10>(low, high),
    )
}

/// Half of [`Simd::fold_quarters`].
#[inline(always)]
unsafe fn fold_quarters(a: [__m256; 2], b: [__m256; 2]) -> __m256 {
    let (a, b) = (_mm256_add_ps(a[0], a[1]), _mm256_add_ps(b[0], b[1]));
    _mm256_add_ps(_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b))
}

/// `sum + vpmaddwd(a, b)`. Written as instructions since LLVM adds up the products of several of these before it adds the sum: that
/// takes more registers than there are.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot_pairs(mut sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    std::arch::asm!(
        "vpmaddwd {product}, {a}, {b}",
        "vpaddd {sum}, {sum}, {product}",
        product = out(ymm_reg) _,
        sum = inout(ymm_reg) sum,
        a = in(ymm_reg) a,
        b = in(ymm_reg) b,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

/// `sum + vpmaddubsw(a, b)`, in halves of lanes. As [`dot_pairs`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn dot_bytes(mut sum: __m256i, a: __m256i, b: __m256i) -> __m256i {
    std::arch::asm!(
        "vpmaddubsw {product}, {a}, {b}",
        "vpaddw {sum}, {sum}, {product}",
        product = out(ymm_reg) _,
        sum = inout(ymm_reg) sum,
        a = in(ymm_reg) a,
        b = in(ymm_reg) b,
        options(pure, nomem, nostack, preserves_flags),
    );
    sum
}

impl Simd for Avx2 {
    type Floats = [__m256; 2];
    type Integers = [__m256i; 2];
    type Table = [__m256; 2];

    const ISA: Isa = Isa::Avx2;

    #[inline(always)]
    unsafe fn zero() -> [__m256; 2] {
        [_mm256_setzero_ps(); 2]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [__m256; 2] {
        [_mm256_set1_ps(value); 2]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [__m256; 2] {
        [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> [__m256; 2] {
        let [low, high] = first(count);
        // The second address may lie outside; masked lanes are not read.
        [_mm256_maskload_ps(from, low), _mm256_maskload_ps(from.wrapping_add(8), high)]
    }
    #[inline(always)]
    unsafe fn store(value: [__m256; 2], to: *mut f32) {
        _mm256_storeu_ps(to, value[0]);
        _mm256_storeu_ps(to.add(8), value[1]);
    }
    #[inline(always)]
    unsafe fn store_part(value: [__m256; 2], to: *mut f32, count: usize) {
        let [low, high] = first(count);
        _mm256_maskstore_ps(to, low, value[0]);
        _mm256_maskstore_ps(to.wrapping_add(8), high, value[1]);
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> [__m256; 2] {
        [
            _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
            _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())),
        ]
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> [__m256; 2] {
        let low = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()));
        let high = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(8).cast()));
        Self::as_floats(Self::shift_left::<16>([low, high]))
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> [__m256; 2] {
        let bytes = _mm_loadu_si128(from.cast());
        let low = _mm256_cvtepi8_epi32(bytes);
        let high = _mm256_cvtepi8_epi32(_mm_unpackhi_epi64(bytes, bytes));
        Self::to_floats([low, high])
    }
    #[inline(always)]
    unsafe fn store_f16(value: [__m256; 2], to: *mut u16) {
        _mm_storeu_si128(to.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[0]));
        _mm_storeu_si128(to.add(8).cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(value[1]));
    }
    #[inline(always)]
    unsafe fn add(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn subtract(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_sub_ps(a[0], b[0]), _mm256_sub_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn multiply(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn divide(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_div_ps(a[0], b[0]), _mm256_div_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn maximum(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_max_ps(a[0], b[0]), _mm256_max_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn minimum(a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        [_mm256_min_ps(a[0], b[0]), _mm256_min_ps(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn absolute(a: [__m256; 2]) -> [__m256; 2] {
        let sign = _mm256_set1_ps(-0.0);
        [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [__m256; 2], b: [__m256; 2], c: [__m256; 2]) -> [__m256; 2] {
        [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])]
    }
    #[inline(always)]
    unsafe fn round(a: [__m256; 2]) -> [__m256; 2] {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        [_mm256_round_ps::<NEAREST>(a[0]), _mm256_round_ps::<NEAREST>(a[1])]
    }
    #[inline(always)]
    unsafe fn sum(a: [__m256; 2]) -> f32 {
        let eight = _mm256_add_ps(a[0], a[1]);
        let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
    }
    #[inline(always)]
    unsafe fn largest(a: [__m256; 2]) -> f32 {
        let eight = _mm256_max_ps(a[0], a[1]);
        let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
    }
    #[inline(always)]
    unsafe fn fold_lanes(a: [[__m256; 2]; 4]) -> [__m256; 2] {
        [
            fold_lanes(a[0][0], a[1][0], a[2][0], a[3][0]),
            fold_lanes(a[0][1], a[1][1], a[2][1], a[3][1]),
        ]
    }
    #[inline(always)]
    unsafe fn fold_quarters(a: [[__m256; 2]; 4]) -> [__m256; 2] {
        [fold_quarters(a[0], a[1]), fold_quarters(a[2], a[3])]
    }
    #[inline(always)]
    unsafe fn select_less(
        a: [__m256; 2],
        b: [__m256; 2],
        yes: [__m256; 2],
        no: [__m256; 2],
    ) -> [__m256; 2] {
        [
            _mm256_blendv_ps(no[0], yes[0], _mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0])),
            _mm256_blendv_ps(no[1], yes[1], _mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])),
        ]
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> [__m256i; 2] {
        [_mm256_set1_epi32(value); 2]
    }
    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> [__m256i; 2] {
        [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())]
    }
    #[inline(always)]
    unsafe fn store_integers(value: [__m256i; 2], to: *mut i32) {
        _mm256_storeu_si256(to.cast(), value[0]);
        _mm256_storeu_si256(to.add(8).cast(), value[1]);
    }
    #[inline(always)]
    unsafe fn store_i16(value: [__m256i; 2], to: *mut i16) {
        _mm256_storeu_si256(to.cast(), narrow(value));
    }
    #[inline(always)]
    unsafe fn and(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_and_si256(a[0], b[0]), _mm256_and_si256(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn or(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn add_integers(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn subtract_bytes(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [_mm256_sub_epi8(a[0], b[0]), _mm256_sub_epi8(a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn shift_right<const BITS: u32>(a: [__m256i; 2]) -> [__m256i; 2] {
        Self::shift_right_by(a, BITS)
    }
    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(a: [__m256i; 2]) -> [__m256i; 2] {
        Self::shift_left_by(a, BITS)
    }
    #[inline(always)]
    unsafe fn shift_right_by(a: [__m256i; 2], count: u32) -> [__m256i; 2] {
        let count = _mm256_set1_epi32(count as i32);
        [_mm256_srlv_epi32(a[0], count), _mm256_srlv_epi32(a[1], count)]
    }
    #[inline(always)]
    unsafe fn shift_left_by(a: [__m256i; 2], count: u32) -> [__m256i; 2] {
        let count = _mm256_set1_epi32(count as i32);
        [_mm256_sllv_epi32(a[0], count), _mm256_sllv_epi32(a[1], count)]
    }
    #[inline(always)]
    unsafe fn to_floats(a: [__m256i; 2]) -> [__m256; 2] {
        [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])]
    }
    #[inline(always)]
    unsafe fn to_integers(a: [__m256; 2]) -> [__m256i; 2] {
        [_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1])]
    }
    #[inline(always)]
    unsafe fn as_floats(a: [__m256i; 2]) -> [__m256; 2] {
        [_mm256_castsi256_ps(a[0]), _mm256_castsi256_ps(a[1])]
    }
    #[inline(always)]
    unsafe fn as_integers(a: [__m256; 2]) -> [__m256i; 2] {
        [_mm256_castps_si256(a[0]), _mm256_castps_si256(a[1])]
    }
    #[inline(always)]
    unsafe fn low_f16(a: [__m256i; 2]) -> [__m256; 2] {
        let halves = narrow(a);
        [
            _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
            _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
        ]
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: [__m256i; 2], a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 2] {
        [dot_pairs(sum[0], a[0], b[0]), dot_pairs(sum[1], a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn dot_bytes_in_halves(
        sum: [__m256i; 2],
        a: [__m256i; 2],
        b: [__m256i; 2],
    ) -> [__m256i; 2] {
        [dot_bytes(sum[0], a[0], b[0]), dot_bytes(sum[1], a[1], b[1])]
    }
    #[inline(always)]
    unsafe fn prefetch(at: *const u8) {
        _mm_prefetch::<_MM_HINT_T1>(at.cast());
    }
    #[inline(always)]
    unsafe fn table(values: &[f32; 16]) -> [__m256; 2] {
        Self::load(values.as_ptr())
    }
    #[inline(always)]
    unsafe fn look_up(table: [__m256; 2], a: [__m256i; 2], from: u32) -> [__m256; 2] {
        let places = Self::shift_right_by(a, from);
        // The highest of the four bits becomes the sign, which chooses the half of the table.
        let halves = Self::as_floats(Self::shift_left_by(a, 28 - from));
        [
            _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(table[0], places[0]),
                _mm256_permutevar8x32_ps(table[1], places[0]),
                halves[0],
            ),
            _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(table[0], places[1]),
                _mm256_permutevar8x32_ps(table[1], places[1]),
                halves[1],
            ),
        ]
    }
    #[inline(always)]
    unsafe fn look_up_bytes(table: &[u8; 16], a: [__m256i; 2], from: u32) -> [__m256i; 2] {
        let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
        let places = Self::and(Self::shift_right_by(a, from), [_mm256_set1_epi8(15); 2]);
        [_mm256_shuffle_epi8(table, places[0]), _mm256_shuffle_epi8(table, places[1])]
    }
    #[inline(always)]
    unsafe fn look_up_halves(table: &[u16; 64], _bits: usize, a: [__m256i; 2]) -> [__m256i; 2] {
        let mut lanes = [0; 16];
        Self::store_integers(a, lanes.as_mut_ptr());
        Self::load_integers(super::look_up_halves(table, lanes).as_ptr())
    }
}
