//! Writing the cache against the `half` crate and plain arithmetic, on every instruction set.

mod attention_support;

use attention_support::{Numbers, instruction_sets, read};
use half::f16;
use proptest::prelude::*;
use proptest::sample::select;
use stablemate_kernels::{Activations, CacheElement, CacheShape, Kernels};

const ELEMENTS: [CacheElement; 3] = [CacheElement::F32, CacheElement::F16, CacheElement::Q8];

/// The bytes of a row; `None` where rounding may go either way.
fn row(element: CacheElement, values: &[f32]) -> Vec<Option<u8>> {
    let all = |bytes: &[u8]| bytes.iter().copied().map(Some).collect::<Vec<_>>();
    match element {
        CacheElement::F32 => values.iter().flat_map(|x| all(&x.to_le_bytes())).collect(),
        CacheElement::F16 => {
            values.iter().flat_map(|x| all(&f16::from_f32(*x).to_le_bytes())).collect()
        }
        CacheElement::Q8 => {
            let finite = values.iter().all(|x| x.is_finite());
            let largest = values.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            let scale = if finite { largest / 127.0 } else { f32::NAN };
            let quantized = |x: &f32| match scale > 0.0 {
                true => Some((x / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8),
                false => Some(0),
            };
            values.iter().map(quantized).chain(all(&scale.to_le_bytes())).collect()
        }
    }
}

/// Values of all magnitudes.
fn update(count: usize, special: bool, numbers: &mut Numbers) -> Vec<f32> {
    let value = |numbers: &mut Numbers| match numbers.below(12) {
        0 if special => {
            [f32::INFINITY, f32::NEG_INFINITY, 7e4, -65520.0, 65519.0][numbers.below(5)]
        }
        1 => 0.0,
        2 => f32::from_bits(numbers.next() as u32 % 0x0200_0000),
        3 => numbers.float() * 6e-5,
        4 => f16::from_bits(numbers.below(0x7BFF) as u16).to_f32() * 1.000_488_3,
        _ => 3.0 * numbers.float(),
    };
    (0..count).map(|_| value(numbers)).collect()
}

/// Whether the pool is what writing the update to it one after the other makes of it.
fn check(shape: CacheShape, tokens: usize, special: bool, seed: u64) {
    let numbers = &mut Numbers(seed);
    let CacheShape { element, heads, width, block_length } = shape;
    let blocks = 1 + numbers.below(6);
    let bytes = element.row_bytes(width).expect("small");
    let slot = |numbers: &mut Numbers| {
        [numbers.below(blocks + 2) as i32 - 1, numbers.below(block_length + 2) as i32 - 1]
    };
    let slots: Vec<i32> = (0..tokens).flat_map(|_| slot(numbers)).collect();
    let update = update(tokens * heads * width, special, numbers);
    let before: Vec<u8> =
        (0..blocks * block_length * heads * bytes).map(|_| numbers.next() as u8).collect();
    let mut expected: Vec<Option<u8>> = before.iter().copied().map(Some).collect();
    for (slot, values) in slots.chunks_exact(2).zip(update.chunks_exact(heads * width)) {
        let [block, offset] = [slot[0] as usize, slot[1] as usize];
        if block >= blocks || offset >= block_length {
            continue;
        }
        for (head, values) in values.chunks_exact(width).enumerate() {
            let start = ((block * block_length + offset) * heads + head) * bytes;
            expected[start..start + bytes].copy_from_slice(&row(element, values));
        }
    }
    for isa in instruction_sets() {
        for threads in [1, 3] {
            let kernels = Kernels::new(isa, threads, Activations::Exact);
            let mut pool = before.clone();
            kernels.write_cache(shape, &mut pool, &slots, &update).expect("sizes fit");
            let same = pool.iter().zip(&expected).all(|(found, e)| e.is_none_or(|e| e == *found));
            assert!(same, "{isa}, {threads} threads: {shape:?}, {tokens} tokens, seed {seed}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn equals_the_reference(
        element in select(ELEMENTS.to_vec()),
        heads in 1usize..4,
        width in select(vec![1, 4, 15, 16, 17, 20, 64, 80]),
        block_length in 1usize..17,
        tokens in 0usize..30,
        special in any::<bool>(),
        seed in any::<u64>(),
    ) {
        check(CacheShape { element, heads, width, block_length }, tokens, special, seed);
    }
}

#[test]
fn many_tokens_on_threads() {
    for element in ELEMENTS {
        check(CacheShape { element, heads: 3, width: 64, block_length: 16 }, 300, true, 5);
    }
}

#[test]
fn every_f16_comes_back() {
    let values: Vec<f32> = (0..=u16::MAX).map(|bits| f16::from_bits(bits).to_f32()).collect();
    let shape = CacheShape { element: CacheElement::F16, heads: 1, width: 256, block_length: 256 };
    let slots: Vec<i32> = (0..256).flat_map(|offset| [0, offset]).collect();
    for isa in instruction_sets() {
        let mut pool = vec![0; 2 << 16];
        let kernels = Kernels::new(isa, 1, Activations::Exact);
        kernels.write_cache(shape, &mut pool, &slots, &values).expect("sizes fit");
        for (bits, found) in pool.chunks_exact(2).enumerate() {
            let (found, expected) =
                (f16::from_le_bytes([found[0], found[1]]), f16::from_bits(bits as u16));
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
        }
    }
}

#[test]
fn q8_is_within_half_a_step() {
    let numbers = &mut Numbers(3);
    let shape = CacheShape { element: CacheElement::Q8, heads: 1, width: 100, block_length: 1 };
    for isa in instruction_sets() {
        let kernels = Kernels::new(isa, 1, Activations::Exact);
        for magnitude in [1e-30f32, 1.0, 1e30] {
            let values: Vec<f32> = (0..100).map(|_| magnitude * numbers.float()).collect();
            let mut pool = vec![0; 104];
            kernels.write_cache(shape, &mut pool, &[0, 0], &values).expect("sizes fit");
            let bound = 0.501 * f64::from(magnitude) / 127.0;
            for (found, &value) in read(CacheElement::Q8, 100, 0, &pool).iter().zip(&values) {
                assert!((found - f64::from(value)).abs() <= bound, "{found} {value}");
            }
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let kernels = Kernels::new(stablemate_kernels::Isa::best(), 1, Activations::Exact);
    let good = CacheShape { element: CacheElement::F16, heads: 2, width: 8, block_length: 4 };
    let refused = |shape: CacheShape, pool: usize, slots: usize, update: usize| {
        let result =
            kernels.write_cache(shape, &mut vec![0; pool], &vec![0; slots], &vec![0.0; update]);
        assert_eq!(result.expect_err("does not fit").kernel, "write_cache");
    };
    refused(good, 129, 2, 16);
    refused(good, 128, 3, 16);
    refused(good, 128, 4, 16);
    refused(good, 128, 2, 17);
    for huge in [0, usize::MAX, usize::MAX / 2, usize::MAX / 128] {
        refused(CacheShape { heads: huge, ..good }, 128, 2, 16);
        refused(CacheShape { width: huge, ..good }, 128, 2, 16);
        refused(CacheShape { block_length: huge, ..good }, 128, 2, 16);
    }
}
