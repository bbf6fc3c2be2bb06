//! Choosing one token after another.

use super::Sampling;
use super::candidates::{Candidates, filters};
use super::penalties::{History, forbid};
use super::scan::{Scale, largest};
use crate::TokenMask;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Chooses the tokens of one sequence by a [`Sampling`]; holds the state of its random numbers and the
/// tokens chosen so far. Its choices are a function of the parameters, the seed, the prompt and the
/// logits and masks it has been given: not of the machine, nor of anything beside.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    random: ChaCha8Rng,
    history: History,
    /// Logits as they are adjusted, `[V]`; empty until something adjusts them.
    adjusted: Vec<f32>,
}

/// Why no token was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unchoosable {
    /// A logit is not a number or is `+∞`, whether its token is allowed or not: its index, the first.
    #[error("the logit of token id {0} is not finite")]
    NotFinite(usize),
    /// Every token is impossible (`-∞`), not allowed or forbidden.
    #[error("no token is both possible and allowed")]
    NothingAllowed,
}

impl Sampler {
    /// A sampler that continues a prompt; the parameters have been validated.
    pub fn new(sampling: Sampling, prompt: &[u32]) -> Self {
        let random = ChaCha8Rng::seed_from_u64(sampling.seed);
        let history = History::new(&sampling, prompt);
        Self { sampling, random, history, adjusted: Vec::new() }
    }

    /// Chooses a token by logits `[V]`, and remembers it. Only tokens that `allowed` allows and that are
    /// not among `forbidden` (end tokens, as long as the sequence may not end) are chosen. A logit of
    /// `-∞` means impossible.
    ///
    /// # Errors
    /// [`Unchoosable`]; nothing is remembered then.
    pub fn choose(
        &mut self,
        logits: &[f32],
        allowed: Option<&TokenMask>,
        forbidden: &[u32],
    ) -> Result<u32, Unchoosable> {
        let mut best = largest(logits).map_err(Unchoosable::NotFinite)?;
        let mut adjusted = std::mem::take(&mut self.adjusted);
        let mut logits = logits;
        let adjusts = self.history.adjusts(&self.sampling);
        if adjusts || allowed.is_some() || !forbidden.is_empty() {
            adjusted.clear();
            adjusted.extend_from_slice(logits);
            self.history.adjust(&self.sampling, &mut adjusted);
            forbidden.iter().for_each(|token| forbid(&mut adjusted, *token));
            if let Some(mask) = allowed {
                apply(mask, &mut adjusted);
            }
            logits = &adjusted;
            best = largest(logits).map_err(Unchoosable::NotFinite)?;
        }
        let chosen = best.and_then(|best| self.draw(logits, best));
        self.adjusted = adjusted;
        let token = chosen.ok_or(Unchoosable::NothingAllowed)?;
        self.history.push(&self.sampling, token);
        Ok(token)
    }

    /// Draws by adjusted logits, of which `best` is the index of the largest.
    fn draw(&mut self, logits: &[f32], best: usize) -> Option<u32> {
        let Sampling { temperature, top_k, xtc_probability, .. } = self.sampling;
        if temperature == 0.0 || top_k == 1 {
            return Some(best as u32);
        }
        let scale = Scale { largest: *logits.get(best)?, temperature };
        let xtc = xtc_probability > 0.0 && self.uniform() < f64::from(xtc_probability);
        let fraction = self.uniform();
        if filters(&self.sampling, xtc, logits.len()) {
            Candidates::of(logits, scale, &self.sampling, xtc).draw(fraction)
        } else {
            scale.draw(logits, fraction).map(|token| token as u32)
        }
    }

    /// Uniform in `[0, 1)` with 53 bits.
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Makes all tokens impossible that a mask does not allow.
fn apply(mask: &TokenMask, logits: &mut [f32]) {
    let covered = mask.vocabulary().min(logits.len());
    let (covered, beyond) = logits.split_at_mut(covered);
    beyond.fill(f32::NEG_INFINITY);
    for (word, tokens) in mask.words().iter().zip(covered.chunks_mut(32)) {
        match *word {
            0 => tokens.fill(f32::NEG_INFINITY),
            u32::MAX => {}
            word => {
                for (n, logit) in tokens.iter_mut().enumerate() {
                    *logit = if word >> n & 1 == 1 { *logit } else { f32::NEG_INFINITY };
                }
            }
        }
    }
}
