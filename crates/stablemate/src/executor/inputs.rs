//! A step's arguments, checked and padded to its bucket.

use super::{ExecutorError, misfit};
use stablemate_engine::StepInput;
use stablemate_models::{BLOCK_LENGTH, Bucket, StepArgument};
use stablemate_runtime::{Buffer, Device};
use std::collections::HashSet;

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

/// The room of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Blocks of a sequence.
    pub pages: usize,
    /// Blocks, the reserved one among them.
    pub blocks: usize,
    /// Slots of per-sequence state, the reserved one among them; `None` for a model without.
    pub slots: Option<usize>,
}

/// Refuses a step that does not fit the room.
pub(super) fn check(step: &StepInput<'_>, room: Room) -> Result<(), ExecutorError> {
    let Room { vocabulary, pages, blocks, slots } = room;
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
    expect(are_together(step), "the tokens of a sequence do not follow one another")?;
    if let Some(slots) = slots {
        expect(step.slots.len() == step.block_tables.len(), "a sequence has no slot")?;
        let reserved = |slot: &u32| *slot > 0 && (*slot as usize) < slots;
        expect(step.slots.iter().all(reserved), "a slot is outside the reserved room")?;
        let different: HashSet<&u32> = step.slots.iter().collect();
        expect(different.len() == step.slots.len(), "two sequences have the same slot")?;
    }
    Ok(())
}

/// Whether each sequence's tokens stand together at consecutive positions, in order. Recurrent
/// kernels rely on it.
fn are_together(step: &StepInput<'_>) -> bool {
    let mut ended = HashSet::new();
    let tokens: Vec<(u32, u32)> =
        step.sequences.iter().copied().zip(step.positions.iter().copied()).collect();
    tokens.windows(2).all(|pair| {
        let [(sequence, position), (next, following)] = [pair[0], pair[1]];
        if sequence == next {
            Some(following) == position.checked_add(1)
        } else {
            ended.insert(sequence) && !ended.contains(&next)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { vocabulary: 100, pages: 2, blocks: 5, slots: Some(4) };

    /// What is said of a step of tokens `(sequence, position)` with these slots.
    fn said(tokens: &[(u32, u32)], slots: &[u32], room: Room) -> String {
        let (sequences, positions): (Vec<u32>, Vec<u32>) = tokens.iter().copied().unzip();
        let step = StepInput {
            tokens: &vec![1; tokens.len()],
            positions: &positions,
            sequences: &sequences,
            lengths: &vec![40; tokens.len()],
            block_tables: &[vec![1, 2], vec![3, 4]],
            slots,
            rows: &[0],
        };
        check(&step, room).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_tokens_of_a_sequence_follow_one_another() {
        let of = |tokens: &[(u32, u32)]| said(tokens, &[3, 1], ROOM);
        assert_eq!(of(&[(1, 5), (1, 6), (0, 9)]), "");
        for wrong in [
            &[(0, 5), (1, 6), (0, 6)][..],
            &[(0, 5), (0, 7)],
            &[(0, 5), (0, 5)],
            &[(1, 3), (0, 6), (0, 5)],
        ] {
            assert!(of(wrong).contains("do not follow one another"), "{wrong:?}");
        }
    }

    #[test]
    fn each_sequence_has_a_slot_of_its_own() {
        let of = |slots: &[u32], room| said(&[(0, 0), (1, 0)], slots, room);
        assert_eq!(of(&[3, 1], ROOM), "");
        assert!(of(&[3], ROOM).contains("a sequence has no slot"));
        assert!(of(&[3, 3], ROOM).contains("the same slot"));
        assert!(of(&[0, 1], ROOM).contains("outside the reserved room"));
        assert!(of(&[4, 1], ROOM).contains("outside the reserved room"));
        assert_eq!(of(&[], Room { slots: None, ..ROOM }), "", "there is no state");
    }
}
