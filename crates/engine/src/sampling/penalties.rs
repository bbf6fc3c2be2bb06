//! What changes logits before a token is chosen: few of them, whatever the vocabulary.

use super::{Sampling, dry};
use std::collections::BTreeMap;

/// Tokens so far, as far as the parameters want to know them.
#[derive(Clone, Debug)]
pub struct History {
    /// How often the continuation holds each token; 0 for those that only the prompt holds, which are
    /// there only for the repetition penalty.
    counts: BTreeMap<u32, u32>,
    /// Prompt and continuation, for DRY.
    tokens: Vec<u32>,
}

impl History {
    /// What is to be known of the prompt.
    pub fn new(sampling: &Sampling, prompt: &[u32]) -> Self {
        let counts = if sampling.repetition_penalty == 1.0 { &[] } else { prompt };
        let tokens = if sampling.dry.is_some() { prompt.to_vec() } else { Vec::new() };
        Self { counts: counts.iter().map(|token| (*token, 0)).collect(), tokens }
    }

    /// Takes a token of the continuation.
    pub fn push(&mut self, sampling: &Sampling, token: u32) {
        if counts(sampling) {
            let count = self.counts.entry(token).or_default();
            *count = count.saturating_add(1);
        }
        if sampling.dry.is_some() {
            self.tokens.push(token);
        }
    }

    /// Whether [`Self::adjust`] may change anything.
    pub fn adjusts(&self, sampling: &Sampling) -> bool {
        !sampling.logit_bias.is_empty() || !self.counts.is_empty() || !self.tokens.is_empty()
    }

    /// Applies the biases, the penalties and DRY.
    pub fn adjust(&self, sampling: &Sampling, logits: &mut [f32]) {
        for (token, bias) in &sampling.logit_bias {
            if *bias == f32::NEG_INFINITY {
                forbid(logits, *token);
            } else {
                change(logits, *token, |logit| logit + f64::from(*bias));
            }
        }
        let repetition = f64::from(sampling.repetition_penalty);
        let frequency = f64::from(sampling.frequency_penalty);
        let presence = f64::from(sampling.presence_penalty);
        for (token, count) in &self.counts {
            change(logits, *token, |logit| {
                let logit = if logit > 0.0 { logit / repetition } else { logit * repetition };
                let present = if *count > 0 { presence } else { 0.0 };
                logit - f64::from(*count) * frequency - present
            });
        }
        if let Some(parameters) = &sampling.dry {
            for (token, loss) in dry::losses(parameters, &self.tokens) {
                change(logits, token, |logit| logit - loss);
            }
        }
    }
}

/// Whether any parameter counts tokens.
fn counts(sampling: &Sampling) -> bool {
    let Sampling { repetition_penalty, frequency_penalty, presence_penalty, .. } = *sampling;
    repetition_penalty != 1.0 || frequency_penalty != 0.0 || presence_penalty != 0.0
}

/// Changes a logit. Impossible tokens stay impossible and possible ones possible.
fn change(logits: &mut [f32], token: u32, change: impl Fn(f64) -> f64) {
    if let Some(logit) = logits.get_mut(token as usize)
        && *logit > f32::NEG_INFINITY
    {
        *logit = (change(f64::from(*logit)) as f32).clamp(f32::MIN, f32::MAX);
    }
}

/// Makes a token impossible.
pub fn forbid(logits: &mut [f32], token: u32) {
    if let Some(logit) = logits.get_mut(token as usize) {
        *logit = f32::NEG_INFINITY;
    }
}
