//! Loops of the interpreter.

use crate::evaluate::{evaluate, integers};
use crate::interpreter::Data;
use stablemate_graph::{ElementType, Label, TensorType};

const POINT: Label = Label("Point");

#[test]
fn a_loop_hands_values_from_iteration_to_iteration() {
    for count in [0, 1, 7] {
        let start = TensorType::new(ElementType::F32, [POINT.of(2)]);
        let steps = integers(&[POINT.of(7)], vec![3, 1, 4, 1, 5, 9, 2]);
        let arguments = vec![(start, Data::Float(vec![1.0, -2.0])), steps];
        let results = evaluate(arguments, |builder, x| {
            let steps = x[1].convert(ElementType::F32);
            builder.repeat(count, &[x[0], builder.scalar(0.0)], |index, carried| {
                // Both values are used by the next iteration: a body that updated one in place
                // would err.
                let step = steps.take(POINT, index);
                vec![carried[0] * step + carried[1], step]
            })
        });
        let (mut x, mut last) = ([1.0f32, -2.0], 0.0);
        for step in [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0].into_iter().take(count) {
            x = x.map(|x| x * step + last);
            last = step;
        }
        assert_eq!(results, [x.to_vec(), vec![last]], "{count} iterations");
    }
}

#[test]
fn loops_nest() {
    // Σ_i Σ_{j < 4} (10 i + j) for i < 3.
    let start = TensorType::scalar(ElementType::F32);
    let results = evaluate(vec![(start, Data::Float(vec![0.0]))], |builder, x| {
        builder.repeat(3, &x, |i, outer| {
            let tens = i.convert(ElementType::F32) * 10.0;
            builder.repeat(4, outer, |j, inner| vec![inner[0] + tens + j.convert(ElementType::F32)])
        })
    });
    assert_eq!(results, [[138.0]]);
}
