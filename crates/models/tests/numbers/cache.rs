//! The cache and attention over it, against plain loops in f64.

use crate::evaluate::{Random, assert_near, evaluate, floats, integers, tensors};
use crate::interpreter::Data;
use half::f16;
use stablemate_graph::{ElementType, TensorType};
use stablemate_models::dimensions::{
    GROUP, HEAD_DIM, INDEX, KV_HEAD, PAGE, SEQUENCE, TOKEN, VALUE_DIM,
};
use stablemate_models::kernels::{self, Addresses, Attention};
use stablemate_models::parts::Span;
use stablemate_models::{Bucket, CacheElement, StateEntry, StateKind};

const ELEMENTS: [CacheElement; 3] = [CacheElement::F32, CacheElement::F16, CacheElement::Q8];
/// `[T, K, G, H, E]`.
const SIZES: [usize; 5] = [5, 2, 3, 8, 6];
/// `[S, M, L, B]`.
const PAGES: [usize; 4] = [2, 3, 4, 9];
const TABLES: [i32; 6] = [7, 2, 0, 4, 8, 1];

/// What a cache gives back of the values of one head.
fn kept(element: CacheElement, values: &[f32]) -> Vec<f32> {
    match element {
        CacheElement::F32 => values.to_vec(),
        CacheElement::F16 => values.iter().map(|x| f16::from_f32(*x).to_f32()).collect(),
        CacheElement::Q8 => {
            let scale = scale(values);
            codes(values).iter().map(|code| f32::from(*code) * scale).collect()
        }
    }
}

fn scale(values: &[f32]) -> f32 {
    values.iter().fold(0.0_f32, |a, b| a.max(b.abs())) / 127.0
}

fn codes(values: &[f32]) -> Vec<i8> {
    let scale = scale(values);
    let code = |x: &f32| if scale > 0.0 { (x / scale).round_ties_even() as i8 } else { 0 };
    values.iter().map(code).collect()
}

/// A pool full of something.
fn pool(entry: &StateEntry) -> (TensorType, Data) {
    let ty = entry.ty(&Bucket { blocks: PAGES[3], ..Bucket::prefill(1, 1) }, PAGES[2]);
    let count = ty.elements().unwrap();
    match ty.element {
        ElementType::F32 => (ty, Data::Float(vec![-1000.0; count])),
        ElementType::I16 => (ty, Data::Integer(vec![0x6BD0; count])),
        _ => (ty, Data::Integer(vec![0x47; count])),
    }
}

fn entry(element: CacheElement, values: bool) -> StateEntry {
    let width = if values { VALUE_DIM.of(SIZES[4]) } else { HEAD_DIM.of(SIZES[3]) };
    let (name, heads) = ("pool".to_string(), KV_HEAD.of(SIZES[1]));
    StateEntry { name, kind: StateKind::Paged { heads, width, element } }
}

#[test]
fn a_cache_of_eight_bits_is_codes_and_the_bytes_of_their_scale() {
    let heads = [
        vec![1.0, -2.0, 0.5, 0.007874, 0.0, 1.999, -1.0, 1e-9],
        vec![0.0; 8],
        vec![-3e-39, 1e-40, 2e-45, 1e-45, 0.0, 0.0, 0.0, 0.0],
        vec![1e38, -1e38, 3.4e38, -3.4e38, 0.0, 1.0, 2.0, 3e37],
    ];
    let entry = entry(CacheElement::Q8, false);
    assert_eq!(entry.bytes_per_token(), 2 * (8 + 4));
    let update = (
        TensorType::new(ElementType::F32, [TOKEN.of(2), KV_HEAD.of(2), HEAD_DIM.of(8)]),
        Data::Float(heads.concat()),
    );
    let slots = integers(&[TOKEN.of(2), INDEX.of(2)], vec![8, 3, 1, 0]);
    let arguments = vec![pool(&entry), slots, update];
    let results = tensors(arguments, |_, x| vec![kernels::write(x[0], x[1], x[2])]);
    let found: Vec<&[i32]> = results[0].integers().chunks(12).collect();
    let places = [(8 * 4 + 3) * 2, (8 * 4 + 3) * 2 + 1, 8, 9];
    for (head, place) in heads.iter().zip(places) {
        let bytes = scale(head).to_le_bytes().map(|byte| byte as i8);
        let mut expected: Vec<i32> = codes(head).into_iter().map(i32::from).collect();
        // Subnormal scales are coarse: codes saturate instead of leaving their range.
        expected.iter_mut().for_each(|code| *code = (*code).clamp(-127, 127));
        expected.extend(bytes.map(i32::from));
        assert_eq!(found[place], expected, "{head:?}");
    }
    let rest = (0..found.len()).filter(|n| !places.contains(n));
    assert!(rest.clone().count() > 0 && rest.into_iter().all(|n| found[n] == [0x47; 12]));
}

