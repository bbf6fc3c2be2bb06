//! How operands meet by label, and what each method of a value makes of them.

use super::{A, B, C, D, error, f32s, i32s, lines, text};
use crate::{Builder, Direction, ElementType, TensorType, Value};

/// The result's type, as labelled.
fn typed(
    arguments: &[TensorType],
    build: impl for<'b> FnOnce(&'b Builder<'b>, &[Value<'b>]) -> Value<'b>,
) -> String {
    let mut ty = String::new();
    text(arguments, |builder, x| {
        let result = build(builder, x);
        ty = result.ty().to_string();
        result
    })
    .unwrap_or_else(|error| panic!("{error}"));
    ty
}

#[test]
fn an_operand_is_broadcast_along_the_labels_it_lacks() {
    let (wide, narrow) = (f32s([A.of(2), B.of(3), C.of(4)]), f32s([A.of(2), C.of(4)]));
    for (arguments, expected) in [
        ([wide.clone(), narrow.clone()], "%subtract = stablehlo.subtract %x, %broadcast"),
        ([narrow, wide.clone()], "%subtract = stablehlo.subtract %broadcast, %y"),
    ] {
        let lines = lines(&arguments, |_, x| x[0] - x[1]);
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[0].contains("dims = [0, 2] : (tensor<2x4xf32>) -> tensor<2x3x4xf32>"));
        assert!(lines[1].starts_with(expected), "{}", lines[1]);
    }
    // Nothing to do between equal types.
    assert_eq!(lines(&[wide.clone(), wide.clone()], |_, x| x[0] * x[1]).lines().count(), 1);
    let scalar = lines(&[f32s([]), wide], |_, x| x[0] / x[1]);
    assert!(scalar.contains("dims = [] : (tensor<f32>) -> tensor<2x3x4xf32>"), "{scalar}");
}

#[test]
fn operands_that_do_not_meet_are_refused() {
    let x = f32s([A.of(2), B.of(3)]);
    for (other, part) in [
        // Equal sizes, other meaning; permuted; another size; not even a broadcast of size 1.
        (f32s([A.of(2), C.of(3)]), "[A 2, C 3] f32 does not broadcast by label to [A 2, B 3] f32"),
        (f32s([B.of(3), A.of(2)]), "[B 3, A 2] f32 does not broadcast by label to [A 2, B 3] f32"),
        (f32s([B.of(4)]), "[B 4] f32 does not broadcast by label to [A 2, B 3] f32"),
        (f32s([B.of(1)]), "[B 1] f32 does not broadcast by label to [A 2, B 3] f32"),
        (i32s([B.of(3)]), "[A 2, B 3] f32 and [A 2, B 3] i32 differ (C1)"),
    ] {
        let found = error(&[x.clone(), other.clone()], |_, x| x[0] + x[1]);
        assert!(found.message.contains(part), "{}", found.message);
        assert_eq!(found.operation, "add");
        let compared = error(&[x.clone(), other], |_, x| x[0].compare(Direction::Lt, x[1]));
        assert!(compared.message.contains(part), "{}", compared.message);
        assert_eq!(compared.operation, "compare");
    }
    let found = error(&[f32s([A.of(2)])], |_, x| x[0].broadcast(&[B.of(3)]));
    assert!(
        found.message.contains("[A 2] f32 does not broadcast by label to [B 3] f32"),
        "{found}"
    );
}

#[test]
fn scalar_constants_take_the_element_type() {
    for (element, expected) in [
        (ElementType::F32, "dense<2.0e0> : tensor<f32>"),
        (ElementType::Bf16, "dense<2.0e0> : tensor<bf16>"),
        (ElementType::I32, "dense<2> : tensor<i32>"),
    ] {
        let x = TensorType::new(element, [A.of(3)]);
        let found = lines(&[x], |_, x| (x[0] * 2.0).maximum(x[0] - 2.0));
        assert_eq!(found.matches(expected).count(), 2, "{found}");
    }
    let found = error(&[i32s([A.of(3)])], |_, x| x[0] * 0.5);
    assert!(found.message.contains("0.5 is not a value of i32"), "{found}");
    let found = error(&[i32s([A.of(3)])], |_, x| x[0] - 3e9);
    assert!(found.message.contains("3000000000"), "{found}");
}

