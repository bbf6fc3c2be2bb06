//! A step's arguments, checked and padded to its bucket.

use super::{ExecutorError, misfit};
use stablemate_engine::StepInput;
use stablemate_models::{BLOCK_LENGTH, Bucket, StepArgument};
use stablemate_runtime::{Buffer, Device};

/// Buffers of a step's arguments, in order.
pub(super) fn buffers(
    device: &Device,
    arguments: &[StepArgument],
    step: &StepInput<'_>,
    bucket: &Bucket,
) -> Result<Vec<Buffer>, ExecutorError> {
    let values = |argument| match argument {
        StepArgument::Tokens => padded(step.tokens, bucket.tokens, 0),
        StepArgument::Positions => padded(step.positions, bucket.tokens, -1),
        StepArgument::Sequences => padded(step.sequences, bucket.tokens, 0),
        StepArgument::Lengths => padded(step.lengths, bucket.tokens, 0),
        StepArgument::Rows => padded(step.rows, bucket.rows, -1),
        StepArgument::BlockTables => {
            let rows = step.block_tables.iter();
            let mut values: Vec<i32> =
                rows.flat_map(|table| padded(table, bucket.pages, 0)).collect();
            values.resize(bucket.sequences * bucket.pages, 0);
            values
        }
        StepArgument::Slots => padded(step.slots, bucket.sequences, 0),
    };
    let buffer = |argument: &StepArgument| {
        let sizes = argument.ty(bucket).sizes();
        Ok(Buffer::from_slice(device, &sizes, &values(*argument))?)
    };
    arguments.iter().map(buffer).collect()
}

/// `values` as i32, followed by as many `padding` as are missing from `length`.
fn padded(values: &[u32], length: usize, padding: i32) -> Vec<i32> {
    let mut padded: Vec<i32> = values.iter().map(|value| *value as i32).collect();
    padded.resize(length, padding);
    padded
}

/// Refuses a step that does not fit `pages` blocks per sequence out of `blocks`.
pub(super) fn check(
    step: &StepInput<'_>,
    vocabulary: usize,
    pages: usize,
    blocks: usize,
) -> Result<(), ExecutorError> {
    let tokens = step.tokens.len();
    let expect = |holds: bool, message: &str| {
        if holds { Ok(()) } else { Err(misfit(message.to_string())) }
    };
    expect(tokens > 0, "there are no tokens")?;
    let per_token = [step.positions.len(), step.sequences.len(), step.lengths.len()];
    expect(per_token == [tokens; 3], "per-token inputs differ in length")?;
    expect(step.rows.iter().all(|row| (*row as usize) < tokens), "a row is no token's")?;
    let known = step.tokens.iter().all(|token| (*token as usize) < vocabulary);
    expect(known, "a token is not in the vocabulary")?;
    for table in step.block_tables {
        expect(table.len() <= pages, "a sequence has more blocks than are reserved")?;
        let reserved = |block: &u32| *block > 0 && (*block as usize) < blocks;
        expect(table.iter().all(reserved), "a block is outside the reserved room")?;
    }
    for (position, sequence) in step.positions.iter().zip(step.sequences) {
        let table = step.block_tables.get(*sequence as usize).map_or(0, Vec::len);
        let room = (*position as usize) < table * BLOCK_LENGTH;
        expect(room, "a token has no block in its sequence")?;
    }
    Ok(())
}
