//! Whether sizes fit together. What passes is computed without further questions.

use super::{Experts, Inner, Routing};
use crate::error::KernelError;
use crate::linear::{Stack, checks};

type Checked = Result<(), KernelError>;

const KERNEL: &str = "experts";

fn refuse(message: String) -> Checked {
    Err(KernelError { kernel: KERNEL, message })
}

fn length(what: &str, found: usize, wanted: [usize; 2]) -> Checked {
    checks::length(KERNEL, what, found, wanted)
}

/// That a stack has the values that it says, and the shape `[count, rows, columns]`.
fn stack(what: &str, stack: &Stack<'_>, shape: [usize; 3]) -> Checked {
    let found = [stack.count, stack.rows, stack.columns];
    if found != shape {
        return refuse(format!("{what} is {found:?}, not {shape:?}"));
    }
    checks::stack(KERNEL, stack)
}

fn bias(what: &str, values: Option<&[f32]>, shape: [usize; 2]) -> Checked {
    values.map_or(Ok(()), |values| length(what, values.len(), shape))
}

/// That weights and biases fit.
pub(super) fn experts(experts: &Experts<'_>) -> Checked {
    let up = experts.inner.up();
    let (count, features, columns) = (up.count, up.rows, up.columns);
    stack("up", &up, [count, features, columns])?;
    match experts.inner {
        Inner::Gated { gate, biases, .. } => {
            stack("gate", &gate, [count, features, columns])?;
            bias("the bias of gate", biases.map(|[gate, _]| gate), [count, features])?;
            bias("the bias of up", biases.map(|[_, up]| up), [count, features])?;
        }
        Inner::Plain { bias: values, .. } => bias("the bias of up", values, [count, features])?,
    }
    stack("down", &experts.down, [count, columns, features])?;
    bias("the bias of down", experts.down_bias, [count, columns])
}

/// That x, the routing and the result fit.
pub(super) fn operands(
    experts: &Experts<'_>,
    routing: &Routing<'_>,
    x: &[f32],
    residual: Option<&[f32]>,
    out: &[f32],
) -> Checked {
    let (tokens, columns) = (routing.live.len(), experts.down.rows);
    length("x", x.len(), [tokens, columns])?;
    length("the result", out.len(), [tokens, columns])?;
    residual.map_or(Ok(()), |values| length("the residual", values.len(), [tokens, columns]))?;
    let choices = routing.chosen.len().checked_div(tokens).unwrap_or(0);
    length("the choice of experts", routing.chosen.len(), [tokens, choices])?;
    length("the weights of choices", routing.weights.len(), [tokens, choices])?;
    if choices > 0 && experts.down.count == 0 {
        return refuse("tokens choose among no experts".to_string());
    }
    Ok(())
}
