//! Loops.

use super::{Violation, require};
use crate::{ElementType, TensorType};

/// `while` over values of the types `operands`: (C1) `condition` is one scalar `i1`; (C2) the types
/// of the values that `body` hands to the next iteration are those of the operands; (C3) so are the
/// results'.
///
/// # Errors
/// The first constraint that is broken.
pub fn while_loop(
    operands: &[TensorType],
    condition: &[TensorType],
    body: &[TensorType],
) -> Result<Vec<TensorType>, Violation> {
    let list =
        |types: &[TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    require(*condition == [TensorType::scalar(ElementType::I1)], "C1", || {
        format!("the condition gives {}, not [] i1", list(condition))
    })?;
    require(body.len() == operands.len(), "C2", || {
        format!("{} values go into the body, {} come out", operands.len(), body.len())
    })?;
    for (n, (found, expected)) in body.iter().zip(operands).enumerate() {
        let equal = found.text() == expected.text();
        require(equal, "C2", || format!("value {n} is {expected} before the body, {found} after"))?;
        require(found == expected, "labels", || {
            format!(
                "value {n} is {expected} before the body, {found} after; relabel it if that is meant"
            )
        })?;
    }
    Ok(operands.to_vec())
}
