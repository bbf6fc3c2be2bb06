//! The kernels with a state per sequence, through IREE: native texts against portable ones, which
//! are their specification, and portable texts for every target.

use super::NativeKernels;
use crate::{Folders, LoadOptions};
use stablemate_graph::{Dimension, ElementType, Label, Module, ModuleBuilder, TensorType, Value};
use stablemate_models::dimensions::{
    GROUP, HEAD, HEAD_DIM, KV_HEAD, SEQUENCE, STATE_SLOT, TAIL, TAP, TOKEN, VALUE_DIM,
};
use stablemate_models::kernels::{self, DeltaRule, Scan, StateAddresses};
use stablemate_runtime::{Buffer, CpuOptions, Device, Session, Target, Toolchain, VmfbCache};
use std::path::Path;
use std::sync::Arc;

const CHANNEL: Label = Label("Channel");
const STATE: Label = Label("State");
/// `N`.
const SLOTS: usize = 5;

/// A map from [-1, 1) to an input's values.
type Range = fn(f32) -> f32;
/// A kernel's call: pool, inputs, addresses.
type Build = for<'b> fn(Value<'b>, &[Value<'b>], StateAddresses<'b>) -> (Value<'b>, Value<'b>);

/// A kernel as a function of a module: arguments positions, sequences, slots, pool, inputs; results
/// `y` and the pool.
struct Case {
    name: &'static str,
    pool: Vec<Dimension>,
    inputs: Vec<(Vec<Dimension>, Range)>,
    build: Build,
}

fn any(x: f32) -> f32 {
    x
}

fn small(x: f32) -> f32 {
    0.3 * x
}

fn positive(x: f32) -> f32 {
    x.abs()
}

fn negative(x: f32) -> f32 {
    -x.abs()
}

fn cases(tokens: usize) -> Vec<Case> {
    let [token, head, width, states] =
        [TOKEN.of(tokens), HEAD.of(4), VALUE_DIM.of(20), STATE.of(24)];
    let (group, channel, few) = (GROUP.of(2), CHANNEL.of(37), STATE.of(16));
    let slot = STATE_SLOT.of(SLOTS);
    let mamba: Build = |pool, x, addresses| {
        let inputs = Scan { x: x[0], dt: x[1], a: x[2], b: x[3], c: x[4] };
        kernels::scan(pool, inputs, addresses)
    };
    vec![
        delta_rule(token, false),
        delta_rule(token, true),
        Case {
            name: "mamba_2",
            pool: vec![slot, head, width, states],
            inputs: vec![
                (vec![token, head, width], any),
                (vec![token, head], positive),
                (vec![head], negative),
                (vec![token, group, states], any),
                (vec![token, group, states], any),
            ],
            build: mamba,
        },
        Case {
            name: "mamba_1",
            pool: vec![slot, channel, few],
            inputs: vec![
                (vec![token, channel], any),
                (vec![token, channel], positive),
                (vec![channel, few], negative),
                (vec![token, few], any),
                (vec![token, few], any),
            ],
            build: mamba,
        },
        Case {
            name: "convolve",
            pool: vec![slot, TAIL.of(3), channel],
            inputs: vec![(vec![token, channel], any), (vec![channel, TAP.of(4)], any)],
            build: |pool, x, addresses| kernels::convolve(pool, x[0], x[1], addresses),
        },
    ]
}

fn delta_rule(token: Dimension, per_channel: bool) -> Case {
    let (key, group) = ([KV_HEAD.of(2), HEAD_DIM.of(24)], GROUP.of(3));
    let heads = vec![token, key[0], group];
    let with = |last: Dimension| [&heads[..], &[last]].concat();
    Case {
        name: if per_channel { "delta_rule_per_channel" } else { "delta_rule" },
        pool: vec![STATE_SLOT.of(SLOTS), key[0], group, key[1], VALUE_DIM.of(40)],
        inputs: vec![
            (vec![token, key[0], key[1]], small),
            (vec![token, key[0], key[1]], small),
            (with(VALUE_DIM.of(40)), any),
            (if per_channel { with(key[1]) } else { heads.clone() }, negative),
            (heads.clone(), positive),
        ],
        build: |pool, x, addresses| {
            let inputs = DeltaRule { query: x[0], key: x[1], value: x[2], decay: x[3], beta: x[4] };
            kernels::delta_rule(pool, inputs, addresses)
        },
    }
}

/// The kernels' functions for steps of `tokens`, with `rows` of slots.
fn module(tokens: usize, rows: usize) -> Module {
    let module = ModuleBuilder::new("recurrent");
    for case in cases(tokens) {
        let main = module.function(case.name);
        let integers = |name: &str, dimension: Dimension| {
            main.argument(name, TensorType::new(ElementType::I32, [dimension]))
        };
        let addresses = StateAddresses {
            positions: integers("positions", TOKEN.of(tokens)),
            sequences: integers("sequences", TOKEN.of(tokens)),
            slots: integers("slots", SEQUENCE.of(rows)),
        };
        let floats = |dimensions: &[Dimension]| {
            main.argument("x", TensorType::new(ElementType::F32, dimensions))
        };
        let pool = floats(&case.pool);
        main.alias(pool, 1);
        let inputs: Vec<Value<'_>> = case.inputs.iter().map(|(input, _)| floats(input)).collect();
        let (y, pool) = (case.build)(pool, &inputs, addresses);
        main.finish(&[("y", y), ("pool", pool)]).unwrap();
    }
    module.finish().unwrap()
}

