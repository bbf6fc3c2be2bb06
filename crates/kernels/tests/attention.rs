//! Attention against f64, on every instruction set of this machine.

mod attention_support;

use std::sync::LazyLock;

use attention_support::{Shape, Step, instruction_sets};
use proptest::prelude::*;
use proptest::sample::select;
use stablemate_kernels::{Activations, Attention, CacheElement, Kernels};

/// For every instruction set: kernels on one thread and on three.
static KERNELS: LazyLock<Vec<[Kernels; 2]>> = LazyLock::new(|| {
    instruction_sets()
        .map(|isa| [1, 3].map(|threads| Kernels::new(isa, threads, Activations::Exact)))
        .collect()
});

const ELEMENTS: [CacheElement; 3] = [CacheElement::F32, CacheElement::F16, CacheElement::Q8];

prop_compose! {
    fn shapes()(
        seed in any::<u64>(),
        kv_heads in 1usize..4,
        group in select(vec![1, 2, 3, 4, 5, 7, 8, 33]),
        key_width in select(vec![1, 4, 8, 16, 20, 33, 64, 80]),
        value_width in select(vec![1, 4, 8, 16, 20, 48, 64, 112]),
        window in select(vec![0, 0, 1, 5, 40, 256, 300]),
        softcap in select(vec![0.0, 0.0, 0.5, 20.0]),
        element in select(ELEMENTS.to_vec()),
        sinks in any::<bool>(),
        sequences in 1usize..4,
        block_length in select(vec![1, 4, 7, 16]),
        context in prop_oneof![4 => 1usize..60, 1 => 200usize..900],
        tokens in 0usize..40,
        sharpness in select(vec![0.2f32, 1.0, 4.0]),
    ) -> Shape {
        // Scores are of the size of the sharpness, but for outliers.
        let scale = sharpness / (key_width as f32).sqrt();
        // Long contexts with many rows would take the reference too long.
        let (group, tokens) = if context < 60 { (group, tokens) } else { (group.min(4), tokens / 3) };
        Shape {
            seed,
            attention: Attention {
                scale, window, softcap, kv_heads, group, key_width, value_width, element,
            },
            sinks,
            sequences,
            block_length,
            context,
            tokens,
        }
    }
}

