//! Parts by themselves, against f64 or the `half` crate.

use crate::evaluate::evaluate;
use crate::interpreter::Data;
use half::{bf16, f16};
use stablemate_graph::{ElementType, Label, TensorType};
use stablemate_models::dimensions::{MODEL, TOKEN, VOCABULARY};
use stablemate_models::kernels::{self, Weight};
use stablemate_models::parts::{Activation, cosine_and_sine};

const POINT: Label = Label("Point");

fn points(values: Vec<f32>) -> (TensorType, Data) {
    (TensorType::new(ElementType::F32, [POINT.of(values.len())]), Data::Float(values))
}

#[test]
fn cosine_and_sine_are_exact_to_two_in_ten_million() {
    let mut x = vec![0.0, -0.0, f32::MIN_POSITIVE];
    // Everywhere, in even steps that hit no pattern, and densely near zero.
    for n in 0..200_000_u32 {
        let fraction = f64::from(n.wrapping_mul(0x9E37_79B9)) / f64::from(u32::MAX) * 2.0 - 1.0;
        x.push((fraction * 3e5) as f32);
        x.push(fraction as f32);
    }
    // Whole positions (the fastest dimension), and where a sign or a branch changes.
    x.extend((0..300_000_i32).map(|n| n as f32));
    for n in 0..130_000_i32 {
        let near = (f64::from(n) * std::f64::consts::FRAC_PI_4) as f32;
        x.extend([near.next_down(), near, near.next_up(), -near]);
    }
    let results = evaluate(vec![points(x.clone())], |_, x| {
        let (cosine, sine) = cosine_and_sine(x[0]);
        vec![cosine, sine]
    });
    for (n, x) in x.iter().enumerate() {
        let exact = f64::from(*x);
        for (found, exact) in [(results[0][n], exact.cos()), (results[1][n], exact.sin())] {
            let error = (f64::from(found) - exact).abs();
            assert!(error <= 2e-7, "at {x}: {found} instead of {exact}, off by {error:e}");
        }
    }
}

#[test]
fn every_half_precision_value_is_widened_exactly() {
    let widen = |element, exact: fn(u16) -> f32| {
        let table = TensorType::new(element, [VOCABULARY.of(1 << 16), MODEL.of(1)]);
        let tokens = TensorType::new(ElementType::I32, [TOKEN.of(1 << 16)]);
        let bits = (0..=u16::MAX).map(|bits| i32::from(bits as i16)).collect();
        let arguments =
            vec![(table, Data::Integer(bits)), (tokens, Data::Integer((0..1 << 16).collect()))];
        let storage = if element == ElementType::I16 { ElementType::Bf16 } else { element };
        let (rows, columns) = (VOCABULARY.of(1 << 16), MODEL.of(1));
        let results = evaluate(arguments, |_, x| {
            let stack = None;
            let table = Weight { value: x[0], storage: storage.into(), rows, columns, stack };
            vec![kernels::embed(table, x[1])]
        });
        for bits in 0..=u16::MAX {
            let (found, exact) = (results[0][usize::from(bits)], exact(bits));
            let equal = found.to_bits() == exact.to_bits() || (found.is_nan() && exact.is_nan());
            assert!(equal, "{element} {bits:#06x}: {found} instead of {exact}");
        }
    };
    widen(ElementType::F16, |bits| f16::from_bits(bits).to_f32());
    widen(ElementType::I16, |bits| bf16::from_bits(bits).to_f32());
}

#[test]
fn activations_follow_their_formulas() {
    type Formula = fn(f64) -> f64;
    let formulas: [(Activation, Formula); 5] = [
        (Activation::Silu, |x| x / (1.0 + (-x).exp())),
        (Activation::GeluTanh, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }),
        (Activation::Gelu, |x| x * normal(x)),
        (Activation::Relu, |x| x.max(0.0)),
        (Activation::Relu2, |x| x.max(0.0).powi(2)),
    ];
    let x: Vec<f32> = (-400..400).map(|n| n as f32 / 20.0).collect();
    for (activation, formula) in formulas {
        let results = evaluate(vec![points(x.clone())], |_, x| vec![activation.apply(x[0])]);
        for (x, found) in x.iter().zip(&results[0]) {
            let exact = formula(f64::from(*x));
            let error = (f64::from(*found) - exact).abs();
            let bound = 2e-6_f64.max(1e-7 * exact.abs());
            assert!(error <= bound, "{} of {x}: {found}, not {exact}", activation.name());
        }
    }
}

/// The normal distribution function, by its continued fraction or its series.
fn normal(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let magnitude = x.abs();
    let above = if magnitude > 3.0 {
        density / (1..300).rev().fold(magnitude, |below, n| magnitude + f64::from(n) / below)
    } else {
        let (mut term, mut sum) = (magnitude, magnitude);
        for n in 1..200 {
            term *= magnitude * magnitude / f64::from(2 * n + 1);
            sum += term;
        }
        0.5 - density * sum
    };
    if x < 0.0 { above } else { 1.0 - above }
}

#[test]
fn the_exact_gelu_keeps_its_digits_where_it_is_small() {
    // erfc(1/√2) / 2 and erfc(5/√2) / 2, from Abramowitz and Stegun's tables.
    assert!((normal(-1.0) - 0.158_655_253_931_457_05).abs() < 1e-15);
    assert!((normal(-5.0) / 2.866_515_718_791_939e-7 - 1.0).abs() < 1e-12);
    let x: Vec<f32> = (-9000..9000).map(|n| n as f32 / 1000.0).collect();
    let results = evaluate(vec![points(x.clone())], |_, x| vec![Activation::Gelu.apply(x[0])]);
    for (x, found) in x.iter().zip(&results[0]) {
        let exact = f64::from(*x) * normal(f64::from(*x));
        let error = (f64::from(*found) - exact).abs();
        // Some units in the last place; of the tail, where the exponent's own rounding counts, some dozens.
        let bound = 3e-7 * exact.abs() + 1e-5 * exact.abs().min(f64::from(x.abs()) * 1e-2);
        assert!(error <= bound, "{x}: {found}, not {exact}");
    }
    let special = [0.0, -0.0, f32::INFINITY, 40.0, -40.0, f32::NAN];
    let results =
        evaluate(vec![points(special.to_vec())], |_, x| vec![Activation::Gelu.apply(x[0])]);
    assert_eq!(results[0][..4], [0.0, 0.0, f32::INFINITY, 40.0]);
    assert!(results[0][4].abs() < 1e-17 && results[0][5].is_nan());
}
