//! How much memory weights, cache and per-sequence state may take, decided once.

use crate::{Error, LoadOptions, machine};
use stablemate_models::{BLOCK_LENGTH, Decoder};

/// The longest sequence of a model whose configuration does not say.
const UNSTATED_CONTEXT: usize = 2048;

/// Snapshots of per-sequence state for each sequence that may run: one at the end of its prompt,
/// the latest one behind it, and as many of sequences that ended.
const SNAPSHOTS: usize = 4;

/// What memory is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the weights.
    pub weights: usize,
    /// Bytes that the cache of keys and values and the per-sequence state may have.
    pub cache: usize,
    /// Bytes of a cache block.
    pub block: usize,
    /// Bytes of a slot of per-sequence state; 0 if the model keeps none.
    pub slot: usize,
    /// The longest sequence, in tokens.
    pub context: usize,
}

impl MemoryPlan {
    /// A plan for weights that are in memory. The cache gets what the options leave beside them, or
    /// half of the machine's memory; the longest sequence is what was asked for, or what the model
    /// is made for as far as the cache holds it beside the state of one sequence.
    pub(crate) fn new(
        options: &LoadOptions,
        decoder: &Decoder,
        weights: usize,
    ) -> Result<Self, Error> {
        // There is no row to read for a position beyond.
        if let (Some(context), Some(limit)) = (options.context, decoder.learned_positions())
            && context > limit
        {
            return Err(Error::Positions { context, limit });
        }
        let per_token = decoder.state_bytes_per_token();
        let plan = Self {
            weights,
            cache: match options.memory {
                Some(memory) => memory.saturating_sub(weights),
                None => machine::total().map_or(usize::MAX, |bytes| bytes / 2),
            },
            block: per_token.saturating_mul(BLOCK_LENGTH).max(1),
            slot: decoder.state_bytes_per_sequence(),
            context: 0,
        };
        plan.with_context(options, decoder.context)
    }

    fn with_context(self, options: &LoadOptions, made_for: Option<usize>) -> Result<Self, Error> {
        let Self { weights, cache, block, .. } = self;
        let state = self.state(if self.slot > 0 { 2 } else { 0 });
        let holds = (cache.saturating_sub(state) / block).saturating_mul(BLOCK_LENGTH);
        let made_for = made_for.unwrap_or(UNSTATED_CONTEXT);
        // Without a limit of the caller's, a short context is always tried.
        let least = if options.memory.is_some() { 0 } else { UNSTATED_CONTEXT };
        let context = options.context.unwrap_or(made_for.min(holds.max(least)));
        match options.memory {
            Some(memory) if context == 0 || context > holds || state > cache => {
                let context = context.max(1);
                let blocks = context.div_ceil(BLOCK_LENGTH).saturating_mul(block);
                let needed = weights.saturating_add(blocks).saturating_add(state);
                Err(Error::Memory { memory, weights, context, state, needed })
            }
            _ => Ok(Self { context, ..self }),
        }
    }

    /// Cache blocks for `parallel` sequences: enough for all of them at their longest, as far as
    /// the cache holds them beside the state, but always enough for one.
    pub fn blocks(&self, parallel: usize) -> usize {
        let rest = self.cache.saturating_sub(self.state(self.slots(parallel)));
        self.longest().saturating_mul(parallel).min(rest / self.block).max(self.longest())
    }

    /// Slots of per-sequence state for `parallel` sequences and snapshots; 0 if the model keeps no
    /// such state. Each sequence gets one as far as the cache holds them beside the blocks of one
    /// sequence. Snapshots get four for each sequence, but no more than a quarter of the cache, and
    /// at least one.
    pub fn slots(&self, parallel: usize) -> usize {
        if self.slot == 0 {
            return 0;
        }
        let blocks = self.longest().saturating_mul(self.block);
        // Without the reserved slot.
        let most = (self.cache.saturating_sub(blocks) / self.slot).saturating_sub(1);
        let sequences = parallel.max(1).min(most.saturating_sub(1)).max(1);
        let quarter = self.cache / 4 / self.slot;
        let wanted = parallel.max(1).saturating_mul(SNAPSHOTS).min(quarter);
        sequences + wanted.min(most.saturating_sub(sequences)).max(1)
    }

    /// Bytes of `slots` slots and the reserved one.
    pub fn state(&self, slots: usize) -> usize {
        if slots == 0 { 0 } else { (slots + 1).saturating_mul(self.slot) }
    }

    /// Blocks of the longest sequence.
    fn longest(&self) -> usize {
        self.context.div_ceil(BLOCK_LENGTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Folders;
    use std::path::PathBuf;

    /// 160 blocks, or 80 slots, beside weights of 1000 bytes.
    const PLAN: MemoryPlan =
        MemoryPlan { weights: 1000, cache: 16_000, block: 100, slot: 200, context: 0 };

    fn plan(memory: usize, context: Option<usize>) -> Result<MemoryPlan, Error> {
        let folders = Folders { data: PathBuf::new(), cache: PathBuf::new() };
        let options = LoadOptions { memory: Some(memory), context, ..LoadOptions::new(folders) };
        MemoryPlan { cache: memory.saturating_sub(1000), ..PLAN }.with_context(&options, Some(640))
    }

    #[test]
    fn the_context_is_what_fits_beside_the_state_of_one_sequence() {
        assert_eq!(plan(17_000, None).unwrap().context, 640);
        // 600 bytes are the state's: two slots and the reserved one; nine blocks remain.
        assert_eq!(plan(2500, None).unwrap().context, 144);
        assert_eq!(plan(2500, Some(144)).unwrap().context, 144);
        let error = plan(2500, Some(145)).unwrap_err();
        assert!(matches!(error, Error::Memory { context: 145, state: 600, needed: 2600, .. }));
        for memory in [0, 1000, 1599, 1600, 1699] {
            let error = plan(memory, None).unwrap_err();
            assert!(matches!(error, Error::Memory { context: 1, state: 600, needed: 1700, .. }));
        }
    }

    #[test]
    fn slots_are_for_sequences_and_snapshots_as_far_as_they_fit() {
        let of = |cache, context, parallel| {
            let plan = MemoryPlan { cache, context, ..PLAN };
            (plan.slots(parallel), plan.blocks(parallel))
        };
        // 40 blocks for each sequence are 4000 bytes; four snapshots for each, at most a quarter.
        assert_eq!(of(1_000_000, 640, 4), (4 + 16, 160));
        assert_eq!(of(16_000, 640, 4), (4 + 16, 118));
        assert_eq!(of(8000, 640, 4), (4 + 10, 50));
        assert_eq!(of(6000, 640, 4), (4 + 5, 40));
        // 2000 bytes beside the blocks of one sequence: fewer sequences run.
        assert_eq!(of(4800, 640, 8), (2 + 1, 40));
        assert_eq!(of(4600, 640, 8), (1 + 1, 40));
        let stateless = MemoryPlan { slot: 0, context: 640, ..PLAN };
        assert_eq!((stateless.slots(8), stateless.state(0), stateless.blocks(8)), (0, 0, 160));
    }
}
