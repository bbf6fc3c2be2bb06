//! The parts that all kernels with per-sequence state share: addresses, and the loop over tokens.

use crate::dimensions::{INDEX, SEQUENCE, STATE_SLOT, TOKEN};
use stablemate_graph::{Builder, Dimension, Direction, ElementType, Literal, TensorType, Value};

/// The positions of a step's tokens and the state slots of their sequences.
///
/// The tokens of a sequence are neighbours in a step, at consecutive positions. The token at
/// position 0 starts from a state of zeros; the slot's content is ignored. A sequence's first token
/// in a step otherwise continues from the slot, and each later token from the one before it.
#[derive(Clone, Copy, Debug)]
pub struct StateAddresses<'b> {
    /// `[T]` i32: position in the sequence; -1 for padding.
    pub positions: Value<'b>,
    /// `[T]` i32: row of `slots`.
    pub sequences: Value<'b>,
    /// `[S]` i32: slot of the state pools. Unused rows have slot 0, which belongs to no sequence.
    pub slots: Value<'b>,
}

impl<'b> StateAddresses<'b> {
    /// As operands of a kernel, in order.
    pub(super) fn operands(self) -> [Value<'b>; 3] {
        [self.positions, self.sequences, self.slots]
    }

    /// The states `[S, …]` that a pool `[N, …]` holds.
    pub(super) fn read(self, pool: Value<'b>) -> Value<'b> {
        pool.take(STATE_SLOT, self.slots)
    }

    /// The pool `[N, …]` with these states `[S, …]`.
    pub(super) fn write(self, pool: Value<'b>, states: Value<'b>) -> Value<'b> {
        pool.put(self.slots.append(INDEX), states)
    }
}

/// Runs `step` on each token in turn: from the token's number (a scalar i32) and the state `[…]`
/// before it to the token's result `[out…]` and the state after it. → results `[T, out…]`, pool
/// `[N, …]`.
pub(super) fn recur<'b>(
    builder: &'b Builder<'b>,
    pool: Value<'b>,
    addresses: StateAddresses<'b>,
    out: &[Dimension],
    step: impl Fn(Value<'b>, Value<'b>) -> (Value<'b>, Value<'b>),
) -> Vec<Value<'b>> {
    let states = addresses.read(pool).named("states");
    let all = [&[TOKEN.of(addresses.positions.size(TOKEN))], out].concat();
    let token = |index: Value<'b>, states: Value<'b>| {
        let zero = builder.integer(0);
        let position = addresses.positions.take(TOKEN, index).named("position");
        let sequence = addresses.sequences.take(TOKEN, index).named("sequence");
        let stored = states.take(SEQUENCE, sequence).named("stored");
        // Padding starts from zeros, too, so that its results stay finite.
        let first = position.compare(Direction::Le, zero);
        let before = first.select(builder.scalar(0.0).broadcast(&stored.ty().dimensions), stored);
        let (result, after) = step(index, before.named("before"));
        let kept = position.compare(Direction::Ge, zero).select(after, stored);
        (result, states.put(sequence.append(INDEX), kept))
    };
    let (results, states) = match all[0].size {
        1 => {
            let (result, states) = token(builder.integer(0), states);
            (result.broadcast(&all), states)
        }
        count => {
            let nothing = TensorType::new(ElementType::F32, all);
            let nothing = builder.constant(Literal::Float(vec![0.0]), nothing);
            let carried = builder.repeat(count, &[nothing, states], |index, carried| {
                let (result, states) = token(index, carried[1]);
                vec![carried[0].put(index.append(INDEX), result), states]
            });
            (carried[0], carried[1])
        }
    };
    vec![results, addresses.write(pool, states)]
}
