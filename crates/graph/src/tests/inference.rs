//! Every inference function, both ways for every constraint that it cites.

use super::{A, B, C, D, ELEMENTS, f32s, i32s};
use crate::infer::*;
use crate::{Binary, Dimension, DotDimensions, ElementType, Inferred, Literal, TensorType, Unary};

#[track_caller]
fn accepts(found: Inferred, expected: TensorType) {
    assert_eq!(found, Ok(expected));
}

#[track_caller]
fn rejects(found: Inferred, constraint: &str, part: &str) {
    let violation = found.expect_err("must be refused");
    assert_eq!(violation.constraint, constraint, "{}", violation.message);
    assert!(violation.message.contains(part), "{}", violation.message);
}

/// `[A 2, B 3]`.
fn matrix() -> TensorType {
    f32s([A.of(2), B.of(3)])
}

#[test]
fn unary_operations() {
    use Unary::*;
    let all = [
        Abs,
        Cosine,
        Exponential,
        Floor,
        Log,
        Logistic,
        Negate,
        RoundNearestEven,
        Rsqrt,
        Sine,
        Sqrt,
        Tanh,
    ];
    for op in all {
        for element in ELEMENTS {
            let ty = matrix().with_element(element);
            let integers = matches!(op, Abs | Negate) && element != ElementType::I1;
            if element.is_float() || integers {
                accepts(unary(op, &ty), ty.clone());
            } else {
                rejects(unary(op, &ty), "I1", &element.to_string());
            }
        }
    }
}

#[test]
fn binary_operations() {
    use Binary::*;
    let all = [
        Add,
        And,
        Divide,
        Maximum,
        Minimum,
        Multiply,
        Or,
        Power,
        Remainder,
        ShiftLeft,
        ShiftRightLogical,
        Subtract,
    ];
    for op in all {
        for element in ELEMENTS {
            let ty = matrix().with_element(element);
            let supported = match op {
                And | Or => !element.is_float(),
                ShiftLeft | ShiftRightLogical => !element.is_float() && element != ElementType::I1,
                Divide | Power | Remainder | Subtract => element != ElementType::I1,
                _ => true,
            };
            if supported {
                accepts(binary(op, &ty, &ty), ty.clone());
            } else {
                rejects(binary(op, &ty, &ty), "I1", &element.to_string());
            }
        }
    }
    let x = matrix();
    rejects(binary(Add, &x, &i32s([A.of(2), B.of(3)])), "C1", "[A 2, B 3] i32");
    rejects(binary(Add, &x, &f32s([A.of(2), B.of(4)])), "C1", "[A 2, B 4]");
    rejects(binary(Add, &x, &f32s([A.of(2)])), "C1", "[A 2] f32");
    rejects(binary(Add, &x, &f32s([A.of(2), C.of(3)])), "labels", "[A 2, C 3]");
}

#[test]
fn comparison_and_choice() {
    let (x, truth) = (matrix(), matrix().with_element(ElementType::I1));
    for element in ELEMENTS {
        let ty = x.with_element(element);
        accepts(compare(&ty, &ty), truth.clone());
        accepts(select(&truth, &ty, &ty), ty.clone());
    }
    rejects(compare(&x, &i32s([A.of(2), B.of(3)])), "C1", "i32");
    rejects(compare(&x, &f32s([A.of(2)])), "C2", "[A 2]");
    rejects(compare(&x, &f32s([A.of(2), C.of(3)])), "labels", "C 3");

    accepts(select(&TensorType::scalar(ElementType::I1), &x, &x), x.clone());
    rejects(select(&x, &x, &x), "I1", "f32");
    let short = TensorType::new(ElementType::I1, [A.of(2)]);
    rejects(select(&short, &x, &x), "C1", "[A 2] i1");
    rejects(select(&truth, &x, &x.with_element(ElementType::F16)), "C2", "f16");
    rejects(select(&truth, &x, &f32s([A.of(2), B.of(4)])), "C2", "B 4");
    rejects(select(&truth, &x, &f32s([A.of(2), C.of(3)])), "labels", "C 3");
}

#[test]
fn conversions() {
    for from in ELEMENTS {
        for to in ELEMENTS {
            let (x, y) = (matrix().with_element(from), matrix().with_element(to));
            accepts(convert(&x, to), y.clone());
            let bits = |element| match element {
                ElementType::I1 => 1,
                _ => 8 * ElementType::bytes(element),
            };
            if bits(from) == bits(to) {
                accepts(bitcast_convert(&x, to), y);
            } else {
                rejects(bitcast_convert(&x, to), "C1", &to.to_string());
            }
        }
    }
}