#[test]
fn a_choice_meets_by_label_three_ways() {
    let (whole, row) = (f32s([A.of(2), B.of(3)]), f32s([B.of(3)]));
    let (predicate, rows) =
        (whole.with_element(ElementType::I1), row.with_element(ElementType::I1));
    for (arguments, broadcasts) in [
        ([predicate.clone(), whole.clone(), whole.clone()], 0),
        ([predicate.clone(), row.clone(), row.clone()], 2),
        ([predicate.clone(), row.clone(), whole.clone()], 1),
        ([predicate.clone(), whole.clone(), f32s([])], 1),
        ([rows.clone(), whole.clone(), whole.clone()], 1),
        ([rows, row.clone(), whole.clone()], 2),
    ] {
        let found = lines(&arguments, |_, x| x[0].select(x[1], x[2]));
        assert_eq!(found.matches("broadcast_in_dim").count(), broadcasts, "{found}");
        assert!(found.ends_with(": tensor<2x3xi1>, tensor<2x3xf32>"), "{found}");
    }
    let found = error(&[predicate, whole, f32s([C.of(3)])], |_, x| x[0].select(x[1], x[2]));
    assert!(found.message.contains("C 3"), "{found}");
}

#[test]
fn contraction_is_by_label() {
    // Batch A, contract C: neither operand's order matters.
    let (x, y) = (f32s([A.of(2), B.of(3), C.of(4)]), f32s([C.of(4), D.of(5), A.of(2)]));
    assert_eq!(
        typed(&[x.clone(), y.clone()], |_, x| x[0].contract(x[1], &[C])),
        "[A 2, B 3, D 5] f32"
    );
    let found = lines(&[x.clone(), y.clone()], |_, x| x[0].contract(x[1], &[C]));
    assert!(found.contains("batching_dims = [0] x [2], contracting_dims = [2] x [0]"), "{found}");
    assert_eq!(
        typed(&[x.clone(), y.clone()], |_, x| x[0].contract(x[1], &[A, C])),
        "[B 3, D 5] f32"
    );

    let found = error(&[x.clone(), y.clone()], |_, x| x[0].contract(x[1], &[B]));
    assert!(found.message.contains("[C 4, D 5, A 2] f32 has no dimension B (labels)"), "{found}");
    let found = error(&[x.clone(), y.clone()], |_, x| x[0].contract(x[1], &[D]));
    assert!(found.message.contains("[A 2, B 3, C 4] f32 has no dimension D"), "{found}");
    let found = error(&[x.clone(), f32s([C.of(5)])], |_, x| x[0].contract(x[1], &[C]));
    assert!(found.message.contains("C 4 on the left meets C 5 on the right (C10)"), "{found}");
    let found = error(&[x.clone(), f32s([C.of(4), A.of(3)])], |_, x| x[0].contract(x[1], &[C]));
    assert!(found.message.contains("A 2 on the left meets A 3 on the right (C9)"), "{found}");
    let found = error(&[x, y], |_, x| x[0].contract(x[1], &[C, C]));
    assert!(found.message.contains("given twice (C3)"), "{found}");
}

