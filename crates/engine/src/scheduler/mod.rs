//! Who computes what next. Deterministic: no clock, no input or output, no randomness.
//!
//! A step is `{sequence: how many of its tokens}`. Sequences in order of their first admission: every
//! one that lacks a single token gets it, then prompts get what the budget leaves, the oldest first.
//! Nothing else distinguishes prompts from continuations: after a preemption, the tokens that were
//! already chosen are computed again like a prompt.

mod admission;
mod snapshots;
mod step;

pub(crate) use snapshots::StateCopy;
pub(crate) use step::{Batch, Step};

use crate::blocks::{Blocks, Chain};
use crate::slots::Slots;
use std::collections::{BTreeSet, VecDeque};

/// What the scheduler may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Sequences that run at the same time; at most `step_tokens`, so that every one gets its token.
    pub parallel: usize,
    /// Cache blocks; at least as many as the longest sequence needs.
    pub blocks: usize,
    pub block_length: usize,
    /// The most tokens of a step.
    pub step_tokens: usize,
    /// Slots of per-sequence state: at least `parallel`, or 0 if the runner keeps none.
    pub slots: usize,
    /// Whether prompts find the blocks of earlier ones.
    pub prefix_cache: bool,
    /// A sequence that grows beyond so many tokens is computed again.
    pub recomputed_beyond: Option<usize>,
}

/// What a step computes of its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Logits,
    Vectors,
}

/// Which rows of a prompt are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    All,
    Last,
}

/// Names a sequence; smaller ones came earlier.
pub(crate) type SequenceId = u64;

/// A prompt to be computed.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// At least one.
    pub tokens: Vec<u32>,
    /// The prompt's length as the model is told it.
    pub length: usize,
    pub kind: Kind,
    pub rows: Rows,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    tokens: Vec<u32>,
    length: usize,
    kind: Kind,
    /// The first position whose row is still wanted; all behind it are too.
    wanted: usize,
    /// Tokens whose keys and values are in the blocks of `table`.
    computed: usize,
    table: Vec<u32>,
    /// The named blocks of the table; `None` once a name collided.
    chain: Option<Chain>,
    /// The slot of its state while it runs; 0 if the runner keeps none.
    slot: u32,
    /// Positions at which a step must end, since a snapshot is wanted there.
    borders: BTreeSet<usize>,
    /// The block at whose end it took its last snapshot beyond its prompt.
    latest: Option<u32>,
    /// Order of the first admission.
    admitted: Option<u64>,
    /// The sequence whose blocks this one waits for.
    awaited: Option<SequenceId>,
    /// How many sequences were waited for.
    waits: usize,
}

impl Sequence {
    fn remaining(&self) -> usize {
        self.tokens.len() - self.computed
    }
}

/// Counters; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub prefix_queries: u64,
    pub prefix_hits: u64,
    pub preemptions: u64,
    /// Admissions that continued from a snapshot.
    pub snapshot_hits: u64,
    /// Tokens of prompts that were computed.
    pub prompt_tokens: u64,
}

/// Decides what each step computes and owns the blocks that hold it.
#[derive(Debug)]
pub(crate) struct Scheduler {
    settings: Settings,
    blocks: Blocks,
    /// In order of first admission.
    running: Vec<Sequence>,
    /// The next to be admitted first.
    waiting: VecDeque<Sequence>,
    ids: SequenceId,
    admissions: u64,
    last: Kind,
    counters: Counters,
}

