//! Parts of tensors: slices, concatenation, gather and scatter of whole slices.

use super::{Inferred, check_axes, distinct_labels, require};
use crate::{ElementType, TensorType};

/// `slice` with stride 1: (C3) bounds in order and inside; (C5) the result's sizes.
pub fn slice(operand: &TensorType, bounds: &[(usize, usize)]) -> Inferred {
    require(bounds.len() == operand.rank(), "C2", || {
        format!("{} bounds for rank {}", bounds.len(), operand.rank())
    })?;
    let mut result = operand.clone();
    for (dimension, &(start, limit)) in result.dimensions.iter_mut().zip(bounds) {
        require(start <= limit && limit <= dimension.size, "C3", || {
            format!("{start}..{limit} is not inside {dimension}")
        })?;
        dimension.size = limit - start;
    }
    Ok(result)
}

/// `concatenate`: (C2) same shapes but for `dimension`; (C6) whose sizes add up.
pub fn concatenate(inputs: &[TensorType], dimension: usize) -> Inferred {
    require(!inputs.is_empty(), "C3", || "nothing to concatenate".to_string())?;
    let mut result = inputs[0].clone();
    check_axes(&[dimension], result.rank(), "C4", "dimension")?;
    for input in &inputs[1..] {
        require(input.element == result.element, "C1", || {
            format!("element types {} and {} differ", result.element, input.element)
        })?;
        let mut expected = input.clone();
        require(expected.rank() == result.rank(), "C2", || {
            format!("{} and {input} differ in rank", inputs[0])
        })?;
        let added = expected.dimensions[dimension].size;
        expected.dimensions[dimension].size = result.dimensions[dimension].size;
        require(expected == result, "C2", || {
            format!("{} and {input} differ outside dimension {dimension}", inputs[0])
        })?;
        let total = result.dimensions[dimension].size.checked_add(added);
        require(total.is_some(), "C6", || "the sizes overflow".to_string())?;
        result.dimensions[dimension].size = total.unwrap_or(0);
    }
    Ok(result)
}

/// `gather` of whole slices along `axis`: (C22) the indices' dimensions take that dimension's place.
pub fn take(table: &TensorType, indices: &TensorType, axis: usize) -> Inferred {
    check_axes(&[axis], table.rank(), "C19", "dimension")?;
    integer(indices, "I2")?;
    require(table.dimensions[axis].size > 0, "C21", || format!("nothing to take from in {table}"))?;
    let mut dimensions = table.dimensions.clone();
    dimensions.splice(axis..=axis, indices.dimensions.iter().copied());
    distinct_labels(TensorType::new(table.element, dimensions))
}

/// `scatter` overwriting slices addressed by the `leading` first dimensions: (C4) the updates are the
/// indices' dimensions (without the last, of size `leading`) followed by the rest of the input's.
pub fn put(
    input: &TensorType,
    indices: &TensorType,
    updates: &TensorType,
    leading: usize,
) -> Inferred {
    require(leading <= input.rank(), "C21", || {
        format!("{leading} leading dimensions of rank {}", input.rank())
    })?;
    integer(indices, "I2")?;
    let Some((vector, batch)) = indices.dimensions.split_last() else {
        return require(false, "C22", || "the indices have no dimension".to_string())
            .map(|()| input.clone());
    };
    require(vector.size == leading, "C19", || {
        format!("{vector} holds indices of {leading} dimensions")
    })?;
    require(updates.element == input.element, "C6", || {
        format!("element types {} and {} differ", input.element, updates.element)
    })?;
    let expected = [batch, &input.dimensions[leading..]].concat();
    require(updates.dimensions == expected, "C4", || {
        format!("the updates should be {}", TensorType::new(input.element, &expected[..]))
    })?;
    Ok(input.clone())
}

fn integer(indices: &TensorType, constraint: &'static str) -> Result<(), super::Violation> {
    let integer = matches!(indices.element, ElementType::I32 | ElementType::I64);
    require(integer, constraint, || format!("indices are {}, not integers", indices.element))
}
