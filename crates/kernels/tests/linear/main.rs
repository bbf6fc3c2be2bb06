//! Products, gates and embedded rows on every instruction set, against plain arithmetic.

mod experts;
mod support;

use proptest::prelude::*;
use stablemate_encodings::{Float, Packing};
use stablemate_kernels::{Activation, Activations, Isa, Kernels, Matrix, Product, Weight};
use support::{Random, Stored, isas, packings};

fn linear(kernels: &Kernels, x: &[f32], live: &[i32], weight: &Stored) -> Vec<f32> {
    let mut out = vec![f32::NAN; live.len() * weight.rows];
    let product = Product { matrix: weight.matrix(), residual: None, out: &mut out };
    kernels.linear(x, live, &mut [product]).unwrap();
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// One of the packings; codebooks, which are few, as often as the others.
fn which() -> impl Strategy<Value = usize> {
    let (all, last) = (packings().len(), codebooks().len());
    prop_oneof![0..all - last, all - last..all]
}

/// Those of the packings that come last.
fn codebooks() -> Vec<Packing> {
    packings().into_iter().filter(|packing| packing.codebook().is_some()).collect()
}

/// A packing, and columns that it can have.
fn packed_shape(which: usize, columns: usize) -> (Packing, usize) {
    let all = packings();
    let packing = all[which % all.len()];
    let step = packing.granularity();
    (packing, (columns / step + 1) * step)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn packed_products(
        seed: u64, which in which(), int8: bool, tokens in 1usize..30, rows in 1usize..70, columns in 0usize..400,
    ) {
        let random = &mut Random::new(seed);
        let (packing, columns) = packed_shape(which, columns);
        let weight = Stored::packed(packing, rows, columns, random);
        let x = random.activations(tokens * columns);
        let live = random.live(tokens);
        let (activations, limit) =
            if int8 { (Activations::Int8, 127.0) } else { (Activations::Exact, 32767.0) };
        let reference = weight.product(&x);
        let rounded = weight.rounded_product(&x, limit);
        for isa in isas() {
            let kernels = Kernels::new(isa, 1 + tokens % 3, activations);
            let out = linear(&kernels, &x, &live, &weight);
            for (n, got) in out.iter().enumerate() {
                if live[n / rows] < 0 {
                    prop_assert_eq!(got.to_bits(), 0);
                    continue;
                }
                let ((expected, _), (exact, size, error)) = (reference[n], rounded[n]);
                let off = (f64::from(*got) - exact).abs();
                prop_assert!(off <= 1e-6 * size, "{isa} {packing}: {got}, not {exact}");
                let off = (f64::from(*got) - expected).abs();
                prop_assert!(off <= error * 1.01 + 1e-6 * size, "{isa} {packing}: {got}, not {expected}");
            }
        }
    }

    #[test]
    fn dense_products(
        seed: u64, which in 0usize..3, tokens in 1usize..20, rows in 1usize..70, columns in 1usize..150,
    ) {
        let random = &mut Random::new(seed);
        let float = [Float::F32, Float::F16, Float::Bf16][which];
        let weight = Stored::dense(float, rows, columns, random);
        let x = random.activations(tokens * columns);
        let live = random.live(tokens);
        let reference = weight.product(&x);
        for isa in isas() {
            let kernels = Kernels::new(isa, 1 + tokens % 3, Activations::Exact);
            let out = linear(&kernels, &x, &live, &weight);
            for (n, got) in out.iter().enumerate() {
                if live[n / rows] < 0 {
                    prop_assert_eq!(got.to_bits(), 0);
                    continue;
                }
                let (expected, size) = reference[n];
                let off = (f64::from(*got) - expected).abs();
                prop_assert!(off <= 2e-6 * size, "{isa} {float}: {got}, not {expected}");
            }
        }
    }

    /// A row's bits depend on nothing beside it: tokens, threads, other products, padding.
    #[test]
    fn rows_stand_alone(
        seed: u64, which in which(), dense: bool, int8: bool, tokens in 2usize..60, rows in 1usize..200, columns in 1usize..300,
    ) {
        let random = &mut Random::new(seed);
        let (packing, packed_columns) = packed_shape(which, columns);
        let weight = if dense {
            let float = [Float::F32, Float::F16, Float::Bf16][which % 3];
            // More than are taken at once for many tokens.
            Stored::dense(float, rows, 5 * columns, random)
        } else {
            Stored::packed(packing, rows, packed_columns, random)
        };
        let columns = weight.columns;
        let other = Stored::dense(Float::F16, 40, columns, random);
        let x = random.activations(tokens * columns);
        let activations = if int8 { Activations::Int8 } else { Activations::Exact };
        for isa in isas() {
            let (one, three) = (Kernels::new(isa, 1, activations), Kernels::new(isa, 3, activations));
            let all = linear(&one, &x, &vec![0; tokens], &weight);
            prop_assert_eq!(bits(&linear(&three, &x, &vec![0; tokens], &weight)), bits(&all));
            let token = random.below(tokens);
            let row = &x[token * columns..][..columns];
            let expected = bits(&all[token * rows..][..rows]);
            prop_assert_eq!(bits(&linear(&one, row, &[0], &weight)), &expected[..]);
            let mut live = random.live(tokens);
            live[token] = 0;
            let (mut first, mut second) = (vec![0.0; tokens * 40], vec![0.0; tokens * rows]);
            let products = &mut [
                Product { matrix: other.matrix(), residual: None, out: &mut first },
                Product { matrix: weight.matrix(), residual: None, out: &mut second },
            ];
            three.linear(&x, &live, products).unwrap();
            prop_assert_eq!(bits(&second[token * rows..][..rows]), &expected[..], "{}", isa);
        }
    }

    #[test]
    fn gates_and_residuals(
        seed: u64, which in which(), other in which(), tokens in 1usize..20, rows in 1usize..70, columns in 0usize..300,
    ) {
        let random = &mut Random::new(seed);
        let (packing, columns) = packed_shape(which, columns);
        let gate = Stored::packed(packing, rows, columns, random);
        let (other, step) = packed_shape(other, 0);
        let up = if columns % step == 0 {
            Stored::packed(other, rows, columns, random)
        } else {
            Stored::dense(Float::Bf16, rows, columns, random)
        };
        let x = random.activations(tokens * columns);
        let live = random.live(tokens);
        let residual = random.floats(tokens * rows);
        for isa in isas() {
            let kernels = Kernels::new(isa, 2, Activations::Exact);
            let gates = linear(&kernels, &x, &live, &gate);
            let ups = linear(&kernels, &x, &live, &up);
            let mut out = vec![f32::NAN; tokens * rows];
            kernels.gated(&x, &live, gate.matrix(), up.matrix(), Activation::Silu, &mut out).unwrap();
            for (n, got) in out.iter().enumerate() {
                let gate = f64::from(gates[n]);
                let expected = gate / (1.0 + (-gate).exp()) * f64::from(ups[n]);
                let off = (f64::from(*got) - expected).abs();
                prop_assert!(off <= 1e-6 * expected.abs() + 1e-30, "{isa}: {got}, not {expected}");
            }
            let product = Product { matrix: up.matrix(), residual: Some(&residual), out: &mut out };
            kernels.linear(&x, &live, &mut [product]).unwrap();
            for (n, got) in out.iter().enumerate() {
                let expected = if live[n / rows] < 0 { 0.0 } else { residual[n] + ups[n] };
                prop_assert_eq!(got.to_bits(), expected.to_bits());
            }
        }
    }

    #[test]
    fn embedded_rows(
        seed: u64, which in which(), dense: bool, tokens in 0usize..300, rows in 1usize..70, columns in 1usize..300,
    ) {
        let random = &mut Random::new(seed);
        let (packing, packed_columns) = packed_shape(which, columns);
        let table = if dense {
            Stored::dense([Float::F32, Float::F16, Float::Bf16][which % 3], rows, columns, random)
        } else {
            Stored::packed(packing, rows, packed_columns, random)
        };
        let mut ids: Vec<i32> = (0..tokens).map(|_| random.below(rows) as i32).collect();
        if tokens > 2 {
            (ids[0], ids[1]) = (-5, i32::MAX);
        }
        let columns = table.columns;
        for isa in isas() {
            let kernels = Kernels::new(isa, 2, Activations::Exact);
            let mut out = vec![f32::NAN; tokens * columns];
            kernels.embed(table.matrix(), &ids, &mut out).unwrap();
            for (id, got) in ids.iter().zip(out.chunks_exact(columns)) {
                let row = (*id).clamp(0, rows as i32 - 1) as usize;
                prop_assert_eq!(bits(got), bits(&table.values[row * columns..][..columns]));
            }
        }
    }

    /// Whatever the sizes are, the answer is an error or a result.
    #[test]
    fn sizes_that_do_not_fit(
        which: usize, dense: bool, sizes in prop::array::uniform6(0usize..70), rows in 0usize..40, columns in 0usize..70,
    ) {
        let [x, live, residual, out, words, tokens] = sizes;
        let all = packings();
        let packing = all[which % all.len()];
        let (bytes, words) = (vec![0; words], vec![0; words]);
        let weight = if dense {
            Weight::Dense { float: Float::F32, bytes: &bytes }
        } else {
            Weight::Packed { packing, words: &words }
        };
        let fits = |count: usize, wanted: usize| count == wanted;
        for (rows, columns) in [(rows, columns), (usize::MAX / 2, columns), (rows, usize::MAX / 16)] {
            let matrix = Matrix { weight, rows, columns };
            let kernels = Kernels::new(Isa::best(), 1, Activations::Exact);
            let (x, live, residual) = (vec![0.0; x], vec![0; live], vec![0.0; residual]);
            let mut result = vec![0.0; out];
            let product = Product { matrix, residual: Some(&residual), out: &mut result };
            let done = kernels.linear(&x, &live, &mut [product]);
            let fit = Some(x.len()) == live.len().checked_mul(columns)
                && Some(out) == live.len().checked_mul(rows)
                && fits(residual.len(), out);
            prop_assert!(fit || done.is_err());
            let done = kernels.gated(&x, &live, matrix, matrix, Activation::Relu, &mut result);
            prop_assert!(fit || Some(x.len()) == live.len().checked_mul(columns) || done.is_err());
            let _ = kernels.embed(matrix, &vec![7; tokens], &mut result);
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let random = &mut Random::new(5);
    for packing in packings() {
        let columns = 2 * packing.granularity();
        let weight = Stored::packed(packing, 20, columns, random);
        let mut x = random.floats(3 * columns);
        x[columns / 2] = f32::NAN;
        x[columns] = f32::INFINITY;
        for isa in isas() {
            let kernels = Kernels::new(isa, 1, Activations::Exact);
            let out = linear(&kernels, &x, &[0; 3], &weight);
            assert!(out[..40].iter().all(|value| !value.is_finite()), "{packing} {isa}");
            assert!(out[40..].iter().all(|value| value.is_finite()), "{packing} {isa}");
        }
    }
}

#[test]
fn products_of_nothing() {
    let kernels = Kernels::new(Isa::best(), 2, Activations::Exact);
    kernels.linear(&[], &[], &mut []).unwrap();
    let weight = Weight::Dense { float: Float::F32, bytes: &[] };
    let matrix = Matrix { weight, rows: 2, columns: 0 };
    // What another product leaves behind in a thread's memory is not taken for the result.
    let ones = Stored::dense(Float::F32, 40, 3, &mut Random::new(1));
    linear(&kernels, &[1.0; 3 * 40], &[0; 40], &ones);
    for tokens in [2, 40] {
        let mut out = vec![f32::NAN; 2 * tokens];
        let product = Product { matrix, residual: None, out: &mut out };
        kernels.linear(&[], &vec![0; tokens], &mut [product]).unwrap();
        assert_eq!(out, vec![0.0; 2 * tokens]);
    }
    let matrix = Matrix { weight, rows: 0, columns: 3 };
    kernels
        .linear(&[1.0; 3], &[0], &mut [Product { matrix, residual: None, out: &mut [] }])
        .unwrap();
    assert!(
        kernels.embed(matrix, &[0], &mut [0.0; 3]).unwrap_err().to_string().contains("no rows")
    );
}

/// So many activations that they are taken in several runs, with padding between.
#[test]
fn many_tokens() {
    let random = &mut Random::new(11);
    let (packing, columns) = packed_shape(8, 2000);
    let weight = Stored::packed(packing, 40, columns, random);
    let x = random.activations(330 * columns);
    let live = random.live(330);
    let kernels = Kernels::new(Isa::best(), 3, Activations::Exact);
    let out = linear(&kernels, &x, &live, &weight);
    for (token, live) in live.iter().enumerate() {
        let got = bits(&out[token * 40..][..40]);
        let row = &x[token * columns..][..columns];
        assert_eq!(got, bits(&linear(&kernels, row, &[*live], &weight)), "{token}");
    }
}

/// Large products of single tokens are computed in both orders in which weights can be read, until it is known which is faster.
#[test]
fn either_order_of_reading() {
    let random = &mut Random::new(23);
    // From a mebibyte on: 1030 rows, so that the last block has one tile, of which 6 rows.
    let (rows, columns) = (1030, 2048);
    let packings: Vec<Packing> = packings()
        .into_iter()
        .filter(|packing| packing.words(rows, columns) >= 1 << 18 && packing.group() == 32)
        .step_by(5)
        .collect();
    assert!(packings.len() > 3);
    let mut weights: Vec<Stored> =
        packings.iter().map(|packing| Stored::packed(*packing, rows, columns, random)).collect();
    weights.push(Stored::dense(Float::F16, rows, columns, random));
    let x = random.activations(columns);
    for isa in isas() {
        for weight in &weights {
            let kernels = Kernels::new(isa, 2, Activations::Exact);
            let first = bits(&linear(&kernels, &x, &[0], weight));
            for n in 1..68 {
                assert!(bits(&linear(&kernels, &x, &[0], weight)) == first, "{isa}, product {n}");
            }
        }
    }
}

/// Activations that are all as large as their group's largest one, and codes that are all the largest or the smallest one: what sums
/// of integers there can be. Each token alone has the bits that it has among sixteen.
#[test]
fn largest_sums() {
    let random = &mut Random::new(19);
    for packing in packings() {
        let columns = 2 * packing.granularity();
        for code in [0, 255] {
            let weight = Stored::packed_with_codes(packing, 33, columns, random, code);
            let mut x = vec![1.0; 17 * columns];
            for (n, value) in x.iter_mut().enumerate() {
                // Two tokens of one sign, others of both.
                *value = if n / columns > 1 && random.below(2) == 0 { -1.0 } else { 1.0 };
            }
            x[columns..2 * columns].fill(-1.0);
            let activations = [Activations::Exact, Activations::Int8];
            for (isa, activations) in
                isas().into_iter().flat_map(|isa| activations.map(|activations| (isa, activations)))
            {
                let kernels = Kernels::new(isa, 1, activations);
                let all = linear(&kernels, &x, &[0; 17], &weight);
                for (token, x) in x.chunks_exact(columns).enumerate() {
                    let alone = linear(&kernels, x, &[0], &weight);
                    let among = &all[token * 33..][..33];
                    assert_eq!(bits(among), bits(&alone), "{packing} {isa} {token}");
                }
                for (got, (expected, size)) in all.iter().zip(weight.product(&x)) {
                    let off = (f64::from(*got) - expected).abs();
                    assert!(off <= 1e-6 * size + 1e-12, "{packing} {isa}: {got}, not {expected}");
                }
            }
        }
    }
}

/// Every scale of MXFP4, the smallest among them, which is no normal number.
#[test]
fn scales_of_mxfp4() {
    let random = &mut Random::new(13);
    let packing = codebooks()[0];
    let columns = 255 * packing.group();
    let weight = Stored::mxfp4_of_all_scales(3, columns, random);
    for isa in isas() {
        let kernels = Kernels::new(isa, 1, Activations::Exact);
        for group in 0..255 {
            // So large that the products of the smallest scales are normal numbers.
            let value = if group < 128 { 1048576.0 } else { 0.5 };
            let mut x = vec![0.0; columns];
            x[group * packing.group() + 2] = value;
            let out = linear(&kernels, &x, &[0], &weight);
            for (row, got) in out.iter().enumerate() {
                let expected = value * weight.values[row * columns + group * packing.group() + 2];
                // f32 has no 6 · 2^127.
                let off = if *got == expected { 0.0 } else { (got - expected).abs() };
                assert!(off <= 1e-6 * expected.abs(), "{isa} {group}: {got}, not {expected}");
            }
        }
    }
}

/// Few products, and every path through memory: part of a tile, a tile more than a block of rows, tokens beyond a block.
#[test]
fn ragged_sizes() {
    let random = &mut Random::new(17);
    let floats = [Float::F32, Float::F16, Float::Bf16];
    let packed = packings().into_iter().map(|packing| (Some(packing), Float::F32));
    for (packing, float) in packed.chain(floats.map(|float| (None, float))) {
        for (rows, tokens) in [(3, 1), (33, 5)] {
            let weight = match packing {
                Some(packing) => Stored::packed(packing, rows, packing.granularity(), random),
                None => Stored::dense(float, rows, 19, random),
            };
            let columns = weight.columns;
            let x = random.floats(tokens * columns);
            let residual = random.floats(tokens * rows);
            let mut looked_up = vec![f32::NAN; 2 * columns];
            let mut out = vec![f32::NAN; tokens * rows];
            for isa in isas() {
                let kernels = Kernels::new(isa, 2, Activations::Exact);
                let (matrix, live) = (weight.matrix(), vec![0; tokens]);
                let product = Product { matrix, residual: Some(&residual), out: &mut out };
                kernels.linear(&x, &live, &mut [product]).unwrap();
                let expected = weight.product(&x);
                for ((got, residual), (expected, size)) in out.iter().zip(&residual).zip(expected) {
                    let off = (f64::from(*got) - f64::from(*residual) - expected).abs();
                    // Of a group, whose largest value is at most 1, half a unit of 16 bits is lost for each value.
                    assert!(off <= 1e-3 * size + 1e-6, "{isa} {packing:?} {float}");
                }
                kernels.gated(&x, &live, matrix, matrix, Activation::Silu, &mut out).unwrap();
                assert!(out.iter().all(|value| value.is_finite()));
                kernels.embed(matrix, &[rows as i32 - 1, 0], &mut looked_up).unwrap();
                let last = &weight.values[(rows - 1) * columns..];
                assert_eq!(bits(&looked_up[..columns]), bits(last), "{isa} {packing:?}");
            }
        }
    }
}
