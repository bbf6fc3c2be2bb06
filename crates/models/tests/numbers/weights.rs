//! Stored weights through the kernels that take them, against plain loops.

use crate::evaluate::{Random, assert_near, evaluate, floats, integers, live};
use crate::interpreter::{Data, Tensor};
use crate::session::{Session, Token};
use half::{bf16, f16};
use stablemate_encodings::{Codebook, Float, LANES, Nested, Packing, Scales, interleave};
use stablemate_fixtures::Case;
use stablemate_graph::{Dimension, ElementType, Label, TensorType};
use stablemate_models::dimensions::{FEATURE, KEY, MODEL, QUERY, ROW, TOKEN, VALUE, VOCABULARY};
use stablemate_models::kernels::{self, Weight};
use stablemate_models::parts::Activation;
use stablemate_models::{ParamEntry, Storage, UnknownStorage};
use std::path::Path;
use std::sync::Arc;

/// A weight `[O, I]` as an argument, and its values; or a stack of such.
pub struct Stored {
    pub storage: Storage,
    pub rows: Dimension,
    pub columns: Dimension,
    pub stack: Option<Dimension>,
    pub argument: (TensorType, Data),
    pub values: Vec<f32>,
}

impl Stored {
    /// Matrices one after the other.
    pub fn stack(
        random: &mut Random,
        storage: Storage,
        stack: Dimension,
        rows: Dimension,
        columns: Dimension,
    ) -> Self {
        let each = (0..stack.size).map(|_| Self::random(random, storage, rows, columns));
        let (mut floats, mut integers, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for one in each {
            match one.argument.1 {
                Data::Float(data) => floats.extend(data),
                Data::Integer(data) => integers.extend(data),
            }
            values.extend(one.values);
        }
        let data = if floats.is_empty() { Data::Integer(integers) } else { Data::Float(floats) };
        let argument = (storage.argument(&[stack, rows, columns]), data);
        Self { storage, rows, columns, stack: Some(stack), argument, values }
    }

    pub fn random(
        random: &mut Random,
        storage: Storage,
        rows: Dimension,
        columns: Dimension,
    ) -> Self {
        let ty = storage.argument(&[rows, columns]);
        let count = rows.size * columns.size;
        let signed = |bits: u16| i32::from(bits as i16);
        let (data, values) = match storage {
            Storage::Packed(packing) => packed(random, packing, rows.size, columns.size),
            Storage::Dense(ElementType::F16) => {
                let values = (0..count).map(|_| f16::from_f32(random.float())).collect::<Vec<_>>();
                let bits = values.iter().map(|value| signed(value.to_bits())).collect();
                (Data::Integer(bits), values.iter().map(|value| value.to_f32()).collect())
            }
            Storage::Dense(ElementType::Bf16) => {
                let values = (0..count).map(|_| bf16::from_f32(random.float())).collect::<Vec<_>>();
                let bits = values.iter().map(|value| signed(value.to_bits())).collect();
                (Data::Integer(bits), values.iter().map(|value| value.to_f32()).collect())
            }
            Storage::Dense(_) => {
                let values: Vec<f32> = (0..count).map(|_| random.float()).collect();
                (Data::Float(values.clone()), values)
            }
        };
        Self { storage, rows, columns, stack: None, argument: (ty, data), values }
    }

    /// `x · weight` in f64, for each row of `x`.
    fn product(&self, x: &[f32]) -> Vec<f64> {
        let dot = |x: &[f32], row: &[f32]| {
            x.iter().zip(row).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum::<f64>()
        };
        let columns = self.columns.size;
        x.chunks(columns)
            .flat_map(|x| self.values.chunks(columns).map(move |row| dot(x, row)))
            .collect()
    }
}

/// `$weight`'s form with the value of an argument.
macro_rules! weight {
    ($stored:expr, $value:expr) => {
        Weight {
            value: $value,
            storage: $stored.storage,
            rows: $stored.rows,
            columns: $stored.columns,
            stack: $stored.stack,
        }
    };
}
pub(crate) use weight;

/// Words of random codes and reasonable scales, and what `stablemate-encodings` unpacks from them.
fn packed(random: &mut Random, packing: Packing, rows: usize, columns: usize) -> (Data, Vec<f32>) {
    let (code_words, row_words) = (packing.code_words(columns), packing.row_words(columns));
    let mut words = vec![0_i32; packing.words(rows, columns)];
    let mut values = Vec::new();
    for (tile, words) in words.chunks_mut(row_words * LANES).enumerate() {
        let mut all = Vec::new();
        for _ in tile * LANES..rows.min((tile + 1) * LANES) {
            let mut row: Vec<u32> = (0..row_words).map(|_| random.word()).collect();
            for (n, word) in row[code_words..].iter_mut().enumerate() {
                *word = scale_word(packing, columns, n, *word);
            }
            let mut unpacked = vec![0.0; columns];
            packing.unpack_row(&row, &mut unpacked);
            values.extend(unpacked);
            all.extend(row);
        }
        let mut lanes = vec![0; words.len()];
        interleave(&all, row_words, &mut lanes);
        words.iter_mut().zip(lanes).for_each(|(word, lane)| *word = lane as i32);
    }
    (Data::Integer(words), values)
}

/// Random bits, made finite and below 2 where the word holds floating-point numbers.
fn scale_word(packing: Packing, columns: usize, n: usize, bits: u32) -> u32 {
    let blocks = columns / 256;
    let small = |float: Float| match float {
        // Subnormal numbers as well.
        Float::F16 => bits & 0xBFFF_BFFF,
        Float::Bf16 => bits & 0x81FF_81FF | 0x3E00_3E00,
        Float::F32 => bits & 0x81FF_FFFF | 0x3E00_0000,
    };
    match packing.scales() {
        Scales::Centred(float) | Scales::Affine(float) | Scales::Codebook(Codebook::Nf4(float)) => {
            small(float)
        }
        // 2^-63 … 2^1, and 0, which is 2^-127.
        Scales::Codebook(Codebook::Mxfp4) => {
            let byte = |byte: u8| if byte < 3 { 0 } else { byte & 0x3F | 0x40 };
            u32::from_le_bytes(bits.to_le_bytes().map(byte))
        }
        Scales::Nested(nested) => {
            let length = nested.block_words();
            let factors = match nested {
                Nested::MinimumsFour | Nested::MinimumsSix => n.is_multiple_of(length),
                Nested::CentredSix | Nested::CentredEight => n >= blocks * length,
            };
            if factors { small(Float::F16) } else { bits }
        }
    }
}

#[test]
fn packed_rows_are_unpacked_as_the_layout_says() {
    let mut random = Random(1);
    let mut count = 0;
    for storage in Storage::all() {
        let Storage::Packed(packing) = storage else { continue };
        // Odd numbers of groups, of super-blocks and of half units of codes among them.
        for multiple in [3, 2] {
            let (rows, columns) = (VOCABULARY.of(21), MODEL.of(multiple * packing.granularity()));
            let table = Stored::random(&mut random, storage, rows, columns);
            let ids: Vec<i32> = (0..21).rev().collect();
            let tokens = integers(&[TOKEN.of(21)], ids);
            let results = evaluate(vec![table.argument.clone(), tokens], |_, x| {
                vec![kernels::embed(weight!(table, x[0]), x[1])]
            });
            let rows: Vec<&[f32]> = results[0].chunks(columns.size).rev().collect();
            assert!(rows.concat() == table.values, "{packing}, {columns}");
            count += 1;
        }
    }
    assert_eq!(count, 2 * (6 * 6 * 4 + 4 * 6 + 1 + 3 * 4));
}

#[test]
fn products_with_stored_weights() {
    let mut random = Random(2);
    for storage in Storage::all() {
        let columns = match storage {
            Storage::Dense(_) => MODEL.of(40),
            Storage::Packed(packing) => MODEL.of(packing.granularity()),
        };
        let weight = Stored::random(&mut random, storage, VOCABULARY.of(18), columns);
        let x = random.floats(&[ROW.of(2), columns]);
        let expected = weight.product(floats(&x.1));
        let arguments = vec![x, live(ROW, 2), weight.argument.clone()];
        let results = evaluate(arguments, |_, x| {
            vec![kernels::linear(x[0], x[1], weight!(weight, x[2]), None)]
        });
        let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert_near(&storage.to_string(), &results[0], &expected, 1e-6 * largest);
    }
}

fn storage(name: &str) -> Storage {
    name.parse().unwrap()
}

#[test]
fn several_weights_share_a_product_and_a_residual_is_added() {
    let mut random = Random(3);
    let names = ["q4 group 32 affine F16", "bf16", "q6 group 16 nested centred 8"];
    let columns = MODEL.of(256);
    let of = |random: &mut Random, name: &str, label: Label, rows: usize| {
        Stored::random(random, storage(name), label.of(rows), columns)
    };
    let query = of(&mut random, names[0], QUERY, 24);
    let key = of(&mut random, names[1], KEY, 8);
    // As many rows as the key, but of other things.
    let value = of(&mut random, names[2], VALUE, 8);
    let x = random.floats(&[TOKEN.of(3), columns]);
    let residual = random.floats(&[TOKEN.of(3), QUERY.of(24)]);
    let all = [&query, &key, &value];
    let mut arguments = vec![x.clone(), live(TOKEN, 3), residual.clone()];
    arguments.extend(all.map(|stored| stored.argument.clone()));
    let results = evaluate(arguments, |_, x| {
        let weights = [weight!(query, x[3]), weight!(key, x[4]), weight!(value, x[5])];
        let products = kernels::linears(x[0], x[1], &weights);
        assert_eq!(products[1].ty().dimensions, [TOKEN.of(3), KEY.of(8)]);
        assert_eq!(products[2].ty().dimensions, [TOKEN.of(3), VALUE.of(8)]);
        let mut results = products.to_vec();
        results.push(kernels::linear(x[0], x[1], weights[0], Some(x[2])));
        results
    });
    let mut expected = all.map(|stored| stored.product(floats(&x.1))).to_vec();
    let sums = expected[0].iter().zip(floats(&residual.1)).map(|(a, b)| a + f64::from(*b));
    expected.push(sums.collect());
    for (n, (found, expected)) in results.iter().zip(&expected).enumerate() {
        let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert_near(&format!("product {n}"), found, expected, 1e-6 * largest);
    }
}

#[test]
fn gates_are_activated() {
    let mut random = Random(4);
    let columns = MODEL.of(64);
    for activation in [Activation::Silu, Activation::GeluTanh, Activation::Relu, Activation::Relu2]
    {
        let mut of =
            |name: &str| Stored::random(&mut random, storage(name), FEATURE.of(20), columns);
        let (gate, up) = (of("f16"), of("q8 group 32 centred F16"));
        let x = random.floats(&[TOKEN.of(2), columns]);
        let arguments = vec![x.clone(), live(TOKEN, 2), gate.argument.clone(), up.argument.clone()];
        let results = evaluate(arguments, |_, x| {
            let weights = [weight!(gate, x[2]), weight!(up, x[3])];
            vec![kernels::gated(x[0], x[1], weights, activation)]
        });
        let activated = |x: f64| match activation {
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
                0.5 * x * (1.0 + inner.tanh())
            }
            Activation::Relu => x.max(0.0),
            Activation::Relu2 => x.max(0.0).powi(2),
            Activation::Gelu => unreachable!("it has a test of its own"),
        };
        let (gates, ups) = (gate.product(floats(&x.1)), up.product(floats(&x.1)));
        let expected: Vec<f64> = gates.iter().zip(ups).map(|(g, u)| activated(*g) * u).collect();
        let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert_near(activation.symbol(), &results[0], &expected, 2e-6 * largest);
    }
}

