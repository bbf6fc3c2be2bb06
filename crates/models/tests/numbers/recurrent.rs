//! The kernels with a state per sequence, against plain loops over whole sequences in f64.

use crate::evaluate::{Random, assert_near, floats, integers, tensors};
use crate::interpreter::Data;
use stablemate_graph::{Dimension, ElementType, Label, TensorType, Value};
use stablemate_models::dimensions::{
    GROUP, HEAD, HEAD_DIM, KV_HEAD, SEQUENCE, STATE_SLOT, TAIL, TAP, TOKEN, VALUE_DIM,
};
use stablemate_models::kernels::{self, DeltaRule, Scan, StateAddresses};

const CHANNEL: Label = Label("Channel");
const STATE: Label = Label("State");
/// `N`.
const SLOTS: usize = 6;
/// The slot of each sequence. The last one comes when the first has ended.
const SLOT: [i32; 4] = [3, 1, 5, 3];
/// Tokens of a sequence.
const LENGTH: usize = 14;

/// One step: the sequence of each row, and the tokens by row and position.
struct Step {
    rows: &'static [Option<usize>],
    tokens: &'static [Option<(usize, usize)>],
}

/// Prompts whole and in chunks of all lengths, single tokens, mixtures, padding before, between and
/// behind.
const STEPS: [Step; 7] = [
    Step {
        rows: &[Some(0), Some(1)],
        tokens: &[Some((0, 0)), Some((0, 1)), Some((0, 2)), Some((1, 0)), None],
    },
    Step { rows: &[Some(0)], tokens: &[Some((0, 3))] },
    // The rows are others than before, one has no token, one no sequence.
    Step {
        rows: &[Some(1), None, Some(2), Some(0)],
        tokens: &[None, Some((3, 4)), Some((3, 5)), None, Some((0, 1)), None],
    },
    Step {
        rows: &[Some(2), Some(0), Some(1)],
        tokens: &[
            Some((0, 0)),
            Some((1, 6)),
            Some((2, 2)),
            Some((2, 3)),
            Some((2, 4)),
            Some((2, 5)),
        ],
    },
    // The slot still holds the state of the first sequence.
    Step { rows: &[Some(3)], tokens: &[Some((0, 0))] },
    // The padding names row 0, two places before a token of row 0 at position 1.
    Step {
        rows: &[Some(2), Some(3)],
        tokens: &[None, Some((1, 1)), Some((0, 1)), Some((0, 2)), Some((0, 3)), Some((0, 4))],
    },
    Step { rows: &[None], tokens: &[None, None] },
];

/// An operand: its dimensions without `T`, and a map from [-1, 1) to its values.
type Input = (Vec<Dimension>, fn(f32) -> f32);

/// A kernel under test.
struct Case {
    name: &'static str,
    state: Vec<Dimension>,
    /// Those of each token, then those that all tokens share.
    inputs: [Vec<Input>; 2],
    build: for<'b> fn(Value<'b>, &[Value<'b>], StateAddresses<'b>) -> (Value<'b>, Value<'b>),
    /// One token: from the state before and the inputs to the result and the state after.
    reference: fn(&mut [f64], &[&[f32]]) -> Vec<f64>,
}

fn any(x: f32) -> f32 {
    x
}

fn negative(x: f32) -> f32 {
    -x.abs()
}

fn positive(x: f32) -> f32 {
    x.abs()
}

fn product(dimensions: &[Dimension]) -> usize {
    dimensions.iter().map(|dimension| dimension.size).product()
}

/// All values of an input: of each sequence and position, or only once.
fn values(random: &mut Random, (dimensions, range): &Input, count: usize) -> Vec<f32> {
    (0..count * product(dimensions)).map(|_| range(random.float())).collect()
}

