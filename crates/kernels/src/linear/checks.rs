//! Whether sizes fit together. What passes is computed without further questions.

use super::{Matrix, Product, Stack, Weight};
use crate::error::KernelError;

type Checked = Result<(), KernelError>;

fn refuse(kernel: &'static str, message: String) -> Checked {
    Err(KernelError { kernel, message })
}

/// `found == count · each`, without overflow.
pub(crate) fn length(
    kernel: &'static str,
    what: &str,
    found: usize,
    [count, each]: [usize; 2],
) -> Checked {
    if count.checked_mul(each) == Some(found) {
        return Ok(());
    }
    refuse(kernel, format!("{what} has {found} values, not {count} · {each}"))
}

/// That a matrix has the values it says.
pub(super) fn matrix(kernel: &'static str, matrix: Matrix<'_>) -> Checked {
    let Matrix { weight, rows, columns } = matrix;
    stack(kernel, &Stack { weight, count: 1, rows, columns })
}

/// That a stack has the values it says.
pub(crate) fn stack(kernel: &'static str, stack: &Stack<'_>) -> Checked {
    let Stack { weight, count, rows, columns } = *stack;
    // Far from where sizes in bytes could overflow.
    const MOST: usize = isize::MAX as usize / 1024;
    let all = rows.checked_mul(columns).and_then(|size| size.checked_mul(count));
    if all.is_none_or(|all| all > MOST) || [count, rows, columns].iter().any(|size| *size > MOST) {
        let shape = if count == 1 { vec![rows, columns] } else { vec![count, rows, columns] };
        return refuse(kernel, format!("a weight {shape:?} is too large"));
    }
    match weight {
        Weight::Dense { float, bytes } => {
            let each = rows * columns * float.bytes();
            length(kernel, "a weight in bytes", bytes.len(), [count, each])
        }
        Weight::Packed { packing, words } => {
            if !columns.is_multiple_of(packing.granularity()) {
                let wanted = packing.granularity();
                let message = format!("{packing} has columns in {wanted}s; there are {columns}");
                return refuse(kernel, message);
            }
            let each = packing.words(rows, columns);
            length(kernel, &format!("a weight in {packing}"), words.len(), [count, each])
        }
    }
}

/// That x, the weight and the result fit.
pub(super) fn operands(
    kernel: &'static str,
    x: &[f32],
    live: &[i32],
    weight: Matrix<'_>,
    out: &[f32],
) -> Checked {
    matrix(kernel, weight)?;
    length(kernel, "x", x.len(), [live.len(), weight.columns])?;
    length(kernel, "the result", out.len(), [live.len(), weight.rows])
}

/// That rows of a table can be looked up.
pub(super) fn rows(kernel: &'static str, tokens: usize, table: Matrix<'_>, out: &[f32]) -> Checked {
    if tokens > 0 && table.rows == 0 {
        return refuse(kernel, "the table has no rows".to_string());
    }
    length(kernel, "the result", out.len(), [tokens, table.columns])
}

/// That a product's operands fit.
pub(super) fn product(
    kernel: &'static str,
    x: &[f32],
    live: &[i32],
    product: &Product<'_>,
) -> Checked {
    operands(kernel, x, live, product.matrix, product.out)?;
    match product.residual {
        Some(values) => {
            length(kernel, "the residual", values.len(), [live.len(), product.matrix.rows])
        }
        None => Ok(()),
    }
}

/// That gate and up have the same shape.
pub(super) fn same_shape(kernel: &'static str, gate: Matrix<'_>, up: Matrix<'_>) -> Checked {
    let (gate, up) = ([gate.rows, gate.columns], [up.rows, up.columns]);
    if gate == up {
        return Ok(());
    }
    refuse(kernel, format!("gate is {gate:?} and up is {up:?}"))
}
