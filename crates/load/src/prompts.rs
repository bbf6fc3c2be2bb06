//! Prompts of random token ids that follow from a seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::Serialize;

use crate::LoadError;
use crate::error::parameter;

/// A number of tokens, chosen evenly between two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// At least so many.
    pub lowest: usize,
    /// At most so many.
    pub highest: usize,
}

impl Lengths {
    /// Always the same.
    pub fn exactly(length: usize) -> Self {
        Self { lowest: length, highest: length }
    }

    pub(crate) fn check(self, name: &'static str) -> Result<Self, LoadError> {
        if self.lowest == 0 || self.lowest > self.highest {
            let value = format!("{}..{}", self.lowest, self.highest);
            return Err(parameter(name, value, "lengths are at least 1, the lower bound first"));
        }
        Ok(self)
    }
}

/// The token ids prompts are made of, both bounds included. Every one of them must be in the model's vocabulary;
/// special ones are best left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokenIds {
    /// The smallest.
    pub lowest: u32,
    /// The largest.
    pub highest: u32,
}

impl Default for TokenIds {
    /// Ids that are ordinary tokens in nearly every published vocabulary.
    fn default() -> Self {
        Self { lowest: 1000, highest: 20_000 }
    }
}

/// A source of prompts: what it gives depends on the seed and on the names and numbers asked for, not on when.
#[derive(Clone, Copy, Debug)]
pub struct Prompts {
    seed: u64,
    ids: TokenIds,
}

impl Prompts {
    /// A source of prompts.
    ///
    /// # Errors
    /// [`LoadError::Parameter`] if there are fewer than two ids to choose from.
    pub fn new(seed: u64, ids: TokenIds) -> Result<Self, LoadError> {
        if ids.lowest >= ids.highest {
            let value = format!("{}..{}", ids.lowest, ids.highest);
            return Err(parameter("the range of token ids", value, "the lower bound comes first"));
        }
        Ok(Self { seed, ids })
    }

    /// Random numbers of their own for one purpose (`stream`) and one request.
    pub(crate) fn random(&self, stream: u64, number: usize) -> Random {
        let mut seed = [0; 32];
        let words = [self.seed, stream, number as u64, 0];
        for (place, word) in seed.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        Random(ChaCha8Rng::from_seed(seed))
    }

    /// So many token ids.
    pub(crate) fn tokens(&self, random: &mut Random, length: usize) -> Vec<u32> {
        let span = u64::from(self.ids.highest) - u64::from(self.ids.lowest) + 1;
        let id = |random: &mut Random| {
            let offset = u32::try_from(random.below(span)).unwrap_or_default();
            self.ids.lowest.saturating_add(offset)
        };
        (0..length).map(|_| id(random)).collect()
    }
}

/// Random numbers.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// Below a bound that is not 0. The remainder's bias is far below anything a load could show.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.next_u64().checked_rem(bound).unwrap_or_default()
    }

    /// In [0, 1).
    pub fn fraction(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of the lengths.
    pub fn length(&mut self, lengths: Lengths) -> usize {
        let span = lengths.highest.saturating_sub(lengths.lowest) as u64;
        let offset = self.below(span.saturating_add(1));
        lengths.lowest.saturating_add(usize::try_from(offset).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn empty_ranges_are_refused() {
        assert!(Prompts::new(0, TokenIds { lowest: 5, highest: 5 }).is_err());
        assert!(Lengths { lowest: 3, highest: 2 }.check("lengths").is_err());
        assert!(Lengths { lowest: 0, highest: 2 }.check("lengths").is_err());
        assert!(Lengths::exactly(1).check("lengths").is_ok());
    }

    #[test]
    fn another_seed_purpose_or_number_is_another_prompt() {
        let prompt = |seed, stream, number| {
            let prompts = Prompts::new(seed, TokenIds::default()).unwrap();
            prompts.tokens(&mut prompts.random(stream, number), 8)
        };
        let first = prompt(1, 2, 3);
        assert_eq!(first, prompt(1, 2, 3));
        for other in [prompt(2, 2, 3), prompt(1, 3, 3), prompt(1, 2, 4)] {
            assert_ne!(first, other);
        }
    }

    proptest! {
        #[test]
        fn bounds_hold(seed: u64, lowest in 0_u32..9, span in 1_u32..9, low in 1_usize..9, more in 0_usize..9) {
            let ids = TokenIds { lowest, highest: lowest + span };
            let prompts = Prompts::new(seed, ids).unwrap();
            let mut random = prompts.random(0, 0);
            let length = random.length(Lengths { lowest: low, highest: low + more });
            prop_assert!((low..=low + more).contains(&length));
            let tokens = prompts.tokens(&mut random, length);
            prop_assert_eq!(tokens.len(), length);
            prop_assert!(tokens.iter().all(|id| (lowest..=lowest + span).contains(id)));
            prop_assert!((0.0..1.0).contains(&random.fraction()));
        }
    }
}
