//! Arrays, in loops that compilers vectorise.

#![expect(unsafe_op_in_unsafe_fn, reason = "pointers are valid under the trait's contract")]

use half::f16;

use super::Simd;
use crate::isa::Isa;

const LANES: usize = 16;

#[derive(Clone, Copy)]
pub(super) struct Portable;

/// `f` of each lane.
#[inline(always)]
fn map<A: Copy, B>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    std::array::from_fn(|lane| f(a[lane]))
}

#[inline(always)]
fn zip<A: Copy, B: Copy, C>(a: [A; LANES], b: [B; LANES], f: impl Fn(A, B) -> C) -> [C; LANES] {
    std::array::from_fn(|lane| f(a[lane], b[lane]))
}

/// Halves, thirds, and so on of the lanes folded onto each other, as the registers' reductions do.
#[inline(always)]
fn fold(a: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|lane| f(a[lane], a[lane + 8]));
    let four: [f32; 4] = std::array::from_fn(|lane| f(eight[lane], eight[lane + 4]));
    f(f(four[0], four[2]), f(four[1], four[3]))
}

/// An f16 in the low half. Exact: the exponent is moved by a multiplication, which also
/// normalises subnormal numbers.
#[inline(always)]
fn widen_f16(bits: i32) -> f32 {
    let bits = bits as u32;
    let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * f32::from_bits(0x7780_0000);
    let infinite = if bits & 0x7C00 == 0x7C00 { 0x7F80_0000 } else { 0 };
    f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
}

impl Simd for Portable {
    type Floats = [f32; LANES];
    type Integers = [i32; LANES];
    type Table = [f32; LANES];

    const ISA: Isa = Isa::Portable;

