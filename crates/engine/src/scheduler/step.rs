//! What a step computes.

use super::admission::Admission;
use super::{Kind, Scheduler, Sequence, SequenceId};
use std::ops::Range;

/// A step holds about so many rows of prompts at most: each is a whole vocabulary of numbers.
const PROMPT_ROWS: usize = 64;
/// Even beside many sequences that are being continued, prompts get so many rows.
const LEAST_PROMPT_ROWS: usize = 16;

/// `{sequence: tokens}`, and what was decided on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub kind: Kind,
    /// No sequence twice; empty if nothing is to be done.
    pub parts: Vec<Part>,
    pub admitted: Vec<Admission>,
    /// Sequences that lost their blocks.
    pub preempted: Vec<SequenceId>,
}

/// What a step computes of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub id: SequenceId,
    /// Positions.
    pub tokens: Range<usize>,
    /// Positions whose rows are wanted: the last ones of `tokens`, or none.
    pub rows: Range<usize>,
}

/// A step as a runner takes it; see [`crate::StepInput`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Batch {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub sequences: Vec<u32>,
    pub lengths: Vec<u32>,
    pub block_tables: Vec<Vec<u32>>,
    pub slots: Vec<u32>,
    pub rows: Vec<u32>,
}

impl Step {
    /// Its tokens.
    pub fn tokens(&self) -> usize {
        self.parts.iter().map(|part| part.tokens.len()).sum()
    }
}

impl Scheduler {
    /// Decides on the next step. `budget` bounds the tokens of prompts; at least one is taken.
    pub fn next(&mut self, budget: usize) -> Step {
        let admitted = self.admit();
        let kind = self.choose_kind();
        let mut step = Step { kind, parts: Vec::new(), admitted, preempted: Vec::new() };
        self.take_continuations(&mut step);
        self.take_prompts(&mut step, budget.max(1));
        if !step.parts.is_empty() {
            self.last = kind;
        }
        step
    }

    /// Logits and vectors take turns where both are wanted.
    fn choose_kind(&self) -> Kind {
        let other = match self.last {
            Kind::Logits => Kind::Vectors,
            Kind::Vectors => Kind::Logits,
        };
        let wanted = self.running.iter().any(|sequence| sequence.kind == other);
        if wanted { other } else { self.last }
    }

    fn take_continuations(&mut self, step: &mut Step) {
        let mut n = 0;
        while n < self.running.len() {
            // Prompts have their blocks since they were admitted; a sequence that is computed again may
            // need one more.
            if self.running[n].kind == step.kind && self.grow(n, step) {
                let sequence = &self.running[n];
                if sequence.remaining() == 1 {
                    step.parts.push(part(sequence, 1, 1));
                }
            }
            n += 1;
        }
    }

    /// Makes sure that the sequence has blocks for all of its tokens, which may cost younger sequences
    /// theirs, or itself its own.
    fn grow(&mut self, n: usize, step: &mut Step) -> bool {
        let needed = self.running[n].tokens.len().div_ceil(self.blocks.length());
        while self.running.len() > n && self.running[n].table.len() < needed {
            match self.blocks.allocate() {
                Some(block) => self.running[n].table.push(block),
                None => step.preempted.extend(self.preempt()),
            }
        }
        self.running.len() > n
    }

    fn take_prompts(&mut self, step: &mut Step, budget: usize) {
        let room = self.settings.step_tokens.saturating_sub(step.tokens());
        let mut tokens = budget.min(room);
        let mut rows = match step.kind {
            // Every other sequence may add its last row.
            Kind::Logits => {
                (PROMPT_ROWS + 1).saturating_sub(self.running.len()).max(LEAST_PROMPT_ROWS)
            }
            Kind::Vectors => usize::MAX,
        };
        for sequence in &self.running {
            if sequence.kind != step.kind || sequence.remaining() < 2 || tokens == 0 {
                continue;
            }
            let part = part(sequence, tokens, rows);
            if !part.tokens.is_empty() {
                tokens -= part.tokens.len();
                rows = rows.saturating_sub(part.rows.len());
                step.parts.push(part);
            }
        }
    }

    /// A step for the runner.
    pub fn batch(&self, step: &Step) -> Batch {
        let mut batch = Batch::default();
        for part in &step.parts {
            let Some(n) = self.position(part.id) else { continue };
            let sequence = &self.running[n];
            let first_row = part.rows.start.saturating_sub(part.tokens.start) + batch.tokens.len();
            batch.rows.extend((0..part.rows.len()).map(|row| (first_row + row) as u32));
            batch.tokens.extend(&sequence.tokens[part.tokens.clone()]);
            for position in part.tokens.clone() {
                batch.positions.push(position as u32);
                batch.sequences.push(batch.block_tables.len() as u32);
                batch.lengths.push(sequence.length.max(position + 1) as u32);
            }
            let blocks = part.tokens.end.div_ceil(self.blocks.length());
            batch.block_tables.push(sequence.table[..blocks].to_vec());
            batch.slots.push(sequence.slot);
        }
        batch
    }
}

/// The next tokens of a sequence, at most so many, with at most so many rows.
fn part(sequence: &Sequence, tokens: usize, rows: usize) -> Part {
    let (start, wanted) = (sequence.computed, sequence.wanted);
    let end = start + sequence.remaining().min(tokens);
    // A sequence's last row always has its place.
    let least = usize::from(wanted + 1 == sequence.tokens.len());
    let end = end.min(start.max(wanted).saturating_add(rows.max(least)));
    let end = sequence.borders.range(start + 1..).next().map_or(end, |border| end.min(*border));
    Part { id: sequence.id, tokens: start..end, rows: wanted.max(start).min(end)..end }
}
