//! Operations that create or rearrange elements.

use super::{Inferred, check_axes, check_unique, distinct_labels, require};
use crate::{Dimension, ElementType, Literal, TensorType};

/// `constant`: (C1) the value has the output's type; one value stands for all elements.
pub fn constant(literal: &Literal, ty: &TensorType) -> Inferred {
    let fits = match literal {
        Literal::Float(_) => ty.element.is_float(),
        Literal::Boolean(_) => ty.element == ElementType::I1,
        Literal::Integer(_) => ty.element.integers().is_some(),
    };
    require(fits, "C1", || format!("values of another kind than {}", ty.element))?;
    if let (Literal::Integer(values), Some((lowest, highest))) = (literal, ty.element.integers()) {
        let outside = values.iter().find(|value| !(lowest..=highest).contains(value));
        require(outside.is_none(), "C1", || {
            format!("{outside:?} is not a value of {}", ty.element)
        })?;
    }
    require(literal.len() == 1 || Some(literal.len()) == ty.elements(), "C1", || {
        format!("{} values for {ty}", literal.len())
    })?;
    distinct_labels(ty.clone())
}

/// `iota`: (C1) the dimension is one of the output's.
pub fn iota(ty: &TensorType, dimension: usize) -> Inferred {
    check_axes(&[dimension], ty.rank(), "C1", "dimension")?;
    require(ty.element != ElementType::I1, "O1", || "i1 has no iota".to_string())?;
    distinct_labels(ty.clone())
}

/// `broadcast_in_dim`: (C5) each operand dimension is 1 or the result dimension's size.
pub fn broadcast_in_dim(operand: &TensorType, to: &[Dimension], axes: &[usize]) -> Inferred {
    require(axes.len() == operand.rank(), "C2", || {
        format!("{} broadcast dimensions for rank {}", axes.len(), operand.rank())
    })?;
    check_axes(axes, to.len(), "C3", "broadcast dimension")?;
    check_unique(axes, "C4", "broadcast dimension")?;
    for (dimension, &axis) in operand.dimensions.iter().zip(axes) {
        require(dimension.size == 1 || dimension.size == to[axis].size, "C5", || {
            format!("{dimension} does not broadcast to {}", to[axis])
        })?;
    }
    distinct_labels(TensorType::new(operand.element, to))
}

/// `reshape`: (C2) as many elements as before.
pub fn reshape(operand: &TensorType, to: &[Dimension]) -> Inferred {
    let result = TensorType::new(operand.element, to);
    require(operand.elements().is_some() && operand.elements() == result.elements(), "C2", || {
        format!("{operand} and {result} have different numbers of elements")
    })?;
    distinct_labels(result)
}

/// `transpose`: (C2) a permutation; (C3) the result's dimensions are the operand's, permuted.
pub fn transpose(operand: &TensorType, permutation: &[usize]) -> Inferred {
    require(permutation.len() == operand.rank(), "C2", || {
        format!(
            "{} dimensions in the permutation, {} in {operand}",
            permutation.len(),
            operand.rank()
        )
    })?;
    check_axes(permutation, operand.rank(), "C2", "dimension")?;
    check_unique(permutation, "C2", "dimension")?;
    let dimensions: Vec<_> = permutation.iter().map(|&n| operand.dimensions[n]).collect();
    Ok(TensorType::new(operand.element, dimensions))
}
