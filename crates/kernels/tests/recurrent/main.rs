//! The kernels with a state per sequence against f64, on every instruction set of this machine.

mod support;

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;
use stablemate_kernels::{Activations, Convolution, DeltaRule, Isa, Kernels, Scan, StateAddresses};
use support::{Numbers, Results, Sequences, Shape, instruction_sets};

/// For every instruction set: kernels on one thread and on three.
static KERNELS: LazyLock<Vec<[Kernels; 2]>> = LazyLock::new(|| {
    instruction_sets()
        .map(|isa| [1, 3].map(|threads| Kernels::new(isa, threads, Activations::Exact)))
        .collect()
});

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Panics unless all results are right, with equal bits for all cuts into steps.
fn check(shape: Shape, lengths: &[usize], seed: u64) {
    let numbers = &mut Numbers(seed);
    let sequences = Sequences::new(shape, lengths, numbers);
    let steps = sequences.mixed(numbers);
    let reference = sequences.reference();
    for [one, three] in KERNELS.iter() {
        let isa = one.isa();
        let mixed = sequences.run(one, &steps);
        for (sequence, (out, state)) in reference.iter().enumerate() {
            if out.is_empty() {
                continue;
            }
            for (position, (found, expected)) in mixed.out[sequence].iter().zip(out).enumerate() {
                near(found, expected, &format!("{isa}: {shape:?}: {sequence} at {position}"));
            }
            let found = sequences.state(&mixed.pool, sequence);
            near(found, state, &format!("{isa}: {shape:?}: state of {sequence}"));
        }
        equal(&sequences, &mixed, &sequences.run(three, &steps), 0..lengths.len(), isa);
        for (sequence, length) in lengths.iter().enumerate() {
            // Whole, token by token, and in chunks of the two code paths of the delta rule.
            for chunk in [(*length).max(1), 1, 5] {
                let alone = sequences.run(three, &sequences.alone(sequence, chunk));
                equal(&sequences, &mixed, &alone, sequence..sequence + 1, isa);
            }
        }
    }
}

fn near(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error < 1e-5 * (1.0 + expected.abs()), "{what}[{n}]: {found}, not {expected}");
    }
}

/// Panics unless both have equal bits for the sequences `which`.
fn equal(
    sequences: &Sequences,
    found: &Results,
    expected: &Results,
    which: std::ops::Range<usize>,
    isa: Isa,
) {
    for sequence in which {
        let what = format!("{isa}: {:?}: sequence {sequence}", sequences.shape);
        for (found, expected) in found.out[sequence].iter().zip(&expected.out[sequence]) {
            assert_eq!(bits(found), bits(expected), "{what}");
        }
        assert_eq!(found.out[sequence].len(), expected.out[sequence].len(), "{what}");
        if !found.out[sequence].is_empty() {
            let state = |results: &Results| bits(sequences.state(&results.pool, sequence));
            assert_eq!(state(found), state(expected), "{what}: state");
        }
    }
}

fn lengths() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 0usize..12, 1 => 12usize..50], 1..4)
}

prop_compose! {
    fn convolutions()(
        channels in prop_oneof![select(vec![1, 15, 16, 17, 40, 64]), 200usize..600],
        taps in 2usize..8,
    ) -> Shape {
        Shape::Convolve(Convolution { channels, taps })
    }
}

prop_compose! {
    fn rules()(
        key_heads in 1usize..4,
        group in 1usize..4,
        key_width in select(vec![1, 2, 7, 16, 24, 33, 64]),
        value_width in select(vec![1, 5, 16, 17, 31, 32, 48, 50, 64]),
        per_channel in any::<bool>(),
    ) -> Shape {
        Shape::DeltaRule(DeltaRule { key_heads, group, key_width, value_width, per_channel })
    }
}

