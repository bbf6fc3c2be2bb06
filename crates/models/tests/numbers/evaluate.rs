//! Graphs that are written for one test.

use crate::interpreter::{Data, Tensor, run};
use stablemate_graph::{Builder, ElementType, ModuleBuilder, TensorType, Value};
use stablemate_graph::{Dimension, Label};
use std::sync::Arc;

/// The results of a function of some arguments.
pub fn tensors(
    arguments: Vec<(TensorType, Data)>,
    build: impl for<'b> Fn(&'b Builder<'b>, Vec<Value<'b>>) -> Vec<Value<'b>>,
) -> Vec<Arc<Tensor>> {
    let module = ModuleBuilder::new("test");
    let main = module.function("main");
    let values = arguments.iter().map(|(ty, _)| main.argument("x", ty.clone())).collect();
    let results = build(&main, values);
    let named: Vec<(&str, Value<'_>)> = results.iter().map(|value| ("y", *value)).collect();
    main.finish(&named).unwrap_or_else(|error| panic!("{error}"));
    let module = module.finish().unwrap();
    let tensors: Vec<_> =
        arguments.into_iter().map(|(ty, data)| Arc::new(Tensor::new(&ty, data))).collect();
    run(&module, "main", &tensors)
}

/// The results of a function of some arguments, all f32.
pub fn evaluate(
    arguments: Vec<(TensorType, Data)>,
    build: impl for<'b> Fn(&'b Builder<'b>, Vec<Value<'b>>) -> Vec<Value<'b>>,
) -> Vec<Vec<f32>> {
    tensors(arguments, build).iter().map(|tensor| tensor.floats().to_vec()).collect()
}

/// Numbers that follow no pattern.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 32) as u32
    }

    /// In [-1, 1).
    pub fn float(&mut self) -> f32 {
        (self.word() as i32) as f32 / 2_147_483_648.0
    }

    /// An f32 argument of these dimensions.
    pub fn floats(&mut self, dimensions: &[Dimension]) -> (TensorType, Data) {
        let ty = TensorType::new(ElementType::F32, dimensions);
        let data = (0..ty.elements().unwrap()).map(|_| self.float()).collect();
        (ty, Data::Float(data))
    }
}

/// An i32 argument.
pub fn integers(dimensions: &[Dimension], values: Vec<i32>) -> (TensorType, Data) {
    (TensorType::new(ElementType::I32, dimensions), Data::Integer(values))
}

/// `live` of rows without padding.
pub fn live(label: Label, count: usize) -> (TensorType, Data) {
    integers(&[label.of(count)], (0..count as i32).collect())
}

pub fn floats(data: &Data) -> &[f32] {
    match data {
        Data::Float(values) => values,
        Data::Integer(_) => panic!("f32 expected"),
    }
}

#[track_caller]
pub fn assert_near(what: &str, found: &[f32], expected: &[f64], bound: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (n, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= bound, "{what}[{n}]: {found} instead of {expected}, off by {error:e}");
    }
}