#[test]
fn a_cache_of_half_precision_rounds_to_nearest_even() {
    let mut values = vec![f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -0.0];
    for bits in (0..0x7C00_u16).step_by(3) {
        // The number, the middle between it and the next one, and what is beside the middle.
        let (here, next) = (f16::from_bits(bits).to_f32(), f16::from_bits(bits + 1).to_f32());
        let next = if next.is_finite() { next } else { 65536.0 };
        let middle = (here + next) / 2.0;
        values.extend([here, -here, middle, -middle, middle.next_up(), middle.next_down()]);
    }
    let mut random = Random(5);
    values.extend((0..5000).map(|_| f32::from_bits(random.word())));
    let (heads, width) = (KV_HEAD.of(1), HEAD_DIM.of(values.len()));
    let kind = StateKind::Paged { heads, width, element: CacheElement::F16 };
    let entry = StateEntry { name: "pool".to_string(), kind };
    let ty = TensorType::new(ElementType::F32, [TOKEN.of(1), heads, width]);
    let slots = integers(&[TOKEN.of(1), INDEX.of(2)], vec![0, 0]);
    let arguments = vec![pool(&entry), slots, (ty, Data::Float(values.clone()))];
    let results = tensors(arguments, |_, x| vec![kernels::write(x[0], x[1], x[2])]);
    for (value, bits) in values.iter().zip(results[0].integers()) {
        let (found, expected) = (f16::from_bits(*bits as u16), f16::from_f32(*value));
        let equal = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(equal, "{value}: {found} instead of {expected}");
    }
}

/// The tokens: sequence and position; the last is padding.
const TOKENS: [(i32, i32); 5] = [(1, 9), (0, 4), (0, 5), (1, 10), (0, -1)];