prop_compose! {
    fn scans()(
        (heads, groups) in select(vec![(1, 1), (2, 1), (4, 2), (6, 3), (5, 5), (24, 1)]),
        width in select(vec![1, 1, 3, 8, 16, 20, 64]),
        states in select(vec![1, 8, 15, 16, 17, 40, 64]),
        per_state in any::<bool>(),
    ) -> Shape {
        Shape::Scan(Scan { heads, width, groups, states, per_state })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn convolutions_equal_the_reference_however_cut(
        shape in convolutions(), lengths in lengths(), seed in any::<u64>(),
    ) {
        check(shape, &lengths, seed);
    }

    #[test]
    fn the_delta_rule_equals_the_reference_however_cut(
        shape in rules(), lengths in lengths(), seed in any::<u64>(),
    ) {
        check(shape, &lengths, seed);
    }

    #[test]
    fn scans_equal_the_reference_however_cut(
        shape in scans(), lengths in lengths(), seed in any::<u64>(),
    ) {
        check(shape, &lengths, seed);
    }
}

const RULE: DeltaRule =
    DeltaRule { key_heads: 2, group: 1, key_width: 128, value_width: 128, per_channel: false };
const MAMBA_2: Scan = Scan { heads: 3, width: 64, groups: 1, states: 128, per_state: false };
const MAMBA_1: Scan = Scan { heads: 200, width: 1, groups: 1, states: 16, per_state: true };

/// Sizes of models: Qwen3.5's heads, Kimi Linear's decays, Mamba's states.
#[test]
fn ordinary_sizes() {
    let per_channel = DeltaRule { per_channel: true, ..RULE };
    let group = DeltaRule { key_heads: 1, group: 2, ..RULE };
    let shapes = [
        Shape::Convolve(Convolution { channels: 1000, taps: 4 }),
        Shape::DeltaRule(RULE),
        Shape::DeltaRule(per_channel),
        Shape::DeltaRule(group),
        Shape::Scan(MAMBA_2),
        Shape::Scan(MAMBA_1),
    ];
    for shape in shapes {
        check(shape, &[70, 1, 9], 5);
    }
}

#[test]
fn what_is_not_a_number_stays_in_its_sequence() {
    for shape in [
        Shape::Convolve(Convolution { channels: 20, taps: 3 }),
        Shape::DeltaRule(DeltaRule { key_width: 9, value_width: 20, ..RULE }),
        Shape::Scan(Scan { width: 5, states: 9, ..MAMBA_2 }),
    ] {
        let numbers = &mut Numbers(3);
        let mut sequences = Sequences::new(shape, &[20, 20], numbers);
        for operand in &mut sequences.tokens[0][10] {
            operand.fill(f32::NAN);
        }
        let steps = sequences.mixed(numbers);
        for [one, _] in KERNELS.iter() {
            let results = sequences.run(one, &steps);
            for (sequence, out) in results.out.iter().enumerate() {
                for (position, out) in out.iter().enumerate() {
                    let lasting = !matches!(shape, Shape::Convolve(_)) || position < 13;
                    let lost = sequence == 0 && position >= 10 && lasting;
                    let what = format!("{}: {shape:?}: {sequence} at {position}", one.isa());
                    assert!(out.iter().all(|x| x.is_finite() != lost), "{what}");
                }
            }
        }
    }
}

/// Panics unless the changed call is refused with `reason`.
fn refused(shape: Shape, reason: &str, change: impl Fn(&mut Call)) {
    let numbers = &mut Numbers(9);
    let sequences = Sequences::new(shape, &[2], numbers);
    let tokens = &sequences.tokens[0];
    let both = |operand: usize| [&tokens[0][operand][..], &tokens[1][operand]].concat();
    let mut call = Call {
        shape,
        pool: vec![0.0; 4 * shape.state()],
        operands: (0..tokens[0].len()).map(both).collect(),
        shared: sequences.shared.clone(),
        positions: vec![3, 4],
        sequences: vec![0, 0],
        slots: vec![2],
        out: vec![0.0; 2 * shape.width()],
    };
    let run = |call: &mut Call| {
        let addresses = StateAddresses {
            positions: &call.positions,
            sequences: &call.sequences,
            slots: &call.slots,
        };
        let (pool, operands, out) = (&mut call.pool, &call.operands, &mut call.out);
        call.shape.call(&KERNELS[0][0], pool, operands, &call.shared, &addresses, out)
    };
    assert_eq!(run(&mut call), Ok(()));
    change(&mut call);
    let before = bits(&call.pool);
    let error = run(&mut call).expect_err(reason).to_string();
    assert!(error.contains(reason), "{error}");
    assert_eq!(bits(&call.pool), before, "nothing is written");
}

struct Call {
    shape: Shape,
    pool: Vec<f32>,
    operands: Vec<Vec<f32>>,
    shared: Vec<f32>,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    slots: Vec<i32>,
    out: Vec<f32>,
}

#[test]
fn what_does_not_fit_is_refused() {
    let convolution = Convolution { channels: 20, taps: 3 };
    let names: [(Shape, &[&str]); 3] = [
        (Shape::Convolve(convolution), &["x"]),
        (Shape::DeltaRule(RULE), &["query", "key", "value", "decay", "beta"]),
        (Shape::Scan(MAMBA_2), &["x", "dt", "b", "c"]),
    ];
    for (shape, names) in names {
        for (operand, name) in names.iter().enumerate() {
            refused(shape, &format!("{name} has "), |call| {
                call.operands[operand].pop();
            });
        }
        refused(shape, "out has ", |call| call.out.push(0.0));
        refused(shape, "a pool of ", |call| call.pool.push(0.0));
        refused(shape, "token 0 is at position -2", |call| call.positions[0] = -2);
        refused(shape, "token 0 is of sequence 1", |call| call.sequences = vec![1, 1]);
        refused(shape, "the state slot 0, 1 or more", |call| call.slots[0] = 0);
        refused(shape, "the state slot 4, 1 or more and below 4", |call| call.slots[0] = 4);
        refused(shape, "tokens 0 and 1 begin runs in the state slot 2", |call| {
            call.positions[1] = 6;
        });
        refused(shape, "1 sequences for 2 positions", |call| call.sequences.truncate(1));
    }
    let of = |convolution| move |call: &mut Call| call.shape = Shape::Convolve(convolution);
    let shape = Shape::Convolve(convolution);
    refused(shape, "weight has ", |call| call.shared.truncate(59));
    refused(shape, "at least 1", of(Convolution { channels: 0, taps: 3 }));
    refused(shape, "1 tap, at least 2", of(Convolution { channels: 20, taps: 1 }));
    refused(shape, "weight has ", of(Convolution { channels: 20, taps: usize::MAX }));
    let of = |rule| move |call: &mut Call| call.shape = Shape::DeltaRule(rule);
    let shape = Shape::DeltaRule(RULE);
    refused(shape, "at least 1", of(DeltaRule { group: 0, ..RULE }));
    refused(shape, "decay has ", of(DeltaRule { per_channel: true, ..RULE }));
    refused(shape, "value has ", of(DeltaRule { value_width: usize::MAX, ..RULE }));
    let of = |scan| move |call: &mut Call| call.shape = Shape::Scan(scan);
    let shape = Shape::Scan(MAMBA_2);
    refused(shape, "a has ", |call| call.shared.push(0.0));
    refused(shape, "at least 1", of(Scan { states: 0, ..MAMBA_2 }));
    refused(shape, "3 heads in 2 groups, a multiple expected", of(Scan { groups: 2, ..MAMBA_2 }));
    refused(shape, "a has ", of(Scan { per_state: true, ..MAMBA_2 }));
    refused(shape, "b has ", of(Scan { states: usize::MAX, ..MAMBA_2 }));
}

#[test]
fn a_step_of_padding_and_a_step_of_nothing() {
    for shape in [Shape::DeltaRule(RULE), Shape::Scan(MAMBA_1)] {
        let sequences = Sequences::new(shape, &[3], &mut Numbers(2));
        for [one, three] in KERNELS.iter() {
            for kernels in [one, three] {
                let steps = [vec![None; 5], vec![], vec![None], vec![Some((0, 0))], vec![]];
                let found = sequences.run(kernels, &steps);
                assert!(found.out[0][0].iter().all(|x| x.is_finite()));
            }
        }
    }
}
