//! Contractions and reductions.

use super::{Inferred, check_axes, check_unique, distinct_labels, require};
use crate::{DotDimensions, TensorType};

/// `dot_general`: (C12) batch dimensions, then what is left of `lhs`, then of `rhs`.
pub fn dot_general(lhs: &TensorType, rhs: &TensorType, d: &DotDimensions) -> Inferred {
    require(d.lhs_batching.len() == d.rhs_batching.len(), "C1", || {
        format!("{} batching dimensions against {}", d.lhs_batching.len(), d.rhs_batching.len())
    })?;
    require(d.lhs_contracting.len() == d.rhs_contracting.len(), "C2", || {
        format!(
            "{} contracting dimensions against {}",
            d.lhs_contracting.len(),
            d.rhs_contracting.len()
        )
    })?;
    let lhs_used = [&d.lhs_batching[..], &d.lhs_contracting].concat();
    let rhs_used = [&d.rhs_batching[..], &d.rhs_contracting].concat();
    check_unique(&lhs_used, "C3", "left dimension")?;
    check_unique(&rhs_used, "C4", "right dimension")?;
    check_axes(&d.lhs_batching, lhs.rank(), "C5", "left batching dimension")?;
    check_axes(&d.lhs_contracting, lhs.rank(), "C6", "left contracting dimension")?;
    check_axes(&d.rhs_batching, rhs.rank(), "C7", "right batching dimension")?;
    check_axes(&d.rhs_contracting, rhs.rank(), "C8", "right contracting dimension")?;
    equal_sizes(lhs, &d.lhs_batching, rhs, &d.rhs_batching, "C9")?;
    equal_sizes(lhs, &d.lhs_contracting, rhs, &d.rhs_contracting, "C10")?;
    require(lhs.element == rhs.element, "C13", || {
        format!("element types {} and {} differ", lhs.element, rhs.element)
    })?;
    let mut dimensions: Vec<_> = d.lhs_batching.iter().map(|&n| lhs.dimensions[n]).collect();
    for (ty, used) in [(lhs, lhs_used), (rhs, rhs_used)] {
        let kept = ty.dimensions.iter().enumerate().filter(|(n, _)| !used.contains(n));
        dimensions.extend(kept.map(|(_, dimension)| *dimension));
    }
    distinct_labels(TensorType::new(lhs.element, dimensions))
}

fn equal_sizes(
    lhs: &TensorType,
    lhs_axes: &[usize],
    rhs: &TensorType,
    rhs_axes: &[usize],
    constraint: &'static str,
) -> Result<(), super::Violation> {
    for (&l, &r) in lhs_axes.iter().zip(rhs_axes) {
        let (left, right) = (lhs.dimensions[l], rhs.dimensions[r]);
        require(left.size == right.size, constraint, || {
            format!("{left} on the left meets {right} on the right")
        })?;
        require(left.label == right.label, "labels", || {
            format!("{left} on the left meets {right} on the right; relabel one if that is meant")
        })?;
    }
    Ok(())
}

/// `reduce` of one input: (C7) the result lacks the reduced dimensions.
pub fn reduce(input: &TensorType, initial: &TensorType, dimensions: &[usize]) -> Inferred {
    require(initial.rank() == 0 && input.element == initial.element, "C2", || {
        format!("the initial value is {initial}, the input {input}")
    })?;
    check_axes(dimensions, input.rank(), "C4", "dimension")?;
    check_unique(dimensions, "C5", "dimension")?;
    let kept = input.dimensions.iter().enumerate().filter(|(n, _)| !dimensions.contains(n));
    Ok(TensorType::new(input.element, kept.map(|(_, d)| *d).collect::<Vec<_>>()))
}
