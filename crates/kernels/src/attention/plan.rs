//! What a step asks of the cache, checked, and cut into pieces of work.

use super::{Addresses, CHUNK};

/// Rows of queries (tokens times group) that share decoded rows of the cache.
const ROWS: usize = 32;

/// Pieces of work per thread, so that none waits long for another.
const PIECES_PER_THREAD: u64 = 4;

/// Tokens that follow each other in one sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The first of them in the step.
    pub token: usize,
    pub tokens: usize,
    /// Of the first.
    pub position: usize,
    /// Row of the block tables.
    pub sequence: usize,
}

impl Run {
    /// The slots that the token `index` of the run sees.
    pub fn visible(self, index: usize, window: usize) -> std::ops::Range<usize> {
        let end = self.position + index + 1;
        let start = if window == 0 { 0 } else { end.saturating_sub(window) };
        start..end
    }

    /// The chunks that any of the tokens sees.
    pub fn chunks(self, window: usize) -> std::ops::Range<usize> {
        let (first, last) = (self.visible(0, window), self.visible(self.tokens - 1, window));
        first.start / CHUNK..last.end.div_ceil(CHUNK)
    }

    /// Pairs of a token and a slot that it sees.
    fn cost(self, window: usize) -> u64 {
        let last = self.visible(self.tokens - 1, window);
        self.tokens as u64 * (last.end - last.start) as u64
    }
}

/// Some chunks of a run, for one head at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub run: usize,
    pub chunks: std::ops::Range<usize>,
    /// Where the run's partials begin, counted in rows per head, if other pieces have the other chunks.
    pub partials: Option<usize>,
}

/// A step's work.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub runs: Vec<Run>,
    pub pieces: Vec<Piece>,
    /// Rows of partials per head.
    pub partials: usize,
    /// Pairs of a token and a slot that it sees.
    pub cost: u64,
}

/// Finds the runs of a step and checks their addresses: what comes later reads only slots that exist.
pub(super) fn plan(
    addresses: &Addresses<'_>,
    blocks: usize,
    window: usize,
    group: usize,
    units: u64,
) -> Result<Plan, String> {
    let most = (ROWS / group).max(1);
    let mut runs: Vec<Run> = Vec::new();
    for (token, (&position, &sequence)) in
        addresses.positions.iter().zip(addresses.sequences).enumerate()
    {
        if position == -1 {
            continue;
        }
        let (Ok(position), Ok(sequence)) = (usize::try_from(position), usize::try_from(sequence))
        else {
            return Err(format!("token {token} at position {position} of sequence {sequence}"));
        };
        match runs.last_mut() {
            Some(run)
                if run.sequence == sequence
                    && run.token + run.tokens == token
                    && run.position + run.tokens == position
                    && run.tokens < most =>
            {
                run.tokens += 1;
            }
            _ => runs.push(Run { token, tokens: 1, position, sequence }),
        }
    }
    for run in &runs {
        check(*run, addresses, blocks, window)?;
    }
    Ok(cut(runs, window, group, units))
}

/// Whether all slots that a run sees exist.
fn check(run: Run, addresses: &Addresses<'_>, blocks: usize, window: usize) -> Result<(), String> {
    let Addresses { block_tables, sequences_count, pages, block_length, .. } = *addresses;
    let Run { token, sequence, .. } = run;
    let slots = run.visible(0, window).start..run.visible(run.tokens - 1, window).end;
    let used = slots.start / block_length..slots.end.div_ceil(block_length);
    if sequence >= sequences_count || used.end > pages {
        let last = slots.end - 1;
        return Err(format!(
            "token {token} at position {last} of sequence {sequence}, but the block tables are of \
             {sequences_count} sequences with {pages} blocks of {block_length}"
        ));
    }
    match block_tables[sequence * pages..][used]
        .iter()
        .find(|&&block| usize::try_from(block).map_or(true, |block| block >= blocks))
    {
        Some(block) => Err(format!(
            "token {token} of sequence {sequence} needs block {block}, but the pools have {blocks}"
        )),
        None => Ok(()),
    }
}

/// Cuts long runs, so that a head's work comes in at least `units` pieces of about one size or smaller.
fn cut(runs: Vec<Run>, window: usize, group: usize, units: u64) -> Plan {
    let cost = runs.iter().map(|run| run.cost(window)).sum::<u64>();
    let fair = cost / units.max(1);
    let (mut pieces, mut partials) = (Vec::with_capacity(runs.len()), 0);
    for (index, run) in runs.iter().enumerate() {
        let chunks = run.chunks(window);
        let count = fair.div_ceil((run.tokens * CHUNK) as u64).max(1);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if units <= 1 || count >= chunks.len() {
            pieces.push(Piece { run: index, chunks, partials: None });
            continue;
        }
        for first in chunks.clone().step_by(count) {
            let end = (first + count).min(chunks.end);
            pieces.push(Piece { run: index, chunks: first..end, partials: Some(partials) });
        }
        partials += chunks.len() * run.tokens * group;
    }
    Plan { runs, pieces, partials, cost }
}

/// The number of pieces that each of `heads` should be cut into for `threads`.
pub(super) fn units(threads: usize, heads: usize) -> u64 {
    match threads {
        // One thread has nobody to wait for.
        0 | 1 => 1,
        _ => (threads as u64 * PIECES_PER_THREAD).div_ceil(heads.max(1) as u64),
    }
}
