//! Where snapshots of per-sequence state are taken, and how a sequence continues from one.
//!
//! Every token overwrites the state of its sequence. So a prefix can be continued only from a
//! border of blocks at which the state was copied. With a prefix cache, a copy is taken
//!
//! - at the last border from which the same prompt could be continued,
//! - at the border where a prompt leaves what is known of earlier ones: others may leave it there
//!   too,
//! - at the border that another sequence waits for,
//! - at every border that is reached while tokens are chosen; the next one replaces it.
//!
//! A step of a sequence ends at each such border. If no slot is blank, the least recently used
//! snapshot is dropped; if running sequences own all slots, no snapshot is taken.

use super::{Scheduler, Sequence, SequenceId};
use crate::blocks::{Blocks, Prefix};

/// A state to be copied from one slot over another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateCopy {
    pub from: u32,
    pub to: u32,
}

impl Scheduler {
    /// Gives a sequence that starts to run a slot, and says what must be copied there. A sequence
    /// without a prefix begins at position 0, whatever its slot holds.
    pub(super) fn give_slot(
        &mut self,
        sequence: &mut Sequence,
        prefix: &Prefix,
    ) -> Option<StateCopy> {
        if self.settings.slots == 0 {
            return None;
        }
        let length = self.blocks.length();
        let most = self.most_known(sequence).unwrap_or(0);
        let borders = [prefix.known, most].map(|blocks| blocks * length);
        sequence.borders.extend(borders.iter().filter(|border| **border > prefix.tokens(length)));
        let slots = &mut self.blocks.slots;
        if let Some(block) = prefix.blocks.last() {
            slots.touch(*block, true);
        }
        // Not more sequences run than there are slots.
        sequence.slot = slots.allocate().unwrap_or(0);
        let from = prefix.snapshot?;
        self.counters.snapshot_hits += 1;
        // The slot of the only snapshot may have been taken over as it is.
        (from != sequence.slot).then_some(StateCopy { from, to: sequence.slot })
    }

    /// Makes a running sequence leave a snapshot at a border that lies before it.
    pub(super) fn want_snapshot(&mut self, id: SequenceId, border: usize) {
        if self.settings.slots > 0
            && let Some(n) = self.position(id)
        {
            self.running[n].borders.insert(border);
        }
    }

    /// Drops the snapshot that a slot should have held: it could not be copied.
    pub fn lose_snapshot(&mut self, slot: u32) {
        self.blocks.slots.lose_slot(slot);
    }
}

/// Takes a snapshot of a sequence if its last step ended where one is wanted.
pub(super) fn take(blocks: &mut Blocks, sequence: &mut Sequence) -> Option<StateCopy> {
    if blocks.slots.total() == 0 || !sequence.computed.is_multiple_of(blocks.length()) {
        return None;
    }
    let wanted = sequence.borders.remove(&sequence.computed);
    if !wanted && sequence.remaining() > 0 {
        return None;
    }
    let depth = sequence.computed / blocks.length();
    sequence.chain.filter(|chain| chain.depth == depth)?;
    let block = *sequence.table.get(depth.checked_sub(1)?)?;
    if blocks.slots.touch(block, wanted) {
        return None;
    }
    if !wanted && let Some(latest) = sequence.latest.replace(block) {
        blocks.slots.pass(latest);
    }
    let to = blocks.slots.keep(block, !wanted)?;
    Some(StateCopy { from: sequence.slot, to })
}