/// Everything that the caches hold before the step's own tokens: `[sequence][position]`.
struct History {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

/// Attention of the step's tokens by plain loops.
fn expected(
    parameters: Attention,
    history: &[History; 2],
    query: &[f32],
    sinks: Option<&[f32]>,
) -> Vec<f64> {
    let [_, heads, group, width, value_width] = SIZES;
    let mut results = Vec::new();
    for (token, (sequence, position)) in TOKENS.iter().enumerate() {
        let history = &history[*sequence as usize];
        let last = (*position + 1).max(0) as usize;
        let first = match parameters.span {
            Span::Full => 0,
            Span::Window(n) => last.saturating_sub(n),
        };
        for head in 0..heads * group {
            let kv = head / group;
            let query = &query[(token * heads * group + head) * width..][..width];
            let score = |n: usize| {
                let key = &history.keys[n][kv * width..][..width];
                let dot: f64 =
                    query.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                let score = dot * f64::from(parameters.scale);
                parameters
                    .softcap
                    .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
            };
            let weights: Vec<f64> = (first..last).map(|n| score(n).exp()).collect();
            let sink = sinks.map_or(0.0, |sinks| f64::from(sinks[head]).exp());
            let total: f64 = weights.iter().sum::<f64>() + sink;
            for m in 0..value_width {
                let value = |n: usize| f64::from(history.values[n][kv * value_width + m]);
                let mixed: f64 =
                    weights.iter().enumerate().map(|(n, w)| w * value(first + n)).sum();
                results.push(if last == 0 { 0.0 } else { mixed / total });
            }
        }
    }
    results
}

/// Writes the histories of both sequences and attends.
fn attend(parameters: Attention, element: CacheElement, with_sinks: bool) {
    let [count, heads, group, width, value_width] = SIZES;
    let mut random = Random(7);
    let lengths = [6, 11];
    let total = lengths[0] + lengths[1];
    let keys = random.floats(&[TOKEN.of(total), KV_HEAD.of(heads), HEAD_DIM.of(width)]);
    let values = random.floats(&[TOKEN.of(total), KV_HEAD.of(heads), VALUE_DIM.of(value_width)]);
    let query =
        random.floats(&[TOKEN.of(count), KV_HEAD.of(heads), GROUP.of(group), HEAD_DIM.of(width)]);
    let sinks = random.floats(&[KV_HEAD.of(heads), GROUP.of(group)]);
    let owner = |n: usize| if n < lengths[0] { (0, n) } else { (1, n - lengths[0]) };
    let slots = (0..total).flat_map(|n| {
        let (sequence, position) = owner(n);
        [TABLES[sequence * PAGES[1] + position / PAGES[2]], (position % PAGES[2]) as i32]
    });
    let read_back = |data: &Data, width: usize, sequence: usize| -> Vec<Vec<f32>> {
        let rows = floats(data).chunks(heads * width).enumerate();
        let own = rows.filter(|(n, _)| owner(*n).0 == sequence);
        own.map(|(_, row)| row.chunks(width).flat_map(|head| kept(element, head)).collect())
            .collect()
    };
    let history = [0, 1].map(|sequence| History {
        keys: read_back(&keys.1, width, sequence),
        values: read_back(&values.1, value_width, sequence),
    });
    let used = with_sinks.then(|| floats(&sinks.1));
    let expected = expected(parameters, &history, floats(&query.1), used);
    let step =
        |of: fn(&(i32, i32)) -> i32| integers(&[TOKEN.of(count)], TOKENS.iter().map(of).collect());
    let arguments = vec![
        pool(&entry(element, false)),
        pool(&entry(element, true)),
        integers(&[TOKEN.of(total), INDEX.of(2)], slots.collect()),
        keys,
        values,
        query,
        step(|token| token.1),
        step(|token| token.0),
        integers(&[SEQUENCE.of(PAGES[0]), PAGE.of(PAGES[1])], TABLES.to_vec()),
        sinks,
    ];
    let results = evaluate(arguments, |_, x| {
        let keys = kernels::write(x[0], x[2], x[3]);
        let values = kernels::write(x[1], x[2], x[4]);
        let addresses = Addresses { positions: x[6], sequences: x[7], block_tables: x[8] };
        let sinks = with_sinks.then(|| x[9]);
        vec![kernels::attention(parameters, x[5], keys, values, sinks, addresses)]
    });
    let live = (count - 1) * heads * group * value_width;
    let what = format!("{element} {parameters:?}, sinks {with_sinks}");
    assert_near(&what, &results[0][..live], &expected[..live], 2e-6);
    assert!(results[0].iter().all(|x| x.is_finite()), "{what}: padding");
}

#[test]
fn attention_reads_what_was_written_of_its_own_sequence() {
    let plain = Attention { scale: 0.7, span: Span::Full, softcap: None };
    let strange = Attention { scale: 1.5, span: Span::Window(4), softcap: Some(0.8) };
    for element in ELEMENTS {
        for parameters in [plain, strange] {
            for sinks in [false, true] {
                attend(parameters, element, sinks);
            }
        }
    }
}