#[test]
fn slices() {
    let x = matrix();
    accepts(slice(&x, &[(0, 2), (1, 3)]), f32s([A.of(2), B.of(2)]));
    accepts(slice(&x, &[(0, 2), (0, 3)]), x.clone());
    accepts(slice(&x, &[(0, 2), (3, 3)]), f32s([A.of(2), B.of(0)]));
    rejects(slice(&x, &[(0, 2)]), "C2", "1 bounds");
    rejects(slice(&x, &[(0, 2), (2, 1)]), "C3", "2..1");
    rejects(slice(&x, &[(0, 3), (0, 3)]), "C3", "A 2");
}

#[test]
fn concatenation() {
    let x = matrix();
    accepts(concatenate(std::slice::from_ref(&x), 0), x.clone());
    let longer = f32s([A.of(2), B.of(4)]);
    accepts(concatenate(&[x.clone(), longer.clone(), x.clone()], 1), f32s([A.of(2), B.of(10)]));
    rejects(concatenate(&[x.clone(), x.with_element(ElementType::F16)], 1), "C1", "f16");
    rejects(concatenate(&[x.clone(), f32s([A.of(2)])], 1), "C2", "rank");
    rejects(concatenate(&[x.clone(), longer], 0), "C2", "outside dimension 0");
    rejects(concatenate(&[x.clone(), f32s([C.of(2), B.of(3)])], 1), "C2", "C 2");
    rejects(concatenate(&[], 0), "C3", "nothing");
    rejects(concatenate(std::slice::from_ref(&x), 2), "C4", "rank 2");
    let huge = f32s([A.of(usize::MAX)]);
    rejects(concatenate(&[huge.clone(), huge], 0), "C6", "overflow");
}

#[test]
fn taking_slices() {
    let x = matrix();
    let indices = i32s([C.of(5), D.of(7)]);
    accepts(take(&x, &indices, 0), f32s([C.of(5), D.of(7), B.of(3)]));
    accepts(take(&x, &indices, 1), f32s([A.of(2), C.of(5), D.of(7)]));
    accepts(take(&x, &TensorType::scalar(ElementType::I64), 1), f32s([A.of(2)]));
    // A label may come back where it was.
    accepts(take(&x, &i32s([A.of(9)]), 0), f32s([A.of(9), B.of(3)]));
    rejects(take(&x, &indices, 2), "C19", "rank 2");
    rejects(take(&x, &f32s([C.of(5)]), 0), "I2", "f32");
    rejects(take(&f32s([A.of(0), B.of(3)]), &indices, 0), "C21", "A 0");
    rejects(take(&x, &i32s([B.of(5)]), 0), "labels", "two dimensions labelled B");
}

#[test]
fn putting_slices() {
    let x = f32s([A.of(2), B.of(3), C.of(4)]);
    let index = |n| i32s([D.of(7), Dimension { label: crate::Label("Index"), size: n }]);
    let updates = |rest: &[Dimension]| f32s([&[D.of(7)], rest].concat());
    accepts(put(&x, &index(2), &updates(&[C.of(4)]), 2), x.clone());
    accepts(put(&x, &index(1), &updates(&[B.of(3), C.of(4)]), 1), x.clone());
    accepts(put(&x, &index(3), &updates(&[]), 3), x.clone());
    rejects(put(&x, &index(4), &updates(&[]), 4), "C21", "4 leading");
    rejects(put(&x, &f32s([D.of(7), A.of(2)]), &updates(&[C.of(4)]), 2), "I2", "f32");
    let scalar = TensorType::scalar(ElementType::I32);
    rejects(put(&x, &scalar, &updates(&[C.of(4)]), 2), "C22", "no dimension");
    rejects(put(&x, &index(1), &updates(&[C.of(4)]), 2), "C19", "Index 1");
    let halves = updates(&[C.of(4)]).with_element(ElementType::F16);
    rejects(put(&x, &index(2), &halves, 2), "C6", "f16");
    rejects(put(&x, &index(2), &updates(&[C.of(5)]), 2), "C4", "[D 7, C 4]");
    rejects(put(&x, &index(2), &f32s([A.of(7), C.of(4)]), 2), "C4", "[D 7, C 4]");
}