impl Scheduler {
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            blocks: Blocks::new(settings.blocks, settings.block_length, Slots::new(settings.slots)),
            running: Vec::new(),
            waiting: VecDeque::new(),
            ids: 0,
            admissions: 0,
            last: Kind::Vectors,
            counters: Counters::default(),
        }
    }

    /// Puts a prompt at the end of the queue.
    pub fn add(&mut self, job: Job) -> SequenceId {
        self.ids += 1;
        let wanted = match job.rows {
            Rows::All => 0,
            Rows::Last => job.tokens.len() - 1,
        };
        self.waiting.push_back(Sequence {
            id: self.ids,
            tokens: job.tokens,
            length: job.length,
            kind: job.kind,
            wanted,
            computed: 0,
            table: Vec::new(),
            chain: Some(Chain::default()),
            slot: 0,
            borders: BTreeSet::new(),
            latest: None,
            admitted: None,
            awaited: None,
            waits: 0,
        });
        self.ids
    }

    /// Records what a step that succeeded has computed. The copies returned make snapshots of
    /// states as the step left them; they must be carried out, in order, before the next step.
    pub fn complete(&mut self, step: &Step) -> Vec<StateCopy> {
        let mut copies = Vec::new();
        for part in &step.parts {
            let Some(n) = self.position(part.id) else { continue };
            let sequence = &mut self.running[n];
            let of_prompt = part.tokens.end.min(sequence.length).saturating_sub(part.tokens.start);
            self.counters.prompt_tokens += of_prompt as u64;
            sequence.computed = part.tokens.end;
            sequence.wanted = sequence.wanted.max(part.rows.end);
            if self.settings.prefix_cache {
                name_blocks(&mut self.blocks, sequence);
                copies.extend(snapshots::take(&mut self.blocks, sequence));
            }
        }
        copies
    }

    /// Appends a token to a sequence that runs and whose last row has been computed.
    pub fn push(&mut self, id: SequenceId, token: u32) {
        if let Some(n) = self.position(id) {
            let sequence = &mut self.running[n];
            sequence.tokens.push(token);
            if self.settings.recomputed_beyond == Some(sequence.tokens.len() - 1) {
                // The blocks stay and are written again.
                (sequence.computed, sequence.length) = (0, sequence.tokens.len());
            }
        }
    }

    /// Ends a sequence; what is known of its blocks may be found by others.
    pub fn remove(&mut self, id: SequenceId) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(n) = self.position(id) {
            let sequence = self.running.remove(n);
            self.blocks.release(&sequence.table);
            self.blocks.slots.release(sequence.slot);
        }
    }

    /// Ends a sequence whose step failed: nobody knows what its blocks hold.
    pub fn forget(&mut self, id: SequenceId) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(n) = self.position(id) {
            let sequence = self.running.remove(n);
            self.blocks.forget(&sequence.table);
            self.blocks.slots.release(sequence.slot);
        }
    }

    /// Sequences that run.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Sequences that wait, preempted ones among them.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Tokens of the next step that continue sequences, as far as is known before admissions.
    pub fn continuing(&self) -> usize {
        let continues = |sequence: &&Sequence| {
            sequence.kind == Kind::Logits && sequence.remaining() == 1 && sequence.computed > 0
        };
        self.running.iter().filter(continues).count()
    }

    pub fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Whether blocks and sequences agree.
    ///
    /// # Errors
    /// Where they do not.
    pub fn check(&self) -> Result<(), String> {
        self.blocks.check(self.running.iter().map(|sequence| sequence.table.as_slice()))?;
        let slots = self.running.iter().map(|sequence| sequence.slot);
        self.blocks.check_slots(slots.filter(|slot| *slot > 0 || self.settings.slots > 0))?;
        let holds = |one: &&Sequence| !one.table.is_empty() || one.computed > 0 || one.slot > 0;
        if let Some(one) = self.waiting.iter().find(holds) {
            return Err(format!("sequence {} waits with blocks or a slot", one.id));
        }
        for one in &self.running {
            let places = one.table.len() * self.blocks.length();
            if one.computed > one.tokens.len() || one.computed > places || one.admitted.is_none() {
                return Err(format!("sequence {} ran {} of {places}", one.id, one.computed));
            }
        }
        let ordered = self.running.is_sorted_by_key(|sequence| sequence.admitted);
        let fits = self.running.len() <= self.settings.parallel;
        if ordered && fits { Ok(()) } else { Err("the running sequences are in disorder".into()) }
    }

    fn position(&self, id: SequenceId) -> Option<usize> {
        self.running.iter().position(|sequence| sequence.id == id)
    }
}

#[cfg(test)]
impl Scheduler {
    /// Finds blocks by another hash.
    pub fn with_hash(self, hash: fn(u64, &[u32]) -> u64) -> Self {
        Self { blocks: self.blocks.with_hash(hash), ..self }
    }
}

/// Names the blocks of a sequence that have become full.
fn name_blocks(blocks: &mut Blocks, sequence: &mut Sequence) {
    let length = blocks.length();
    while let Some(chain) = sequence.chain
        && (chain.depth + 1) * length <= sequence.computed
    {
        let tokens = &sequence.tokens[chain.depth * length..(chain.depth + 1) * length];
        sequence.chain = blocks.name(chain, &mut sequence.table[chain.depth], tokens);
    }
}
