//! Loops.

use super::Builder;
use crate::ir::{Loop, Op, Operation, Region, ValueId};
use crate::{Direction, TensorType, Value, Violation, infer};

impl Builder<'_> {
    /// `count` iterations of `body`, as a `while`. The body gets the iteration's number, a scalar
    /// i32 that counts from 0, and the values of the iteration before: `initial` in the first one.
    /// It returns the values of its own iteration, of the same types. The results are the values of
    /// the last iteration.
    ///
    /// The body may use values from outside. Its own values cannot be used after the loop.
    #[track_caller]
    pub fn repeat<'b>(
        &'b self,
        count: usize,
        initial: &[Value<'b>],
        body: impl FnOnce(Value<'b>, &[Value<'b>]) -> Vec<Value<'b>>,
    ) -> Vec<Value<'b>> {
        let poisoned = vec![Value::poisoned(self); initial.len()];
        let Some(limit) = self.iterations(count, initial) else { return poisoned };
        let operands = [&[self.integer(0)], initial].concat();
        let (first, arguments) = self.loop_arguments(&operands);
        let (index, carried) = (arguments[0], &arguments[1..]);
        let condition = self.region(|| vec![index.compare(Direction::Lt, self.integer(limit))]);
        let body = self.region(|| {
            let mut next = body(index, carried);
            next.insert(0, index + 1.0);
            next
        });
        let types = self.loop_types(&operands, &condition.1, &body.1);
        let end = self.state.borrow().values.len() as u32;
        self.state.borrow_mut().ended.push(first..end);
        let Some(types) = types else { return poisoned };
        let region = |(operations, results): (Vec<Operation>, Vec<Value<'b>>)| Region {
            operations,
            results: ids(&results),
        };
        let (condition, body) = (region(condition), region(body));
        let inner = Loop { arguments: ids(&arguments), condition, body };
        let mut state = self.state.borrow_mut();
        let define = |ty| {
            let scoped = state.scoped("repeat");
            state.define(scoped, ty)
        };
        let results: Vec<ValueId> = types.into_iter().map(define).collect();
        let op = Op::While(Box::new(inner));
        state.operations.push(Operation { op, operands: ids(&operands), results: results.clone() });
        results.into_iter().skip(1).map(|id| Value::new(self, id)).collect()
    }

    /// The number of iterations as an i32. Records a mistake and returns none if `initial` cannot
    /// enter a loop or the number is too large.
    #[track_caller]
    fn iterations(&self, count: usize, initial: &[Value<'_>]) -> Option<i32> {
        if initial.iter().any(|value| value.try_ty().is_none()) {
            return None;
        }
        let limit = i32::try_from(count).ok();
        let violation = match limit {
            Some(_) => self.foreign(initial),
            None => {
                let message = format!("{count} iterations are more than an i32 counts");
                Some(Violation { constraint: "C1", message })
            }
        };
        match violation {
            Some(violation) => {
                self.fail("while", violation, initial);
                None
            }
            None => limit,
        }
    }

    /// The arguments of a loop's regions, and the number of the first of them.
    fn loop_arguments<'b>(&'b self, operands: &[Value<'b>]) -> (u32, Vec<Value<'b>>) {
        let first = self.state.borrow().values.len() as u32;
        let arguments = operands.iter().enumerate().map(|(n, operand)| {
            let ty = operand.ty();
            let mut state = self.state.borrow_mut();
            let name = state.scoped(if n == 0 { "index" } else { "carried" });
            Value::new(self, state.define(name, ty))
        });
        (first, arguments.collect())
    }

    /// The operations that `make` appends, taken out of the function, and its results.
    fn region<'b>(
        &self,
        make: impl FnOnce() -> Vec<Value<'b>>,
    ) -> (Vec<Operation>, Vec<Value<'b>>) {
        let outside = std::mem::take(&mut self.state.borrow_mut().operations);
        let results = make();
        let inside = std::mem::replace(&mut self.state.borrow_mut().operations, outside);
        (inside, results)
    }

    /// The types of a loop's results. Records a mistake and returns none if its regions do not fit.
    #[track_caller]
    fn loop_types(
        &self,
        operands: &[Value<'_>],
        condition: &[Value<'_>],
        body: &[Value<'_>],
    ) -> Option<Vec<TensorType>> {
        let types = |values: &[Value<'_>]| -> Option<Vec<TensorType>> {
            values.iter().map(|value| value.try_ty()).collect()
        };
        let (before, condition, after) = (types(operands)?, types(condition)?, types(body)?);
        let violation = match self.foreign(body) {
            Some(violation) => violation,
            None => match infer::while_loop(&before, &condition, &after) {
                Ok(types) => return Some(types),
                Err(violation) => violation,
            },
        };
        self.fail("while", violation, body);
        None
    }
}

fn ids(values: &[Value<'_>]) -> Vec<ValueId> {
    values.iter().map(|value| value.id()).collect()
}
