//! Steps of several sequences, against each sequence alone.

use crate::model::ids;
use stablemate::{Executor, LoadOptions, Model, Room, Runner, StepInput};
use std::ops::Range;
use std::path::Path;

/// Blocks that each sequence owns.
const BLOCKS: usize = 2;

/// A sequence's tokens, and where in the cache it lies.
struct Sequence<'s> {
    tokens: &'s [u32],
    place: u32,
}

/// Logits of every token of a step, as bits.
fn step(
    executor: &mut Executor,
    parts: &[(&Sequence<'_>, Range<usize>)],
) -> Result<Vec<Vec<u32>>, String> {
    let (mut tokens, mut positions, mut sequences) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut block_tables, mut slots) = (Vec::new(), Vec::new(), Vec::new());
    for (row, (sequence, range)) in parts.iter().enumerate() {
        tokens.extend(&sequence.tokens[range.clone()]);
        positions.extend(range.clone().map(|n| n as u32));
        lengths.extend(range.clone().map(|n| n as u32 + 1));
        sequences.extend(range.clone().map(|_| row as u32));
        let first = 1 + sequence.place * BLOCKS as u32;
        block_tables.push((first..first + BLOCKS as u32).collect());
        slots.push(1 + sequence.place);
    }
    let rows: Vec<u32> = (0..tokens.len() as u32).collect();
    let vocabulary = executor.vocabulary();
    let logits = executor.step(&StepInput {
        tokens: &tokens,
        positions: &positions,
        sequences: &sequences,
        lengths: &lengths,
        block_tables: &block_tables,
        slots: &slots,
        rows: &rows,
    });
    let logits = logits.map_err(|error| error.to_string())?;
    Ok(logits.chunks(vocabulary).map(|row| row.iter().map(|x| x.to_bits()).collect()).collect())
}

/// One sequence generates while the prompt of another is processed in chunks.
pub fn check(path: &Path, load: &LoadOptions) -> Result<(), String> {
    let model = Model::load(path, load).map_err(|error| error.to_string())?;
    let mut executor = model.into_executor();
    executor
        .reserve(Room::of(4, BLOCKS * executor.block_length(), executor.block_length()))
        .map_err(|error| error.to_string())?;
    let text = ids(60);
    let (short, long) = (&text[..20], &text[29..59]);
    let at = |tokens, place| Sequence { tokens, place };
    let mut run = |parts: &[(&Sequence<'_>, Range<usize>)]| step(&mut executor, parts);

    let (a, b) = (at(short, 0), at(long, 1));
    let mut alone_a = Vec::new();
    for range in [0..17, 17..18, 18..19, 19..20] {
        alone_a.extend(run(&[(&a, range)])?);
    }
    let alone_b = run(&[(&b, 0..30)])?;

    // Elsewhere in the cache, in other chunks, and neither always first.
    let (a, b) = (at(short, 3), at(long, 2));
    let mut beside_a = run(&[(&a, 0..17)])?;
    let mut beside_b = Vec::new();
    let logits = run(&[(&a, 17..18), (&b, 0..12)])?;
    beside_a.extend_from_slice(&logits[..1]);
    beside_b.extend_from_slice(&logits[1..]);
    let logits = run(&[(&b, 12..26), (&a, 18..19)])?;
    beside_b.extend_from_slice(&logits[..14]);
    beside_a.extend_from_slice(&logits[14..]);
    let logits = run(&[(&a, 19..20), (&b, 26..30)])?;
    beside_a.extend_from_slice(&logits[..1]);
    beside_b.extend_from_slice(&logits[1..]);

    for (name, alone, beside) in [("first", alone_a, beside_a), ("second", alone_b, beside_b)] {
        let differing: Vec<usize> = (0..alone.len().max(beside.len()))
            .filter(|n| alone.get(*n) != beside.get(*n))
            .collect();
        if !differing.is_empty() {
            let most = differing
                .iter()
                .flat_map(|n| alone[*n].iter().zip(&beside[*n]))
                .map(|(a, b)| (f32::from_bits(*a) - f32::from_bits(*b)).abs())
                .fold(0.0, f32::max);
            return Err(format!("{name} sequence: tokens {differing:?} differ, by up to {most:e}"));
        }
    }
    Ok(())
}
