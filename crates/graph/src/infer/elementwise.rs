//! Element-wise operations.

use super::{Inferred, require};
use crate::{Binary, ElementType, TensorType, Unary};

/// `abs`, `cosine`, …: (C1) the result has the operand's type; (I1) restricts the element type.
pub fn unary(op: Unary, operand: &TensorType) -> Inferred {
    let signed = operand.element.is_float()
        || (matches!(op, Unary::Abs | Unary::Negate) && operand.element != ElementType::I1);
    require(signed, "I1", || format!("element type {} has no {op:?}", operand.element))?;
    Ok(operand.clone())
}

/// `add`, `multiply`, …: (C1) both operands and the result have one type; (I1) restricts the elements.
/// Labels must agree as well (our own rule).
pub fn binary(op: Binary, lhs: &TensorType, rhs: &TensorType) -> Inferred {
    same(lhs, rhs, "C1")?;
    let boolean = lhs.element == ElementType::I1;
    let supported = match op {
        Binary::And | Binary::Or => !lhs.element.is_float(),
        Binary::ShiftLeft | Binary::ShiftRightLogical => !lhs.element.is_float() && !boolean,
        Binary::Add | Binary::Multiply | Binary::Maximum | Binary::Minimum => true,
        Binary::Divide | Binary::Power | Binary::Remainder | Binary::Subtract => !boolean,
    };
    require(supported, "I1", || format!("element type {} has no {op:?}", lhs.element))?;
    Ok(lhs.clone())
}

/// `compare`: (C1) same element type; (C2) same shape, which the result has with `i1` elements.
pub fn compare(lhs: &TensorType, rhs: &TensorType) -> Inferred {
    same(lhs, rhs, if lhs.element == rhs.element { "C2" } else { "C1" })?;
    Ok(lhs.with_element(ElementType::I1))
}

/// `select`: (C1) the predicate has the branches' shape or is a scalar; (C2) the branches have the result's type.
pub fn select(predicate: &TensorType, on_true: &TensorType, on_false: &TensorType) -> Inferred {
    require(predicate.element == ElementType::I1, "I1", || {
        format!("the predicate's elements are {}, not i1", predicate.element)
    })?;
    require(predicate.rank() == 0 || predicate.dimensions == on_true.dimensions, "C1", || {
        format!("the predicate is {predicate}, the branches are {on_true}")
    })?;
    same(on_true, on_false, "C2")?;
    Ok(on_true.clone())
}

/// `convert`: (C1) the result has the operand's shape.
pub fn convert(operand: &TensorType, element: ElementType) -> Inferred {
    Ok(operand.with_element(element))
}

/// `bitcast_convert` between element types of equal width (the only form used here): (C1) same shape.
pub fn bitcast_convert(operand: &TensorType, element: ElementType) -> Inferred {
    let bits =
        |element: ElementType| if element == ElementType::I1 { 1 } else { 8 * element.bytes() };
    require(bits(operand.element) == bits(element), "C1", || {
        format!("{} and {element} have different widths", operand.element)
    })?;
    Ok(operand.with_element(element))
}

fn same(
    lhs: &TensorType,
    rhs: &TensorType,
    constraint: &'static str,
) -> Result<(), super::Violation> {
    require(lhs.element == rhs.element && lhs.sizes() == rhs.sizes(), constraint, || {
        format!("{lhs} and {rhs} differ")
    })?;
    require(lhs == rhs, "labels", || {
        format!(
            "{lhs} and {rhs} have equal sizes but range over different things; relabel one if that is meant"
        )
    })
}