#[test]
fn a_model_of_packed_weights_is_the_model_of_their_values() {
    let mut random = Random(6);
    let packings: Vec<Packing> = Storage::all()
        .filter_map(|storage| match storage {
            Storage::Packed(packing) if packing.granularity() == 16 => Some(packing),
            _ => None,
        })
        .collect();
    let mut chosen = packings.iter().cycle();
    // A head of its own, and heads that are the table.
    for (name, tied) in [("llama_plain", false), ("qwen3", true), ("gemma3_text", true)] {
        let case = Case::open(name);
        let (mut packed, mut dense) = (Session::new(&case), Session::new(&case));
        assert_eq!(packed.decoder.tied(), tied);
        let mut storages = Vec::new();
        for (n, entry) in dense.decoder.params.entries().iter().enumerate() {
            storages.push(entry.storage);
            let [rows, columns] = *entry.ty.dimensions else { continue };
            if !columns.size.is_multiple_of(16) {
                continue;
            }
            let storage = Storage::Packed(*chosen.next().unwrap());
            let stored = Stored::random(&mut random, storage, rows, columns);
            storages[n] = storage;
            let (ty, data) = stored.argument;
            packed.parameters[n] = Arc::new(Tensor::new(&ty, data));
            dense.parameters[n] = Arc::new(Tensor::new(&entry.ty, Data::Float(stored.values)));
        }
        let table = packed.decoder.embedding.table;
        let names: Vec<String> =
            packed.decoder.params.entries().iter().map(|entry| entry.name.clone()).collect();
        let of = |entry: &ParamEntry| {
            storages[names.iter().position(|name| *name == entry.name).unwrap()]
        };
        packed.decoder.params.set_storage(Path::new("-"), of).unwrap();
        assert!(matches!(packed.decoder.params.entry(table).storage, Storage::Packed(_)));
        let prompt = Token::prompt(&case.expected.prompt_ids, 0);
        let logits = [&mut packed, &mut dense].map(|session| {
            let table = session.sequence(prompt.len());
            session.logits(&table, &prompt, prompt.len() - 1)
        });
        let expected: Vec<f64> = logits[1].iter().map(|x| f64::from(*x)).collect();
        let largest = expected.iter().fold(1.0, |a: f64, b| a.max(b.abs()));
        assert_near(name, &logits[0], &expected, 1e-6 * largest);
    }
}

#[test]
fn storages_are_told_by_their_names() {
    for storage in Storage::all() {
        assert_eq!(storage.to_string().parse(), Ok(storage));
    }
    let error: UnknownStorage = "q7 group 32 affine F16".parse::<Storage>().unwrap_err();
    assert!(error.to_string().contains("\"q7 group 32 affine F16\""), "{error}");
    let kernel = stablemate_graph::Kernel::new("stablemate.linear")
        .with("weights", "f32, q4 group 64 affine BF16");
    let found = kernels::storages(&kernel).unwrap();
    assert_eq!(found, [storage("f32"), storage("q4 group 64 affine BF16")]);
    assert!(kernels::storages(&kernel.clone().with("weights", "")).is_ok(), "the first counts");
    let none = stablemate_graph::Kernel::new("stablemate.attention");
    assert_eq!(kernels::storages(&none), Ok(Vec::new()));
}
