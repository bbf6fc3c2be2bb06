//! Every instruction set against plain arithmetic.

use half::{bf16, f16};
use proptest::prelude::*;

use super::{Operation, Simd, dispatch};
use crate::isa::Isa;

/// The operations that have an exact answer, on sixteen lanes.
struct Exact<'a> {
    floats: &'a [f32; 16],
    others: &'a [f32; 16],
    integers: &'a [i32; 16],
    more: &'a [i32; 16],
    count: usize,
}

fn floats<S: Simd>(value: S::Floats) -> Vec<u32> {
    let mut out = [0.0; 16];
    // SAFETY: called from an operation; sixteen values.
    unsafe { S::store(value, out.as_mut_ptr()) };
    out.iter().map(|value| if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() }).collect()
}

fn integers<S: Simd>(value: S::Integers) -> Vec<u32> {
    let mut out = [0; 16];
    // SAFETY: called from an operation; sixteen values.
    unsafe { S::store_integers(value, out.as_mut_ptr()) };
    out.iter().map(|value| *value as u32).collect()
}

impl Operation for Exact<'_> {
    type Output = Vec<(&'static str, Vec<u32>)>;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> Self::Output {
        // SAFETY: all pointers are to sixteen values, parts to as many as they say.
        unsafe {
            let (a, b) = (S::load(self.floats.as_ptr()), S::load(self.others.as_ptr()));
            let i = S::load_integers(self.integers.as_ptr());
            let j = S::load_integers(self.more.as_ptr());
            let small = S::to_integers(S::minimum(S::maximum(a, S::splat(-1e6)), S::splat(1e6)));
            let part = self.floats[..self.count].to_vec();
            let mut stored = [7.0; 16];
            S::store_part(b, stored.as_mut_ptr(), self.count);
            let mut halves = [0u16; 16];
            S::store_f16(a, halves.as_mut_ptr());
            let nan = |bits: &u16| if bits & 0x7FFF > 0x7C00 { 0x7E00 } else { u32::from(*bits) };
            let mut narrow = [0i16; 16];
            S::store_i16(i, narrow.as_mut_ptr());
            let bytes: [u8; 16] = std::array::from_fn(|n| self.more[n] as u8);
            let halves_table: [u16; 64] =
                std::array::from_fn(|n| self.more[n % 16] as u16 ^ n as u16);
            let four = self.count as u32 / 4 * 4;
            let table = S::table(self.others);
            vec![
                (
                    "look_up_halves",
                    integers::<S>(S::look_up_halves(
                        &halves_table,
                        6,
                        S::and(i, S::splat_integer(0x003F_003F)),
                    )),
                ),
                ("look_up_bytes", integers::<S>(S::look_up_bytes(&bytes, i, four & 4))),
                ("look_up", floats::<S>(S::look_up(table, i, 2 * four + 4))),
                ("load_part", floats::<S>(S::load_part(part.as_ptr(), self.count))),
                ("store_part", floats::<S>(S::load(stored.as_ptr()))),
                ("load_f16", floats::<S>(S::load_f16(self.integers.as_ptr().cast()))),
                ("load_bf16", floats::<S>(S::load_bf16(self.integers.as_ptr().cast()))),
                ("load_i8", floats::<S>(S::load_i8(self.integers.as_ptr().cast()))),
                ("store_f16", halves.iter().map(nan).collect()),
                ("store_i16", narrow.iter().map(|value| *value as u32).collect()),
                ("add", floats::<S>(S::add(a, b))),
                ("subtract", floats::<S>(S::subtract(a, b))),
                ("multiply", floats::<S>(S::multiply(a, b))),
                ("divide", floats::<S>(S::divide(a, b))),
                ("absolute", floats::<S>(S::absolute(a))),
                ("round", floats::<S>(S::round(a))),
                ("select_less", floats::<S>(S::select_less(a, b, a, b))),
                ("maximum", floats::<S>(S::maximum(a, b))),
                ("minimum", floats::<S>(S::minimum(a, b))),
                ("and", integers::<S>(S::and(i, j))),
                ("or", integers::<S>(S::or(i, j))),
                ("add_integers", integers::<S>(S::add_integers(i, j))),
                ("subtract_bytes", integers::<S>(S::subtract_bytes(i, j))),
                ("shift_right", integers::<S>(S::shift_right::<5>(i))),
                ("shift_left", integers::<S>(S::shift_left::<5>(i))),
                ("shift_right_by", integers::<S>(S::shift_right_by(i, self.count as u32))),
                ("shift_left_by", integers::<S>(S::shift_left_by(i, self.count as u32))),
                ("to_floats", floats::<S>(S::to_floats(i))),
                ("to_integers", integers::<S>(small)),
                ("low_f16", floats::<S>(S::low_f16(i))),
                ("dot_pairs", integers::<S>(S::dot_pairs(i, i, j))),
            ]
        }
    }
}

fn float() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<u32>().prop_map(f32::from_bits),
        -10.0f32..10.0,
        (-3e6f32..3e6).prop_map(|value| (value * 2.0).round() / 2.0),
        Just(f32::NAN),
        Just(f32::INFINITY),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn instruction_sets_agree(
        mut a in prop::array::uniform16(float()),
        b in prop::array::uniform16(float()),
        i: [i32; 16],
        j: [i32; 16],
        count in 0usize..16,
    ) {
        // Zeros of either sign are equal, hence which one a maximum is of them is not specified.
        for (a, b) in a.iter_mut().zip(&b) {
            if *a == 0.0 && *b == 0.0 {
                *a = *b;
            }
        }
        let run = |isa| {
            let operation = Exact { floats: &a, others: &b, integers: &i, more: &j, count };
            // SAFETY: it is available.
            unsafe { dispatch(isa, operation) }
        };
        let expected = run(Isa::Portable);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            for (got, expected) in run(isa).iter().zip(&expected) {
                prop_assert_eq!(got, expected, "{}", isa);
            }
        }
    }

    #[test]
    fn portable_halves(bits: [u16; 16], value in prop::array::uniform16(float())) {
        use super::portable::Portable as P;
        let canonical = |value: f32| if value.is_nan() { 0x7FC0_0000 } else { value.to_bits() };
        // SAFETY: sixteen values each.
        let (halves, brains) = unsafe { (P::load_f16(bits.as_ptr()), P::load_bf16(bits.as_ptr())) };
        for lane in 0..16 {
            let expected = f16::from_bits(bits[lane]).to_f32();
            prop_assert_eq!(canonical(halves[lane]), canonical(expected));
            let expected = bf16::from_bits(bits[lane]).to_f32();
            prop_assert_eq!(canonical(brains[lane]), canonical(expected));
        }
        // SAFETY: arrays.
        let rounded = unsafe { P::round(value) };
        for (rounded, value) in rounded.iter().zip(value) {
            prop_assert_eq!(canonical(rounded + 0.0), canonical(value.round_ties_even() + 0.0));
        }
    }
}
