//! Slots of per-sequence state: those of running sequences, and snapshots.
//!
//! A snapshot is a copy of a sequence's state after the last token of a full cache block. It is
//! kept under the number of that block, whose content names the tokens that led to the state, and
//! it is dropped with that content. Every slot is owned by a running sequence, holds a snapshot, or
//! is blank.

use std::collections::{BTreeSet, HashMap, HashSet};

/// Slots 1 to `N`; none if the runner keeps no per-sequence state.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    total: usize,
    /// Free slots; the last one is taken next, so that memory used before is used again.
    blank: Vec<u32>,
    /// Snapshots by the block at whose end they were taken.
    snapshots: HashMap<u32, Snapshot>,
    /// Blocks with snapshots, the least recently used first.
    ages: BTreeSet<(u64, u32)>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    slot: u32,
    used: u64,
    /// Whether the sequence that took it drops it when it takes its next one.
    passing: bool,
}

impl Slots {
    /// `total` blank slots.
    pub fn new(total: usize) -> Self {
        Self { total, blank: (1..=total as u32).rev().collect(), ..Self::default() }
    }

    /// All slots.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Slots that hold snapshots.
    pub fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    /// Slots that running sequences own.
    pub fn owned(&self) -> usize {
        self.total - self.blank.len() - self.snapshots.len()
    }

    /// The slot of the snapshot at the end of a block. Does not count as a use.
    pub fn snapshot(&self, block: u32) -> Option<u32> {
        self.snapshots.get(&block).map(|snapshot| snapshot.slot)
    }

    /// Counts a use of the snapshot at the end of a block and says whether there is one. One that a
    /// second sequence uses is not dropped by the sequence that took it.
    pub fn touch(&mut self, block: u32, shared: bool) -> bool {
        let Some(snapshot) = self.snapshots.get_mut(&block) else { return false };
        self.uses += 1;
        self.ages.remove(&(snapshot.used, block));
        self.ages.insert((self.uses, block));
        snapshot.used = self.uses;
        snapshot.passing &= !shared;
        true
    }

    /// A slot for a sequence that starts to run: a blank one, or that of the least recently used
    /// snapshot, which is lost. `None` if running sequences own all slots.
    pub fn allocate(&mut self) -> Option<u32> {
        if let Some(slot) = self.blank.pop() {
            return Some(slot);
        }
        let (_, block) = self.ages.pop_first()?;
        self.snapshots.remove(&block).map(|snapshot| snapshot.slot)
    }

    /// Frees the slot of a sequence that runs no longer.
    pub fn release(&mut self, slot: u32) {
        if slot > 0 {
            self.blank.push(slot);
        }
    }

    /// A slot for a snapshot at the end of a block that has none, see [`Self::allocate`].
    pub fn keep(&mut self, block: u32, passing: bool) -> Option<u32> {
        debug_assert!(!self.snapshots.contains_key(&block));
        let slot = self.allocate()?;
        self.uses += 1;
        self.ages.insert((self.uses, block));
        self.snapshots.insert(block, Snapshot { slot, used: self.uses, passing });
        Some(slot)
    }

    /// Drops the snapshot at the end of a block, if there is one.
    pub fn lose(&mut self, block: u32) {
        if let Some(snapshot) = self.snapshots.remove(&block) {
            self.ages.remove(&(snapshot.used, block));
            self.blank.push(snapshot.slot);
        }
    }

    /// Drops the snapshot at the end of a block if only the sequence that took it used it.
    pub fn pass(&mut self, block: u32) {
        if self.snapshots.get(&block).is_some_and(|snapshot| snapshot.passing) {
            self.lose(block);
        }
    }

    /// Drops the snapshot that a slot should have held.
    pub fn lose_slot(&mut self, slot: u32) {
        let held = self.snapshots.iter().find(|(_, snapshot)| snapshot.slot == slot);
        if let Some(block) = held.map(|(block, _)| *block) {
            self.lose(block);
        }
    }

    /// Whether every slot has exactly one use, `held` being those of running sequences, and
    /// snapshots are of blocks whose content is known.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(
        &self,
        held: impl Iterator<Item = u32>,
        known: impl Fn(u32) -> bool,
    ) -> Result<(), String> {
        let kept = self.snapshots.values().map(|snapshot| snapshot.slot);
        let mut uses = HashSet::new();
        for slot in self.blank.iter().copied().chain(kept).chain(held) {
            if slot == 0 || slot as usize > self.total || !uses.insert(slot) {
                return Err(format!("slot {slot} of {} is used twice or not there", self.total));
            }
        }
        if uses.len() != self.total {
            return Err(format!("{} of {} slots are in use or blank", uses.len(), self.total));
        }
        let ages: BTreeSet<(u64, u32)> =
            self.snapshots.iter().map(|(block, snapshot)| (snapshot.used, *block)).collect();
        if ages != self.ages {
            return Err(format!("snapshots {ages:?} are dated {:?}", self.ages));
        }
        match self.snapshots.keys().find(|block| !known(**block)) {
            Some(block) => Err(format!("block {block} has a snapshot, but no known content")),
            None => Ok(()),
        }
    }
}