/// Runs all steps and compares the results of all tokens, and the states at the end.
fn check(case: &Case) {
    let random = &mut Random(11);
    let [of_tokens, shared] = &case.inputs;
    let count = SLOT.len() * LENGTH;
    let of_tokens: Vec<(&Input, Vec<f32>)> =
        of_tokens.iter().map(|input| (input, values(random, input, count))).collect();
    let shared: Vec<(&Input, Vec<f32>)> =
        shared.iter().map(|input| (input, values(random, input, 1))).collect();
    let row = |(input, values): &(&Input, Vec<f32>), sequence: usize, position: usize| {
        let width = product(&input.0);
        values[(sequence * LENGTH + position) * width..][..width].to_vec()
    };
    let elements = product(&case.state);
    let mut pool = vec![-1000.0; SLOTS * elements];
    // The state of each sequence so far, and its number of tokens.
    let mut states = vec![(vec![0.0; elements], 0); SLOT.len()];
    for (number, step) in STEPS.iter().enumerate() {
        let mut expected = Vec::new();
        for (row_number, position) in step.tokens.iter().flatten() {
            let sequence = step.rows[*row_number].unwrap();
            let (state, length) = &mut states[sequence];
            assert_eq!(*position, *length, "{}: tokens in order", case.name);
            *length += 1;
            let own: Vec<Vec<f32>> =
                of_tokens.iter().map(|input| row(input, sequence, *position)).collect();
            let inputs: Vec<&[f32]> = own
                .iter()
                .chain(shared.iter().map(|(_, values)| values))
                .map(Vec::as_slice)
                .collect();
            expected.push((case.reference)(state, &inputs));
        }
        let input = |input: &(&Input, Vec<f32>)| {
            let width = product(&input.0.0);
            let of = |token: &Option<(usize, usize)>| match token {
                Some((row_number, position)) => {
                    row(input, step.rows[*row_number].unwrap(), *position)
                }
                None => vec![7.0; width],
            };
            let dimensions = [&[TOKEN.of(step.tokens.len())], &input.0.0[..]].concat();
            let ty = TensorType::new(ElementType::F32, dimensions);
            (ty, Data::Float(step.tokens.iter().flat_map(of).collect()))
        };
        let tokens = [TOKEN.of(step.tokens.len())];
        let of_token = |of: fn(&(usize, usize)) -> i32, padding: i32| {
            let of = |token: &Option<_>| token.as_ref().map_or(padding, of);
            integers(&tokens, step.tokens.iter().map(of).collect())
        };
        let slots = step.rows.iter().map(|row| row.map_or(0, |sequence| SLOT[sequence]));
        let pool_type = [&[STATE_SLOT.of(SLOTS)], &case.state[..]].concat();
        let mut arguments = vec![
            (TensorType::new(ElementType::F32, pool_type), Data::Float(pool)),
            of_token(|(_, position)| *position as i32, -1),
            of_token(|(row, _)| *row as i32, 0),
            integers(&[SEQUENCE.of(step.rows.len())], slots.collect()),
        ];
        arguments.extend(of_tokens.iter().map(input));
        let shared = shared.iter().map(|(input, values)| {
            (TensorType::new(ElementType::F32, &input.0[..]), Data::Float(values.clone()))
        });
        arguments.extend(shared);
        let results = tensors(arguments, |_, x| {
            let addresses = StateAddresses { positions: x[1], sequences: x[2], slots: x[3] };
            let (result, pool) = (case.build)(x[0], &x[4..], addresses);
            vec![result, pool]
        });
        let width = results[0].floats().len() / step.tokens.len();
        let live = step.tokens.iter().zip(results[0].floats().chunks(width));
        let live = live.filter(|(token, _)| token.is_some());
        for ((token, found), expected) in live.zip(&expected) {
            let what = format!("{}: step {number}, {token:?}", case.name);
            assert_near(&what, found, expected, 4e-6);
        }
        let finite = results[0].floats().iter().all(|x| x.is_finite());
        assert!(finite, "{}: padding of step {number}", case.name);
        pool = floats(&results[1].data).to_vec();
        let own = |row: &Option<usize>| row.map(|sequence| (sequence, &states[sequence]));
        for (sequence, (state, length)) in step.rows.iter().filter_map(own) {
            if *length > 0 {
                let found = &pool[SLOT[sequence] as usize * elements..][..elements];
                assert_near(&format!("{}: state after {number}", case.name), found, state, 4e-6);
            }
        }
    }
    for slot in [2, 4] {
        let untouched = pool[slot * elements..][..elements].iter().all(|x| *x == -1000.0);
        assert!(untouched, "{}: slot {slot} is nobody's", case.name);
    }
}

fn convolution(taps: usize) -> Case {
    Case {
        name: "convolve",
        state: vec![TAIL.of(taps - 1), CHANNEL.of(3)],
        inputs: [vec![(vec![CHANNEL.of(3)], any)], vec![(vec![CHANNEL.of(3), TAP.of(taps)], any)]],
        build: |pool, x, addresses| kernels::convolve(pool, x[0], x[1], addresses),
        reference: |tail, inputs| {
            let (x, taps) = (inputs[0], inputs[1].len() / 3);
            let all: Vec<f64> =
                tail.iter().copied().chain(x.iter().map(|x| f64::from(*x))).collect();
            tail.copy_from_slice(&all[3..]);
            let weight = |channel: usize, tap: usize| f64::from(inputs[1][channel * taps + tap]);
            let of = |channel: usize| {
                (0..taps).map(|tap| weight(channel, tap) * all[3 * tap + channel]).sum()
            };
            (0..3).map(of).collect()
        },
    }
}

#[test]
fn convolutions_see_the_inputs_of_earlier_steps() {
    for taps in [2, 3, 4, 7] {
        check(&convolution(taps));
    }
}

/// `[K, G, H, E]`.
const HEADS: [usize; 4] = [2, 3, 4, 5];

/// The gated delta rule with the decay of each row of a state.
fn delta_rule(
    state: &mut [f64],
    inputs: &[&[f32]],
    decay: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let [heads, group, width, value_width] = HEADS;
    let [query, key, value, _, beta] = *inputs else { panic!("five inputs") };
    let mut out = Vec::new();
    for head in 0..heads * group {
        let of_key = |x: &[f32], n: usize| f64::from(x[head / group * width + n]);
        let state = &mut state[head * width * value_width..][..width * value_width];
        for m in 0..value_width {
            let at = |n: usize| n * value_width + m;
            (0..width).for_each(|n| state[at(n)] *= decay(head, n).exp());
            let found: f64 = (0..width).map(|n| state[at(n)] * of_key(key, n)).sum();
            let change = f64::from(beta[head]) * (f64::from(value[head * value_width + m]) - found);
            (0..width).for_each(|n| state[at(n)] += of_key(key, n) * change);
            out.push((0..width).map(|n| state[at(n)] * of_key(query, n)).sum());
        }
    }
    out
}