#[test]
fn products() {
    // Batch A, contract D.
    let (x, y) = (f32s([A.of(2), B.of(3), D.of(4)]), f32s([C.of(5), D.of(4), A.of(2)]));
    let numbers = |batch: [&[usize]; 2], contract: [&[usize]; 2]| DotDimensions {
        lhs_batching: batch[0].to_vec(),
        rhs_batching: batch[1].to_vec(),
        lhs_contracting: contract[0].to_vec(),
        rhs_contracting: contract[1].to_vec(),
    };
    let good = numbers([&[0], &[2]], [&[2], &[1]]);
    accepts(dot_general(&x, &y, &good), f32s([A.of(2), B.of(3), C.of(5)]));
    let outer = dot_general(&f32s([A.of(2)]), &f32s([B.of(3)]), &DotDimensions::default());
    accepts(outer, matrix());
    let both = numbers([&[], &[]], [&[0, 1], &[0, 1]]);
    accepts(dot_general(&matrix(), &matrix(), &both), f32s([]));

    for (constraint, wrong, part) in [
        ("C1", numbers([&[0], &[]], [&[2], &[1]]), "1 batching"),
        ("C2", numbers([&[0], &[2]], [&[2], &[]]), "1 contracting"),
        ("C3", numbers([&[2], &[2]], [&[2], &[1]]), "left dimension 2"),
        ("C4", numbers([&[0], &[1]], [&[2], &[1]]), "right dimension 1"),
        ("C5", numbers([&[3], &[2]], [&[2], &[1]]), "3 is not below the rank 3"),
        ("C6", numbers([&[0], &[2]], [&[3], &[1]]), "left contracting dimension 3"),
        ("C7", numbers([&[0], &[3]], [&[2], &[1]]), "right batching dimension 3"),
        ("C8", numbers([&[0], &[2]], [&[2], &[3]]), "right contracting dimension 3"),
        ("C9", numbers([&[1], &[2]], [&[2], &[1]]), "B 3 on the left meets A 2"),
        ("C10", numbers([&[0], &[2]], [&[1], &[1]]), "B 3 on the left meets D 4"),
    ] {
        rejects(dot_general(&x, &y, &wrong), constraint, part);
    }
    rejects(dot_general(&x, &y.with_element(ElementType::Bf16), &good), "C13", "bf16");
    let renamed = f32s([C.of(5), D.of(4), B.of(2)]);
    rejects(dot_general(&x, &renamed, &good), "labels", "A 2 on the left meets B 2");
    let renamed = f32s([C.of(5), B.of(4), A.of(2)]);
    rejects(dot_general(&x, &renamed, &good), "labels", "D 4 on the left meets B 4");
    let twice = f32s([B.of(5), D.of(4), A.of(2)]);
    rejects(dot_general(&x, &twice, &good), "labels", "two dimensions labelled B");
}

#[test]
fn reductions() {
    let (x, zero) = (f32s([A.of(2), B.of(3), C.of(4)]), f32s([]));
    accepts(reduce(&x, &zero, &[1]), f32s([A.of(2), C.of(4)]));
    accepts(reduce(&x, &zero, &[2, 0]), f32s([B.of(3)]));
    accepts(reduce(&x, &zero, &[]), x.clone());
    rejects(reduce(&x, &i32s([]), &[1]), "C2", "i32");
    rejects(reduce(&x, &f32s([A.of(1)]), &[1]), "C2", "[A 1]");
    rejects(reduce(&x, &zero, &[3]), "C4", "3 is not below the rank 3");
    rejects(reduce(&x, &zero, &[1, 1]), "C5", "1 is given twice");
}

#[test]
fn constants() {
    let six = || vec![0.5; 6];
    for element in ELEMENTS {
        let ty = matrix().with_element(element);
        let kinds = [
            (Literal::Float(six()), element.is_float()),
            (Literal::Boolean(vec![true; 6]), element == ElementType::I1),
            (Literal::Integer(vec![7; 6]), !element.is_float() && element != ElementType::I1),
        ];
        for (literal, fits) in kinds {
            assert_eq!((literal.len(), literal.is_empty()), (6, false));
            if fits {
                accepts(constant(&literal, &ty), ty.clone());
            } else {
                rejects(constant(&literal, &ty), "C1", "another kind");
            }
        }
    }
    accepts(constant(&Literal::Float(vec![1.0]), &matrix()), matrix());
    rejects(constant(&Literal::Float(vec![1.0; 5]), &matrix()), "C1", "5 values");
    rejects(constant(&Literal::Float(vec![]), &matrix()), "C1", "0 values");
    rejects(
        constant(&Literal::Float(vec![1.0]), &f32s([A.of(2), A.of(3)])),
        "labels",
        "labelled A",
    );
    for (element, limit) in [
        (ElementType::I8, i64::from(i8::MAX)),
        (ElementType::I16, i16::MAX.into()),
        (ElementType::I32, i32::MAX.into()),
    ] {
        let scalar = TensorType::scalar(element);
        for inside in [limit, -limit - 1] {
            accepts(constant(&Literal::Integer(vec![inside]), &scalar), scalar.clone());
        }
        for outside in [limit + 1, -limit - 2] {
            let found = constant(&Literal::Integer(vec![outside]), &scalar);
            rejects(found, "C1", &outside.to_string());
        }
    }
}