/// The folders that the tests of this workspace share.
fn folders() -> Folders {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = std::env::var_os("STABLEMATE_TEST_DATA")
        .map_or_else(|| workspace.join("target/stablemate-data"), Into::into);
    Folders { cache: data.with_file_name("stablemate-cache"), data }
}

fn compiled(text: &str, target: &Target) -> std::path::PathBuf {
    let folders = folders();
    let toolchain = Toolchain::at(&folders.data).unwrap_or_else(|error| {
        panic!("{error}\nThis test needs the compiler: run `cargo xtask setup`")
    });
    let compiled = VmfbCache::new(folders.cache).compile(&toolchain, text, target);
    compiled.unwrap_or_else(|error| panic!("for {target}: {error}")).path
}

/// Pseudorandom numbers in [-1, 1).
fn numbers(seed: usize, count: usize) -> impl Iterator<Item = f32> {
    let mut state = seed as u32 + 1;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    })
    .take(count)
}

/// A step's positions, sequences and slots.
type Step<'a> = (&'a [i32], &'a [i32], &'a [i32]);

/// A prompt whose first token starts from zeros, tokens that continue, padding, a row that is not
/// used; then the same sequences go on, one token each.
const STEPS: [Step<'_>; 2] = [
    (&[0, 1, 2, -1, 7, 8, -1], &[1, 1, 1, 0, 2, 2, 0], &[0, 3, 1]),
    (&[3, 9, -1, -1, -1, -1, -1], &[0, 2, 0, 0, 0, 0, 0], &[3, 0, 1]),
];
const ONE_TOKEN: [Step<'_>; 2] = [(&[0], &[0], &[2]), (&[1], &[0], &[2])];

/// Runs the steps: for each, the rows of live tokens, and the pool.
fn run(device: &Device, session: &Session, case: &Case, steps: &[Step<'_>]) -> Vec<Vec<f32>> {
    let sizes = |dimensions: &[Dimension]| -> Vec<usize> {
        dimensions.iter().map(|dimension| dimension.size).collect()
    };
    let floats = |seed: usize, dimensions: &[Dimension], range: Range| {
        let sizes = sizes(dimensions);
        let values: Vec<f32> = numbers(seed, sizes.iter().product()).map(range).collect();
        Buffer::from_slice(device, &sizes, &values).unwrap()
    };
    let integers = |values: &[i32]| Buffer::from_slice(device, &[values.len()], values).unwrap();
    let mut pool = floats(99, &case.pool, any);
    let mut all = Vec::new();
    for (number, (positions, sequences, slots)) in steps.iter().enumerate() {
        let mut arguments = vec![integers(positions), integers(sequences), integers(slots), pool];
        let inputs = case.inputs.iter().enumerate();
        arguments.extend(inputs.map(|(n, (input, range))| floats(10 * number + n, input, *range)));
        let mut results = session.call(case.name, &arguments).unwrap();
        pool = results.remove(1);
        let y = results.remove(0).read::<f32>().unwrap();
        let rows = y.chunks_exact(y.len() / positions.len()).zip(*positions);
        all.push(
            rows.filter(|(_, position)| **position >= 0)
                .flat_map(|(row, _)| row)
                .copied()
                .collect(),
        );
        // Slot 0 means nothing.
        let values = pool.read::<f32>().unwrap();
        all.push(values[values.len() / SLOTS..].to_vec());
    }
    all
}

#[test]
fn native_and_portable_texts_agree() {
    let mut options = LoadOptions::new(folders());
    options.threads = Some(2);
    let kernels = Arc::new(NativeKernels::new(&options).unwrap());
    let native = Device::native(kernels.clone()).unwrap();
    let portable = Device::cpu(&CpuOptions { threads: Some(2) }).unwrap();
    for (steps, tokens, rows) in [(STEPS, 7, 3), (ONE_TOKEN, 1, 1)] {
        let module = module(tokens, rows);
        let text = module.native(&|site| kernels.call(site)).unwrap();
        assert!(!text.contains("stablehlo.while"), "a decomposition is left");
        let load = |device: &Device, text: &str| {
            Session::load(device, &compiled(text, &Target::Host)).unwrap()
        };
        let sessions = (load(&native, &text), load(&portable, &module.to_string()));
        for case in cases(tokens) {
            let found = run(&native, &sessions.0, &case, &steps);
            let expected = run(&portable, &sessions.1, &case, &steps);
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found.len(), expected.len());
                for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
                    let near = (found - expected).abs() <= 1e-5 * (1.0 + expected.abs());
                    assert!(near, "{} {number}[{n}]: {found}, not {expected}", case.name);
                }
            }
        }
    }
}

#[test]
fn portable_texts_compile_for_every_target() {
    for (tokens, rows) in [(1, 1), (16, 4), (128, 1)] {
        let text = module(tokens, rows).to_string();
        for absent in ["custom_call", "f64", "?x"] {
            assert!(!text.contains(absent), "the text contains {absent}");
        }
        for target in ["vmvx", "cuda:sm_80", "vulkan-spirv", "rocm:gfx942"] {
            compiled(&text, &target.parse().unwrap());
        }
    }
}
