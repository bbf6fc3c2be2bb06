//! Who may run, and who must leave.

use super::{Scheduler, Sequence, StateCopy};
use crate::blocks::{Chain, Prefix};
use std::collections::BTreeSet;

/// A sequence waits for the blocks of at most so many others. Each wait ends, since whoever runs gets
/// its turn; without a bound, ever new ones could follow.
const MOST_WAITS: usize = 8;

/// A sequence that starts to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub id: u64,
    /// Tokens whose keys and values were there.
    pub cached: usize,
    /// Whether it had not run before.
    pub first: bool,
    /// Its state must be copied from a snapshot before the step.
    pub restored: Option<StateCopy>,
}

impl Scheduler {
    /// Admits waiting sequences, first come first served, while there are places and blocks. Only
    /// those that wait for a beginning that is just being computed are passed.
    pub(super) fn admit(&mut self) -> Vec<Admission> {
        let mut admitted = Vec::new();
        let mut n = 0;
        while n < self.waiting.len() && self.running.len() < self.settings.parallel {
            let prefix = self.known(&self.waiting[n]);
            if self.must_wait(n, &prefix) {
                n += 1;
                continue;
            }
            let sequence = &self.waiting[n];
            // Blocks for all its tokens now, or two prompts could starve each other half-way.
            let needed = self.blocks_of(sequence) - prefix.blocks.len();
            let spare = match (self.running.len(), sequence.admitted) {
                (0, _) => 0,
                (_, None) => 1,
                // It lost its blocks to the others: it comes back when each of them can grow.
                (running, Some(_)) => running,
            };
            if self.blocks.available() - prefix.idle < needed + spare {
                break;
            }
            if let Some(sequence) = self.waiting.remove(n) {
                admitted.push(self.start(sequence, prefix, needed));
            }
        }
        admitted
    }

    fn start(&mut self, mut sequence: Sequence, prefix: Prefix, needed: usize) -> Admission {
        let cached = prefix.tokens(self.blocks.length());
        let first = sequence.admitted.is_none();
        if first && self.most_known(&sequence).is_some() {
            self.counters.prefix_queries += sequence.tokens.len() as u64;
            self.counters.prefix_hits += cached as u64;
        }
        self.blocks.share(&prefix.blocks);
        let restored = self.give_slot(&mut sequence, &prefix);
        sequence.table = prefix.blocks;
        sequence.table.extend((0..needed).map_while(|_| self.blocks.allocate()));
        sequence.chain = Some(prefix.chain);
        sequence.computed = cached;
        sequence.awaited = None;
        let order = *sequence.admitted.get_or_insert_with(|| {
            self.admissions += 1;
            self.admissions
        });
        let id = sequence.id;
        let place = self.running.partition_point(|other| other.admitted < Some(order));
        self.running.insert(place, sequence);
        Admission { id, cached, first, restored }
    }

    /// Takes the blocks of the sequence that was admitted last; it comes back before all that wait.
    /// The oldest sequence therefore never loses its blocks, and each one is the oldest in the end.
    pub(super) fn preempt(&mut self) -> Option<u64> {
        let mut sequence = self.running.pop()?;
        self.blocks.release(&std::mem::take(&mut sequence.table));
        self.blocks.slots.release(std::mem::take(&mut sequence.slot));
        (sequence.borders, sequence.latest) = (BTreeSet::new(), None);
        sequence.computed = 0;
        sequence.chain = Some(Chain::default());
        self.counters.preemptions += 1;
        let id = sequence.id;
        self.waiting.push_front(sequence);
        Some(id)
    }

    /// Blocks of a waiting sequence that may be taken from the cache: whole ones before the first
    /// row that is wanted. `None` if it may take none whatever they hold.
    pub(super) fn most_known(&self, sequence: &Sequence) -> Option<usize> {
        let most = sequence.wanted / self.blocks.length();
        (self.settings.prefix_cache && sequence.wanted > 0).then_some(most)
    }

    fn known(&self, sequence: &Sequence) -> Prefix {
        let most = self.most_known(sequence).unwrap_or(0);
        self.blocks.lookup(&sequence.tokens, most)
    }

    fn blocks_of(&self, sequence: &Sequence) -> usize {
        sequence.tokens.len().div_ceil(self.blocks.length())
    }

    /// Whether a running sequence is about to compute more of a waiting one's beginning than `known`.
    fn must_wait(&mut self, n: usize, known: &Prefix) -> bool {
        let length = self.blocks.length();
        let waiting = &self.waiting[n];
        let most = self.most_known(waiting).unwrap_or(0);
        let (beginning, depth) = (&waiting.tokens[..most * length], known.chain.depth);
        let ahead = self.running.iter().find_map(|running| {
            let common = shared(&running.tokens, beginning) / length;
            let border = common * length;
            let computes = running.chain.is_some() && common > depth && running.computed < border;
            computes.then_some((running.id, border))
        });
        let Some((id, border)) = ahead else { return false };
        self.want_snapshot(id, border);
        let waiting = &mut self.waiting[n];
        if waiting.awaited != Some(id) {
            waiting.awaited = Some(id);
            waiting.waits += 1;
        }
        waiting.waits <= MOST_WAITS
    }
}

/// Length of the longest common prefix.
fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
