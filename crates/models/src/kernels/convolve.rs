//! The short causal convolution of recurrent layers.

use super::recurrence::StateAddresses;
use crate::dimensions::{SEQUENCE, TAIL, TAP, TOKEN};
use stablemate_graph::{
    Builder, Dimension, Direction, ElementType, Kernel, Label, Literal, TensorType, Value,
};

/// Rows of inputs: one of zeros, then the tails of all sequences, then the step's.
const SOURCE: Label = Label("Source");

/// A convolution of each channel with its own `W ≥ 2` weights over its last `W` inputs: `y[t, c] =
/// Σ_j weight[c, j] · x[t − (W − 1) + j, c]`. Inputs before position 0 are zeros; those of earlier
/// steps come from the pool, which keeps a sequence's last `W − 1` inputs, the oldest first.
///
/// `pool [N, W − 1, C]`, `x [T, C]` f32, `weight [C, W]` f32 → `y [T, C]` and the pool with the
/// inputs of the step.
pub fn convolve<'b>(
    pool: Value<'b>,
    x: Value<'b>,
    weight: Value<'b>,
    addresses: StateAddresses<'b>,
) -> (Value<'b>, Value<'b>) {
    let operands = [&[pool, x, weight][..], &addresses.operands()].concat();
    let kernel = Kernel::new("stablemate.convolve");
    let results = pool.builder().composite(kernel, &operands, |builder, operands| {
        let [pool, x, weight, positions, sequences, slots] = *operands else { return Vec::new() };
        let windows = Windows {
            builder,
            addresses: StateAddresses { positions, sequences, slots },
            tokens: TOKEN.of(positions.size(TOKEN)),
            rows: SEQUENCE.of(slots.size(SEQUENCE)),
            taps: TAP.of(weight.size(TAP)),
        };
        let rows = windows.rows();
        let source = windows.source(pool, x);
        let inputs = source.take(SOURCE, rows).named("inputs");
        let channels = x.ty().dimensions.last().map_or(TOKEN, |channels| channels.label);
        let y = (inputs * weight.transpose(&[TAP, channels])).sum(TAP);
        let tails = source.take(SOURCE, windows.tails(rows)).named("tails");
        vec![y, windows.addresses.write(pool, tails)]
    });
    (results[0], results[1])
}

/// The windows of all tokens, as rows of the [`SOURCE`].
struct Windows<'b> {
    builder: &'b Builder<'b>,
    addresses: StateAddresses<'b>,
    /// `T`.
    tokens: Dimension,
    /// `S`.
    rows: Dimension,
    /// `W`.
    taps: Dimension,
}

impl<'b> Windows<'b> {
    /// Inputs in a tail: `W − 1`.
    fn tail(&self) -> usize {
        self.taps.size.saturating_sub(1)
    }

    /// `[1 + S · (W − 1) + T, C]`.
    fn source(&self, pool: Value<'b>, x: Value<'b>) -> Value<'b> {
        let tails = self.addresses.read(pool).merge(&[SEQUENCE, TAIL], SOURCE);
        let mut zeros = tails.ty();
        zeros.dimensions[0].size = 1;
        let zeros = self.builder.constant(Literal::Float(vec![0.0]), zeros);
        zeros.concatenate(&[tails, x.relabel(TOKEN, SOURCE)], SOURCE).named("source")
    }

    /// `[T, W]`: the rows of each token's inputs, the oldest first.
    fn rows(&self) -> Value<'b> {
        let StateAddresses { positions, sequences, .. } = self.addresses;
        let (builder, tail) = (self.builder, self.tail());
        let all = [self.tokens, self.taps];
        let back = (builder.integer(tail as i32).broadcast(&[self.taps]) - builder.iota(self.taps))
            .named("back")
            .broadcast(&all);
        let run = self.run().broadcast(&all);
        let of_tail = sequences.broadcast(&all) * tail as f64 + run - back + (1 + tail) as f64;
        let first_token = (1 + self.rows.size * tail) as f64;
        let of_step = builder.iota(self.tokens).broadcast(&all) - back + first_token;
        let row = back.compare(Direction::Le, run).select(of_step, of_tail);
        let before = positions.broadcast(&all).compare(Direction::Lt, back);
        before.select(builder.integer(0), row).named("rows")
    }

    /// `[T]`: the number of tokens, up to `W − 1`, that precede each in its run.
    fn run(&self) -> Value<'b> {
        let StateAddresses { positions, sequences, .. } = self.addresses;
        let zero = self.builder.integer(0);
        let mut run = zero.broadcast(&[self.tokens]);
        for back in 1..=self.tail() {
            let position = self.earlier(positions, back);
            let own = self.earlier(sequences, back).compare(Direction::Eq, sequences)
                & (position + back as f64).compare(Direction::Eq, positions)
                & position.compare(Direction::Ge, zero);
            run = run + own.convert(ElementType::I32);
        }
        run.named("run")
    }

    /// `values [T]` of the token `back` places before each; -1 before the first.
    fn earlier(&self, values: Value<'b>, back: usize) -> Value<'b> {
        let count = self.tokens.size;
        let missing = TensorType::new(ElementType::I32, [TOKEN.of(back.min(count))]);
        let missing = self.builder.constant(Literal::Integer(vec![-1]), missing);
        if back >= count {
            return missing;
        }
        missing.concatenate(&[values.slice(TOKEN, 0..count - back)], TOKEN)
    }

    /// `[S, W − 1]`: the rows of each sequence's last inputs, given the `rows [T, W]` of each
    /// token's.
    fn tails(&self, rows: Value<'b>) -> Value<'b> {
        let StateAddresses { positions, sequences, .. } = self.addresses;
        let builder = self.builder;
        let each = [self.rows, self.tokens];
        let zero = builder.integer(0);
        let own = builder.iota(self.rows).broadcast(&each).compare(Direction::Eq, sequences)
            & positions.compare(Direction::Ge, zero).broadcast(&each);
        let token = builder.iota(self.tokens).broadcast(&each);
        // For Vulkan, IREE 3.13 cannot compile a reduction fused with the numbers that it reduces.
        let token = own.select(token, builder.integer(-1)).barrier();
        let last = token.max(TOKEN).named("last");
        let new = rows.take(TOKEN, last.maximum(zero)).slice(TAP, 1..self.taps.size);
        let tail = TAIL.of(self.tail());
        let new = new.relabel(TAP, TAIL);
        let all = [self.rows, tail];
        let old = builder.iota(self.rows).broadcast(&all) * self.tail() as f64
            + builder.iota(tail).broadcast(&all)
            + 1.0;
        let any = last.compare(Direction::Ge, zero).broadcast(&all);
        any.select(new, old).named("tail_rows")
    }
}