fn delta(per_channel: bool) -> Case {
    let [heads, group, width, value_width] = HEADS;
    let of_value = vec![KV_HEAD.of(heads), GROUP.of(group)];
    let with = |last: Dimension| [&of_value[..], &[last]].concat();
    let of_key = vec![KV_HEAD.of(heads), HEAD_DIM.of(width)];
    let decay = if per_channel { with(HEAD_DIM.of(width)) } else { of_value.clone() };
    let half: fn(f32) -> f32 = |x| 0.5 * x;
    Case {
        name: if per_channel { "delta_rule per channel" } else { "delta_rule" },
        state: [&with(HEAD_DIM.of(width))[..], &[VALUE_DIM.of(value_width)]].concat(),
        inputs: [
            vec![
                (of_key.clone(), any),
                (of_key, half),
                (with(VALUE_DIM.of(value_width)), any),
                (decay, negative),
                (of_value, positive),
            ],
            vec![],
        ],
        build: |pool, x, addresses| {
            let [query, key, value, decay, beta] = *x else { panic!("five inputs") };
            let inputs = DeltaRule { query, key, value, decay, beta };
            kernels::delta_rule(pool, inputs, addresses)
        },
        reference: if per_channel {
            |state, inputs| {
                delta_rule(state, inputs, |head, n| f64::from(inputs[3][head * HEADS[2] + n]))
            }
        } else {
            |state, inputs| delta_rule(state, inputs, |head, _| f64::from(inputs[3][head]))
        },
    }
}

#[test]
fn the_delta_rule_continues_each_sequence() {
    check(&delta(false));
    check(&delta(true));
}

/// `[H, P, G, Z]` of Mamba 2.
const SCAN: [usize; 4] = [6, 3, 2, 5];

/// One token of a scan of `[heads, width, states]`, with the rate of decay of each element and the
/// groups of `b` and `c`.
fn scanned(
    state: &mut [f64],
    inputs: &[&[f32]],
    [heads, width, group, states]: [usize; 4],
    rate: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let [x, dt, b, c, _] = *inputs else { panic!("five inputs") };
    let mut out = Vec::new();
    for row in 0..heads * width {
        let head = row / width;
        let dt = f64::from(dt[head]);
        let of_group = |x: &[f32], z: usize| f64::from(x[head / group * states + z]);
        let state = &mut state[row * states..][..states];
        for (z, s) in state.iter_mut().enumerate() {
            *s = (dt * rate(head, z)).exp() * *s + dt * f64::from(x[row]) * of_group(b, z);
        }
        out.push(state.iter().enumerate().map(|(z, s)| s * of_group(c, z)).sum());
    }
    out
}

#[test]
fn the_scan_of_mamba_2_continues_each_sequence() {
    let [heads, width, groups, states] = SCAN;
    let grouped = vec![GROUP.of(groups), STATE.of(states)];
    check(&Case {
        name: "scan, Mamba 2",
        state: vec![HEAD.of(heads), VALUE_DIM.of(width), STATE.of(states)],
        inputs: [
            vec![
                (vec![HEAD.of(heads), VALUE_DIM.of(width)], any),
                (vec![HEAD.of(heads)], positive),
                (grouped.clone(), any),
                (grouped, any),
            ],
            vec![(vec![HEAD.of(heads)], negative)],
        ],
        build: |pool, x, addresses| {
            let [x, dt, b, c, a] = *x else { panic!("five inputs") };
            kernels::scan(pool, Scan { x, dt, a, b, c }, addresses)
        },
        reference: |state, inputs| {
            let [heads, width, groups, states] = SCAN;
            let sizes = [heads, width, heads / groups, states];
            scanned(state, inputs, sizes, |head, _| f64::from(inputs[4][head]))
        },
    });
}

#[test]
fn the_scan_of_mamba_1_continues_each_sequence() {
    check(&Case {
        name: "scan, Mamba 1",
        state: vec![CHANNEL.of(7), STATE.of(5)],
        inputs: [
            vec![
                (vec![CHANNEL.of(7)], any),
                (vec![CHANNEL.of(7)], positive),
                (vec![STATE.of(5)], any),
                (vec![STATE.of(5)], any),
            ],
            vec![(vec![CHANNEL.of(7), STATE.of(5)], negative)],
        ],
        build: |pool, x, addresses| {
            let [x, dt, b, c, a] = *x else { panic!("five inputs") };
            kernels::scan(pool, Scan { x, dt, a, b, c }, addresses)
        },
        reference: |state, inputs| {
            scanned(state, inputs, [7, 1, 7, 5], |head, z| f64::from(inputs[4][head * 5 + z]))
        },
    });
}