    #[inline(always)]
    unsafe fn zero() -> [f32; LANES] {
        [0.0; LANES]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; LANES] {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; LANES] {
        from.cast::<[f32; LANES]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        for (lane, value) in lanes.iter_mut().enumerate().take(count) {
            *value = from.add(lane).read_unaligned();
        }
        lanes
    }
    #[inline(always)]
    unsafe fn store(value: [f32; LANES], to: *mut f32) {
        to.cast::<[f32; LANES]>().write_unaligned(value);
    }
    #[inline(always)]
    unsafe fn store_part(value: [f32; LANES], to: *mut f32, count: usize) {
        for (lane, value) in value.into_iter().enumerate().take(count) {
            to.add(lane).write_unaligned(value);
        }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> [f32; LANES] {
        map(from.cast::<[u16; LANES]>().read_unaligned(), |bits| widen_f16(i32::from(bits)))
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> [f32; LANES] {
        map(from.cast::<[u16; LANES]>().read_unaligned(), |bits| {
            f32::from_bits(u32::from(bits) << 16)
        })
    }
    #[inline(always)]
    unsafe fn load_i8(from: *const i8) -> [f32; LANES] {
        map(from.cast::<[i8; LANES]>().read_unaligned(), f32::from)
    }
    #[inline(always)]
    unsafe fn store_f16(value: [f32; LANES], to: *mut u16) {
        let halves = map(value, |value| f16::from_f32_const(value).to_bits());
        to.cast::<[u16; LANES]>().write_unaligned(halves);
    }
    #[inline(always)]
    unsafe fn add(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn subtract(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn multiply(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn divide(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn maximum(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn minimum(a: [f32; LANES], b: [f32; LANES]) -> [f32; LANES] {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn absolute(a: [f32; LANES]) -> [f32; LANES] {
        map(a, f32::abs)
    }
    #[inline(always)]
    unsafe fn multiply_add(a: [f32; LANES], b: [f32; LANES], c: [f32; LANES]) -> [f32; LANES] {
        // Fused operations would be library calls on targets without the instruction.
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    unsafe fn round(a: [f32; LANES]) -> [f32; LANES] {
        // Adding and subtracting 1.5 · 2^23 leaves no fraction bits; larger magnitudes have none.
        const SHIFT: f32 = 12_582_912.0;
        map(a, |a| {
            let small = ((a + SHIFT) - SHIFT).copysign(a);
            if a.abs() < 4_194_304.0 { small } else { a.round_ties_even() }
        })
    }
    #[inline(always)]
    unsafe fn sum(a: [f32; LANES]) -> f32 {
        fold(a, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn largest(a: [f32; LANES]) -> f32 {
        fold(a, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fold_lanes(a: [[f32; LANES]; 4]) -> [f32; LANES] {
        std::array::from_fn(|lane| {
            let (a, start) = (&a[lane % 4], lane - lane % 4);
            (a[start] + a[start + 2]) + (a[start + 1] + a[start + 3])
        })
    }
    #[inline(always)]
    unsafe fn fold_quarters(a: [[f32; LANES]; 4]) -> [f32; LANES] {
        std::array::from_fn(|lane| {
            let (a, lane) = (&a[lane / 4], lane % 4);
            (a[lane] + a[lane + 8]) + (a[lane + 4] + a[lane + 12])
        })
    }
    #[inline(always)]
    unsafe fn select_less(
        a: [f32; LANES],
        b: [f32; LANES],
        yes: [f32; LANES],
        no: [f32; LANES],
    ) -> [f32; LANES] {
        std::array::from_fn(|lane| if a[lane] < b[lane] { yes[lane] } else { no[lane] })
    }
    #[inline(always)]
    unsafe fn splat_integer(value: i32) -> [i32; LANES] {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load_integers(from: *const i32) -> [i32; LANES] {
        from.cast::<[i32; LANES]>().read_unaligned()
    }
    #[inline(always)]
    unsafe fn store_integers(value: [i32; LANES], to: *mut i32) {
        to.cast::<[i32; LANES]>().write_unaligned(value);
    }
    #[inline(always)]
    unsafe fn store_i16(value: [i32; LANES], to: *mut i16) {
        to.cast::<[i16; LANES]>().write_unaligned(map(value, |value| value as i16));
    }
    #[inline(always)]
    unsafe fn and(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, |a, b| a & b)
    }
    #[inline(always)]
    unsafe fn or(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, |a, b| a | b)
    }
    #[inline(always)]
    unsafe fn add_integers(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, i32::wrapping_add)
    }
    #[inline(always)]
    unsafe fn subtract_bytes(a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        zip(a, b, |a, b| {
            let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
            i32::from_le_bytes(std::array::from_fn(|n| a[n].wrapping_sub(b[n])))
        })
    }
    #[inline(always)]
    unsafe fn shift_right<const BITS: u32>(a: [i32; LANES]) -> [i32; LANES] {
        Self::shift_right_by(a, BITS)
    }
    #[inline(always)]
    unsafe fn shift_left<const BITS: u32>(a: [i32; LANES]) -> [i32; LANES] {
        Self::shift_left_by(a, BITS)
    }
    #[inline(always)]
    unsafe fn shift_right_by(a: [i32; LANES], count: u32) -> [i32; LANES] {
        map(a, |a| (a as u32).wrapping_shr(count) as i32)
    }
    #[inline(always)]
    unsafe fn shift_left_by(a: [i32; LANES], count: u32) -> [i32; LANES] {
        map(a, |a| a.wrapping_shl(count))
    }
    #[inline(always)]
    unsafe fn to_floats(a: [i32; LANES]) -> [f32; LANES] {
        map(a, |a| a as f32)
    }
    #[inline(always)]
    unsafe fn to_integers(a: [f32; LANES]) -> [i32; LANES] {
        map(Self::round(a), |a| a as i32)
    }
    #[inline(always)]
    unsafe fn as_floats(a: [i32; LANES]) -> [f32; LANES] {
        map(a, |a| f32::from_bits(a as u32))
    }
    #[inline(always)]
    unsafe fn as_integers(a: [f32; LANES]) -> [i32; LANES] {
        map(a, |a| a.to_bits() as i32)
    }
    #[inline(always)]
    unsafe fn low_f16(a: [i32; LANES]) -> [f32; LANES] {
        map(a, widen_f16)
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: [i32; LANES], a: [i32; LANES], b: [i32; LANES]) -> [i32; LANES] {
        std::array::from_fn(|lane| {
            let low = i32::from(a[lane] as i16) * i32::from(b[lane] as i16);
            let high = (a[lane] >> 16) * (b[lane] >> 16);
            sum[lane].wrapping_add(low).wrapping_add(high)
        })
    }
    #[inline(always)]
    unsafe fn table(values: &[f32; 16]) -> [f32; LANES] {
        *values
    }
    #[inline(always)]
    unsafe fn look_up(table: [f32; LANES], a: [i32; LANES], from: u32) -> [f32; LANES] {
        map(a, |a| table[(a >> from & 15) as usize])
    }
    #[inline(always)]
    unsafe fn look_up_bytes(table: &[u8; 16], a: [i32; LANES], from: u32) -> [i32; LANES] {
        map(a, |a| {
            let entry = |byte: u8| table[usize::from(byte >> from & 15)];
            i32::from_ne_bytes(a.to_ne_bytes().map(entry))
        })
    }
    #[inline(always)]
    unsafe fn look_up_halves(table: &[u16; 64], _bits: usize, a: [i32; LANES]) -> [i32; LANES] {
        super::look_up_halves(table, a)
    }
}