/// Panics unless all results are right.
fn check(shape: &Shape) {
    let step = Step::new(shape);
    let reference = step.reference();
    for [one, three] in KERNELS.iter() {
        let out = step.run(one);
        for (index, (&found, &expected)) in out.iter().zip(&reference).enumerate() {
            let token = index / step.token_width();
            assert!(
                (f64::from(found) - expected).abs() < 3e-5,
                "{}: token {token}, {index}: {found}, {expected} expected: {shape:?}",
                one.isa()
            );
            assert!(step.positions[token] >= 0 || found == 0.0, "padding is {found}");
        }
        assert_eq!(bits(&out), bits(&step.run(three)), "{}: threads: {shape:?}", one.isa());
        for (token, together) in out.chunks_exact(step.token_width()).enumerate().step_by(3) {
            for kernels in [one, three] {
                let alone = step.alone(token).run(kernels);
                assert_eq!(bits(&alone), bits(together), "{}: token {token}: {shape:?}", one.isa());
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn equals_the_reference_whatever_is_in_the_step(shape in shapes()) {
        check(&shape);
    }
}

/// Llama-3.2-1B's heads.
fn ordinary(element: CacheElement) -> Shape {
    let attention = Attention {
        scale: 0.125,
        window: 0,
        softcap: 0.0,
        kv_heads: 2,
        group: 4,
        key_width: 64,
        value_width: 64,
        element,
    };
    let (context, block_length) = (1100, 16);
    Shape { seed: 7, attention, sinks: false, sequences: 2, block_length, context, tokens: 40 }
}

#[test]
fn long_contexts_are_cut() {
    for element in ELEMENTS {
        check(&ordinary(element));
        for group in [1, 2, 8] {
            let attention =
                Attention { kv_heads: 1, group, window: 700, ..ordinary(element).attention };
            check(&Shape { attention, tokens: 3, ..ordinary(element) });
        }
    }
}

/// Its partial result is the last that there is: behind it, nothing may be read (which the address sanitizer sees where the memory is as
/// large as it must be, that of a new thread).
#[test]
fn the_last_token_of_a_cut_run_sees_its_last_chunk_only() {
    let mut shape = Shape { sequences: 1, context: 727, ..ordinary(CacheElement::F16) };
    shape.attention = Attention { kv_heads: 1, group: 1, window: 200, ..shape.attention };
    let mut step = Step::new(&Shape { tokens: 4000, ..shape });
    // The first sees slots of two chunks.
    step.positions = (695..727).collect();
    step.sequences = vec![0; 32];
    step.query.truncate(32 * 64);
    let reference = step.reference();
    for [one, three] in KERNELS.iter() {
        for kernels in [one, three] {
            let out = std::thread::scope(|scope| scope.spawn(|| step.run(kernels)).join()).unwrap();
            for (index, (&found, &expected)) in out.iter().zip(&reference).enumerate() {
                let close = (f64::from(found) - expected).abs() < 3e-5;
                assert!(close, "{}: {index}: {found}, {expected} expected", kernels.isa());
            }
        }
    }
}

#[test]
fn wide_heads() {
    for (key_width, value_width) in [(256, 256), (192, 128), (96, 96), (80, 80), (576, 512)] {
        let mut shape = ordinary(CacheElement::F16);
        shape.attention = Attention { key_width, value_width, scale: 0.06, ..shape.attention };
        check(&Shape { context: 300, tokens: 12, ..shape });
    }
}

#[test]
fn what_is_not_a_number_stays_with_the_tokens_that_see_it() {
    for element in ELEMENTS {
        for group in [1, 3, 4] {
            let mut shape = Shape { sequences: 1, context: 40, tokens: 1, ..ordinary(element) };
            shape.attention.group = group;
            let mut step = Step::new(&shape);
            step.positions = (0..40).collect();
            step.sequences = vec![0; 40];
            let template = Step::new(&Shape { tokens: 4000, ..shape.clone() });
            (step.keys, step.values) = (template.keys, template.values);
            step.block_tables = template.block_tables;
            step.pages = template.pages;
            let rows = 40 * 2 * group;
            step.query = (0..rows * 64).map(|i| (i % 13) as f32 / 13.0).collect();
            poison(&mut step, 20);
            for [one, _] in KERNELS.iter() {
                let out = step.run(one);
                for (token, out) in out.chunks_exact(step.token_width()).enumerate() {
                    let numbers = out.iter().filter(|value| value.is_finite()).count();
                    let expected = if token < 20 { out.len() } else { 0 };
                    assert_eq!(numbers, expected, "{}: token {token}", one.isa());
                }
            }
        }
    }
}

/// Makes the values of the slot at a position NaN.
fn poison(step: &mut Step, position: i32) {
    let token = step.positions.iter().position(|&p| p == position).expect("it is there");
    let slot = step.visible(token).last().expect("it sees itself");
    let Attention { kv_heads, value_width, element, .. } = step.attention;
    let bytes = kv_heads * element.row_bytes(value_width).expect("small");
    step.values[slot * bytes..][..bytes].fill(0xFF);
}

/// What must be refused, for what reason.
fn refused(reason: &str, change: impl Fn(&mut Step)) {
    let mut step = Step::new(&Shape { context: 30, tokens: 8, ..ordinary(CacheElement::F16) });
    step.positions = vec![3; 8];
    change(&mut step);
    let mut out = vec![0.0; 8 * 2 * 4 * 64];
    let kernels = &KERNELS[0][1];
    let (operands, addresses) = (step.operands(), step.addresses());
    let result = kernels.attention(&step.attention, &operands, &addresses, &mut out);
    let error = result.expect_err(reason).to_string();
    assert!(error.contains(reason), "{error}");
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    const HUGE: usize = usize::MAX / 2;
    refused("query has", |step| step.query.truncate(100));
    refused("sequences has", |step| step.sequences.truncate(1));
    refused("block_tables has", |step| step.pages += 1);
    refused("block_tables has", |step| step.sequences_count = HUGE);
    refused("bytes of keys", |step| step.keys.truncate(1001));
    refused("blocks of keys, but", |step| step.keys.truncate(2 * 16 * 64 * 2));
    refused("bytes of keys", |step| step.attention.element = CacheElement::Q8);
    refused("sinks has", |step| step.sinks = Some(vec![0.0; 3]));
    refused("out has", |step| step.attention.value_width = 32);
    refused("at least 1", |step| step.attention.group = 0);
    refused("at least 1", |step| step.block_length = 0);
    refused("bytes of keys", |step| step.block_length = HUGE);
    refused("query has", |step| step.attention.kv_heads = HUGE);
    refused("query has", |step| step.attention.key_width = HUGE);
    refused("out has", |step| step.attention.value_width = HUGE);
    refused("finite scale", |step| step.attention.scale = f32::NAN);
    refused("softcap >= 0", |step| step.attention.softcap = -1.0);
}

#[test]
fn addresses_that_do_not_exist_are_refused() {
    refused("token 1 at position 9999", |step| step.positions[1] = 9999);
    refused("token 1 at position 2147483647", |step| step.positions[1] = i32::MAX);
    refused("token 1 at position -2", |step| step.positions[1] = -2);
    refused("sequence 2", |step| step.sequences[1] = 2);
    refused("sequence -1", |step| step.sequences[1] = -1);
    refused("needs block 1000", |step| step.block_tables.fill(1000));
    refused("needs block -1", |step| step.block_tables.fill(-1));
    refused("needs block", |step| {
        step.keys.clear();
        step.values.clear();
    });
}

#[test]
fn blocks_outside_of_the_window_may_be_gone() {
    let mut shape = ordinary(CacheElement::F32);
    shape.attention.window = 20;
    let mut step = Step::new(&Shape { sequences: 1, context: 400, tokens: 1, ..shape });
    step.positions[0] = step.positions[0].max(0);
    let expected = step.run(&KERNELS[0][0]);
    let gone = (step.positions[0] + 1 - 20).max(0) as usize / 16;
    step.block_tables[..gone].fill(i32::MAX);
    assert_eq!(bits(&step.run(&KERNELS[0][0])), bits(&expected));
}

#[test]
fn a_step_of_padding_and_a_step_of_nothing() {
    let mut step = Step::new(&Shape { tokens: 5, context: 20, ..ordinary(CacheElement::F16) });
    step.positions.fill(-1);
    step.sequences.fill(-7);
    for [one, three] in KERNELS.iter() {
        assert!(step.run(one).iter().all(|&value| value.to_bits() == 0));
        assert!(step.run(three).iter().all(|&value| value.to_bits() == 0));
    }
    let nothing = Step::new(&Shape { tokens: 0, ..ordinary(CacheElement::F16) });
    assert_eq!(nothing.run(&KERNELS[0][1]), Vec::<f32>::new());
}

#[test]
fn huge_scores_and_none() {
    let mut shape = ordinary(CacheElement::F32);
    shape.attention.scale = 1e30;
    let step = Step::new(&Shape { tokens: 6, context: 300, ..shape.clone() });
    for [one, _] in KERNELS.iter() {
        assert!(step.run(one).iter().all(|value| value.is_finite()));
    }
    shape.attention.scale = 0.0;
    check(&Shape { tokens: 6, context: 300, ..shape });
}