#[test]
fn counting() {
    let x = i32s([A.of(2), B.of(3)]);
    accepts(iota(&x, 1), x.clone());
    accepts(iota(&matrix(), 0), matrix());
    rejects(iota(&x, 2), "C1", "rank 2");
    rejects(iota(&x.with_element(ElementType::I1), 0), "O1", "i1");
    rejects(iota(&i32s([A.of(2), A.of(3)]), 0), "labels", "labelled A");
}

#[test]
fn broadcasts() {
    let to = [A.of(2), B.of(3), C.of(4)];
    let x = f32s([A.of(2), C.of(4)]);
    accepts(broadcast_in_dim(&x, &to, &[0, 2]), f32s(to));
    accepts(broadcast_in_dim(&f32s([]), &to, &[]), f32s(to));
    accepts(broadcast_in_dim(&f32s([A.of(1), C.of(4)]), &to, &[0, 2]), f32s(to));
    rejects(broadcast_in_dim(&x, &to, &[0]), "C2", "rank 2");
    rejects(broadcast_in_dim(&x, &to, &[0, 3]), "C3", "rank 3");
    rejects(broadcast_in_dim(&x, &to, &[0, 0]), "C4", "twice");
    rejects(broadcast_in_dim(&x, &to, &[0, 1]), "C5", "C 4 does not broadcast to B 3");
    rejects(broadcast_in_dim(&f32s([]), &[A.of(2), A.of(2)], &[]), "labels", "labelled A");
}

#[test]
fn reshapes() {
    let x = matrix();
    accepts(reshape(&x, &[C.of(6)]), f32s([C.of(6)]));
    accepts(reshape(&x, &[B.of(3), A.of(2), C.of(1)]), f32s([B.of(3), A.of(2), C.of(1)]));
    rejects(reshape(&x, &[C.of(5)]), "C2", "different numbers of elements");
    let huge = [A.of(1 << 32), B.of(1 << 32)];
    rejects(reshape(&f32s(huge), &huge), "C2", "different");
    rejects(reshape(&x, &[C.of(2), C.of(3)]), "labels", "labelled C");
}

#[test]
fn transposition() {
    let x = f32s([A.of(2), B.of(3), C.of(4)]);
    accepts(transpose(&x, &[2, 0, 1]), f32s([C.of(4), A.of(2), B.of(3)]));
    accepts(transpose(&f32s([]), &[]), f32s([]));
    rejects(transpose(&x, &[1, 0]), "C2", "2 dimensions in the permutation");
    rejects(transpose(&x, &[0, 1, 3]), "C2", "rank 3");
    rejects(transpose(&x, &[0, 1, 1]), "C2", "twice");
}

#[test]
fn loops() {
    let truth = TensorType::scalar(ElementType::I1);
    let condition = std::slice::from_ref(&truth);
    let types = [i32s([]), matrix()];
    assert_eq!(while_loop(&types, condition, &types), Ok(types.to_vec()));
    assert_eq!(while_loop(&[], condition, &[]), Ok(vec![]));
    let refused = |condition: &[TensorType], body: &[TensorType], constraint: &str, part: &str| {
        let found = while_loop(&types, condition, body);
        rejects(found.map(|types| types[0].clone()), constraint, part);
    };
    refused(&[], &types, "C1", "gives , not [] i1");
    refused(&[truth.clone(), truth.clone()], &types, "C1", "[] i1, [] i1");
    refused(&[i32s([])], &types, "C1", "[] i32");
    refused(&[TensorType::new(ElementType::I1, [A.of(1)])], &types, "C1", "[A 1] i1");
    refused(condition, &types[..1], "C2", "2 values go into the body, 1 come out");
    refused(condition, &[types[0].clone(), f32s([A.of(2)])], "C2", "value 1 is [A 2, B 3] f32");
    refused(condition, &[f32s([]), types[1].clone()], "C2", "value 0 is [] i32");
    refused(condition, &[types[0].clone(), f32s([A.of(2), C.of(3)])], "labels", "C 3");
}
