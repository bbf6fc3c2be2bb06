//! What a step asks of the cache, checked, and cut into pieces of work.

use std::ops::Range;

use super::{Addresses, CHUNK};

/// Rows of queries (tokens times group) that share decoded rows of the cache.
const ROWS: usize = 32;

/// Rows of a head up to which all heads are taken together: more time goes into memory than into rows.
const FEW_ROWS: usize = 8;

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
    pub fn visible(self, index: usize, window: usize) -> Range<usize> {
        let end = self.position + index + 1;
        let start = if window == 0 { 0 } else { end.saturating_sub(window) };
        start..end
    }

    /// The chunks that any of the tokens sees.
    pub fn chunks(self, window: usize) -> Range<usize> {
        let (first, last) = (self.visible(0, window), self.visible(self.tokens - 1, window));
        first.start / CHUNK..last.end.div_ceil(CHUNK)
    }

    /// Slots that the last token sees.
    fn slots(self, window: usize) -> u64 {
        self.visible(self.tokens - 1, window).len() as u64
    }
}

/// Some chunks of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub run: usize,
    pub chunks: Range<usize>,
    /// Where the run's partials begin, counted in rows per head, if other pieces have the other chunks.
    pub partials: Option<usize>,
    /// Heads that one task takes.
    pub heads: usize,
    /// The first of the piece's tasks.
    pub task: usize,
}

/// A step's work.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub runs: Vec<Run>,
    pub pieces: Vec<Piece>,
    pub tasks: usize,
    /// Rows of partials per head.
    pub partials: usize,
    /// Visible slots times rows that see them.
    pub cost: u64,
}

impl Plan {
    /// The piece and the heads of a task.
    pub fn task(&self, task: usize, kv_heads: usize) -> (&Piece, Range<usize>) {
        let after = self.pieces.partition_point(|piece| piece.task <= task);
        let piece = &self.pieces[after - 1];
        let first = (task - piece.task) * piece.heads;
        (piece, first..(first + piece.heads).min(kv_heads))
    }
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub threads: usize,
    /// Blocks of the pools.
    pub blocks: usize,
    pub window: usize,
    pub kv_heads: usize,
    pub group: usize,
}

/// Finds the runs of a step and checks their addresses: what comes later reads only slots that exist.
pub(super) fn plan(addresses: &Addresses<'_>, setting: Setting) -> Result<Plan, String> {
    let most = (ROWS / setting.group).max(1);
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
        check(*run, addresses, setting.blocks, setting.window)?;
    }
    Ok(cut(runs, setting))
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

/// Cuts work for threads: long runs by their chunks, short ones by their heads.
fn cut(runs: Vec<Run>, setting: Setting) -> Plan {
    let Setting { threads, window, kv_heads, group, .. } = setting;
    // Per slot, in rows.
    let weight = |run: &Run| (run.tokens * group * kv_heads) as u64;
    let cost = runs.iter().map(|run| weight(run) * run.slots(window)).sum::<u64>();
    let fair = match threads {
        0 | 1 => u64::MAX,
        _ => (cost / (threads as u64 * PIECES_PER_THREAD)).max(1),
    };
    let mut plan = Plan { cost, pieces: Vec::with_capacity(runs.len()), ..Plan::default() };
    for (index, run) in runs.iter().enumerate() {
        let (chunks, rows) = (run.chunks(window), run.tokens * group);
        // Heads of few rows go through memory together.
        let together = if rows <= FEW_ROWS { kv_heads } else { 1 };
        let chunk = (CHUNK * rows * together) as u64;
        let count = usize::try_from(fair.div_ceil(chunk)).unwrap_or(usize::MAX).min(chunks.len());
        let portion = chunk.min(weight(run) * run.slots(window));
        let heads = match count {
            1 => (together as u64 * fair.min(portion)).div_ceil(portion) as usize,
            _ => together,
        };
        let partials = (count < chunks.len()).then_some(plan.partials);
        for first in chunks.clone().step_by(count) {
            let chunks = first..(first + count).min(chunks.end);
            plan.pieces.push(Piece { run: index, chunks, partials, heads, task: plan.tasks });
            plan.tasks += kv_heads.div_ceil(heads);
        }
        if partials.is_some() {
            plan.partials += chunks.len() * rows;
        }
    }
    Plan { runs, ..plan }
}