#[test]
fn dimensions_are_split_merged_and_relabelled() {
    let x = || [f32s([A.of(2), B.of(6)])];
    assert_eq!(typed(&x(), |_, x| x[0].split(B, &[C.of(3), D.of(2)])), "[A 2, C 3, D 2] f32");
    assert_eq!(typed(&x(), |_, x| x[0].merge(&[A, B], C)), "[C 12] f32");
    assert_eq!(typed(&x(), |_, x| x[0].relabel(B, C)), "[A 2, C 6] f32");
    assert_eq!(typed(&x(), |_, x| x[0].append(C)), "[A 2, B 6, C 1] f32");
    assert_eq!(typed(&x(), |_, x| x[0].transpose(&[B, A])), "[B 6, A 2] f32");
    assert_eq!(typed(&x(), |_, x| x[0].slice(B, 2..5)), "[A 2, B 3] f32");
    assert_eq!(typed(&x(), |_, x| x[0].concatenate(&[x[0], x[0]], B)), "[A 2, B 18] f32");
    assert_eq!(typed(&x(), |_, x| x[0].sum(A)), "[B 6] f32");
    assert_eq!(typed(&x(), |_, x| x[0].mean(B)), "[A 2] f32");

    type Build = for<'b> fn(Value<'b>) -> Value<'b>;
    let wrong: [(Build, &str); 12] = [
        (|x| x.split(B, &[C.of(3), D.of(3)]), "different numbers of elements (C2)"),
        (|x| x.split(C, &[D.of(6)]), "[A 2, B 6] f32 has no dimension C"),
        (|x| x.split(B, &[A.of(3), D.of(2)]), "two dimensions labelled A"),
        (|x| x.merge(&[B, A], C), "[B, A] are not neighbours in this order"),
        (|x| x.merge(&[A, C], D), "[A, C] are not neighbours in this order"),
        (|x| x.merge(&[], C), "has no dimension C"),
        (|x| x.relabel(C, D), "has no dimension C"),
        (|x| x.relabel(A, B), "two dimensions labelled B"),
        (|x| x.append(A), "two dimensions labelled A"),
        (|x| x.transpose(&[A]), "1 dimensions in the permutation"),
        (|x| x.slice(B, 4..7), "4..7 is not inside B 6 (C3)"),
        (|x| x.sum(C), "has no dimension C"),
    ];
    for (build, part) in wrong {
        let found = error(&x(), |_, x| build(x[0]));
        assert!(found.message.contains(part), "{found}");
    }
    let huge = f32s([A.of(1 << 40), B.of(1 << 40)]);
    let found = error(&[huge], |_, x| x[0].merge(&[A, B], C));
    assert!(found.message.contains("the size of C overflows"), "{found}");
    let other = [f32s([A.of(2), B.of(6)]), f32s([A.of(3), B.of(6)])];
    let found = error(&other, |_, x| x[0].concatenate(&[x[1]], B));
    assert!(found.message.contains("differ outside dimension 1"), "{found}");
}

#[test]
fn slices_are_taken_and_put() {
    let x = [f32s([A.of(2), B.of(6)]), i32s([C.of(4), D.of(5)])];
    assert_eq!(typed(&x, |_, x| x[0].take(A, x[1])), "[C 4, D 5, B 6] f32");
    assert_eq!(typed(&x, |_, x| x[0].take(B, x[1])), "[A 2, C 4, D 5] f32");
    let found = error(&x, |_, x| x[0].take(C, x[1]));
    assert!(found.message.contains("has no dimension C") && found.operation == "gather", "{found}");

    let x = [f32s([A.of(2), B.of(6)]), i32s([C.of(4), D.of(1)]), f32s([C.of(4), B.of(6)])];
    assert_eq!(typed(&x, |_, x| x[0].put(x[1], x[2])), "[A 2, B 6] f32");
    let found = error(&x, |_, x| x[0].put(x[1], x[0]));
    assert!(found.message.contains("the updates should be [C 4, B 6] f32 (C4)"), "{found}");
    assert_eq!(found.operation, "scatter");
    let found = error(&x, |_, x| x[0].put(x[2], x[0]));
    assert!(found.message.contains("6 leading dimensions of rank 2"), "{found}");
}

#[test]
fn reductions_begin_with_the_neutral_element_of_the_type() {
    for (element, largest, smallest) in [
        (ElementType::F32, "0xFF800000", "0x7F800000"),
        (ElementType::F16, "0xFC00", "0x7C00"),
        (ElementType::I8, "-128", "127"),
        (ElementType::I32, "-2147483648", "2147483647"),
        (ElementType::I64, "-9223372036854775808", "9223372036854775807"),
    ] {
        let x = [TensorType::new(element, [A.of(3)])];
        let found = lines(&x, |_, x| x[0].max(A));
        assert!(found.contains(&format!("dense<{largest}> : tensor<{element}>")), "{found}");
        let found = lines(&x, |_, x| x[0].min(A));
        assert!(found.contains(&format!("dense<{smallest}> : tensor<{element}>")), "{found}");
    }
}

#[test]
fn what_is_that_already_adds_nothing() {
    let x = [f32s([A.of(2)])];
    assert_eq!(lines(&x, |_, x| x[0].convert(ElementType::F32).broadcast(&[A.of(2)])), "");
    text(&x, |builder, x| {
        assert_eq!((x[0].size(A), x[0].size(B)), (2, 0));
        assert!(std::ptr::eq(x[0].builder(), builder));
        assert_eq!(format!("{:?} {}", x[0], x[0]), "%x [A 2] f32 %x [A 2] f32");
        x[0]
    })
    .unwrap();
}
