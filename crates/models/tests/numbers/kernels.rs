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
            let table = Weight { value: x[0], storage: storage.into(), rows, columns };
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
    let formulas: [(Activation, Formula); 3] = [
        (Activation::Silu, |x| x / (1.0 + (-x).exp())),
        (Activation::GeluTanh, |x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }),
        (Activation::Relu, |x| x.max(0.0)),
    ];
    let x: Vec<f32> = (-400..400).map(|n| n as f32 / 20.0).collect();
    for (activation, formula) in formulas {
        let results = evaluate(vec![points(x.clone())], |_, x| vec![activation.apply(x[0])]);
        for (x, found) in x.iter().zip(&results[0]) {
            let exact = formula(f64::from(*x));
            let error = (f64::from(*found) - exact).abs();
            assert!(error <= 2e-6, "{} of {x}: {found}, not {exact}", activation.name());
        }
    }
}
