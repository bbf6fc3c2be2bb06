//! What memory is meant for, decided once.

use crate::{Error, LoadOptions, machine};
use stablemate_models::{BLOCK_LENGTH, Decoder};

/// The longest sequence of a model whose configuration does not say.
const UNSTATED_CONTEXT: usize = 2048;

/// What memory is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Bytes of the weights.
    pub weights: usize,
    /// Bytes that the cache of keys and values may have.
    pub cache: usize,
    /// Bytes of a cache block.
    pub block: usize,
    /// The longest sequence, in tokens.
    pub context: usize,
}

impl MemoryPlan {
    /// A plan for weights that are in memory. The cache gets what the options leave beside them, or half
    /// of the machine's memory; the longest sequence is what was asked for, or what the model is made
    /// for as far as the cache holds it.
    pub(crate) fn new(
        options: &LoadOptions,
        decoder: &Decoder,
        weights: usize,
    ) -> Result<Self, Error> {
        let block = (decoder.state_bytes_per_token() * BLOCK_LENGTH).max(1);
        let cache = match options.memory {
            Some(memory) => memory.saturating_sub(weights),
            None => machine::total().map_or(usize::MAX, |bytes| bytes / 2),
        };
        let holds = cache / block * BLOCK_LENGTH;
        let made_for = decoder.context.unwrap_or(UNSTATED_CONTEXT);
        // Without a limit of the caller's, a short context is always tried.
        let least = if options.memory.is_some() { 0 } else { UNSTATED_CONTEXT };
        let context = options.context.unwrap_or(made_for.min(holds.max(least)));
        match options.memory {
            Some(memory) if context == 0 || context > holds => {
                let needed = weights + context.max(1).div_ceil(BLOCK_LENGTH) * block;
                Err(Error::Memory { memory, weights, context: context.max(1), needed })
            }
            _ => Ok(Self { weights, cache, block, context }),
        }
    }

    /// Cache blocks for `parallel` sequences: enough for all of them at their longest, as far as the
    /// cache holds them, but always enough for one.
    pub fn blocks(&self, parallel: usize) -> usize {
        let one = self.context.div_ceil(BLOCK_LENGTH);
        one.saturating_mul(parallel).min(self.cache / self.block).max(one)
    }
}
