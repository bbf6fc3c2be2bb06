//! What the parameters mean, written down as plainly as possible: in 64 bits, sorting everything.

use crate::{Dry, Sampling};
use std::collections::BTreeMap;

/// Probabilities that filters leave.
#[derive(Clone, Debug)]
pub struct Definition {
    /// By token; those that are left.
    pub probabilities: BTreeMap<u32, f64>,
    /// How far the nearest decision was from going the other way: if not far, rounding decides.
    pub margin: f64,
}

#[derive(Clone, Copy, Debug)]
struct Token {
    id: u32,
    logit: f64,
    probability: f64,
}

/// The distribution after all filters, given whether chance applies XTC.
pub fn filtered(sampling: &Sampling, logits: &[f64], xtc: bool) -> Definition {
    let temperature = f64::from(sampling.temperature);
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut tokens: Vec<Token> = Vec::new();
    for (id, logit) in logits.iter().enumerate() {
        let probability = ((logit - largest) / temperature).exp();
        tokens.push(Token { id: id as u32, logit: *logit, probability });
    }
    tokens.retain(|token| token.probability > 0.0);
    by_probability(&mut tokens);
    let mut margin = f64::INFINITY;
    if sampling.top_k > 0 {
        tokens.truncate(sampling.top_k);
    }
    normalise(&mut tokens);
    if sampling.typical_p < 1.0 {
        typical(&mut tokens, f64::from(sampling.typical_p), &mut margin);
    }
    if sampling.top_p < 1.0 {
        nucleus(&mut tokens, f64::from(sampling.top_p), &mut margin);
    }
    let least = f64::from(sampling.min_p) * tokens[0].probability;
    for token in &tokens[1..] {
        margin = margin.min((token.probability - least).abs());
    }
    tokens.retain(|token| token.probability >= least);
    normalise(&mut tokens);
    if xtc {
        exclude_top(&mut tokens, f64::from(sampling.xtc_threshold), &mut margin);
    }
    let probabilities = tokens.iter().map(|token| (token.id, token.probability)).collect();
    Definition { probabilities, margin }
}

/// The distribution of draws: with chance `xtc_probability` that with XTC.
pub fn distribution(sampling: &Sampling, logits: &[f64]) -> BTreeMap<u32, f64> {
    let chance = f64::from(sampling.xtc_probability);
    let mut all = BTreeMap::new();
    for (xtc, share) in [(false, 1.0 - chance), (true, chance)] {
        for (token, probability) in filtered(sampling, logits, xtc).probabilities {
            *all.entry(token).or_default() += share * probability;
        }
    }
    all.retain(|_, probability| *probability > 0.0);
    all
}

fn by_probability(tokens: &mut [Token]) {
    tokens.sort_by(|a, b| b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id)));
}

fn normalise(tokens: &mut [Token]) {
    let total: f64 = tokens.iter().map(|token| token.probability).sum();
    tokens.iter_mut().for_each(|token| token.probability /= total);
}

/// Keeps tokens from the front until their probabilities reach `mass`.
fn reach(tokens: &mut Vec<Token>, mass: f64, margin: &mut f64) -> usize {
    let mut sum = 0.0;
    let mut kept = 0;
    for token in tokens.iter() {
        *margin = margin.min((sum - mass).abs());
        if sum >= mass {
            break;
        }
        sum += token.probability;
        kept += 1;
    }
    tokens.truncate(kept);
    kept
}

fn nucleus(tokens: &mut Vec<Token>, mass: f64, margin: &mut f64) {
    reach(tokens, mass, margin);
    normalise(tokens);
}

fn typical(tokens: &mut Vec<Token>, mass: f64, margin: &mut f64) {
    let entropy: f64 = -tokens.iter().map(|t| t.probability * t.probability.ln()).sum::<f64>();
    let distance = |token: &Token| (-token.probability.ln() - entropy).abs();
    tokens.sort_by(|a, b| distance(a).total_cmp(&distance(b)).then(a.id.cmp(&b.id)));
    let all = tokens.clone();
    let kept = reach(tokens, mass, margin);
    let last = all[kept - 1];
    // Between equals the id decides, not rounding.
    if let Some(next) = all.get(kept).filter(|next| next.logit != last.logit) {
        *margin = margin.min((distance(next) - distance(&last)).abs());
    }
    by_probability(tokens);
    normalise(tokens);
}

fn exclude_top(tokens: &mut Vec<Token>, threshold: f64, margin: &mut f64) {
    for token in tokens.iter() {
        *margin = margin.min((token.probability - threshold).abs());
    }
    let top = tokens.iter().filter(|token| token.probability >= threshold).count();
    if top > 1 {
        tokens.drain(..top - 1);
    }
    normalise(tokens);
}

/// Logits after biases, penalties and DRY.
pub fn adjusted(
    sampling: &Sampling,
    prompt: &[u32],
    continuation: &[u32],
    logits: &[f32],
) -> Vec<f64> {
    let text = [prompt, continuation].concat();
    let mut adjusted: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    for (id, logit) in adjusted.iter_mut().enumerate() {
        let id = id as u32;
        for (biased, bias) in &sampling.logit_bias {
            *logit += if *biased == id { f64::from(*bias) } else { 0.0 };
        }
        if text.contains(&id) {
            let penalty = f64::from(sampling.repetition_penalty);
            *logit = if *logit > 0.0 { *logit / penalty } else { *logit * penalty };
        }
        let count = continuation.iter().filter(|token| **token == id).count();
        *logit -= count as f64 * f64::from(sampling.frequency_penalty);
        if count > 0 {
            *logit -= f64::from(sampling.presence_penalty);
        }
        let repeated = sampling.dry.as_ref().and_then(|dry| repetition(dry, &text, id));
        if let (Some(dry), Some(length)) = (&sampling.dry, repeated) {
            let growth = f64::from(dry.base).powi((length - dry.allowed_length) as i32);
            *logit -= f64::from(dry.multiplier) * growth;
        }
    }
    adjusted
}

/// The length of the longest repetition that a token would extend, if it costs something.
fn repetition(dry: &Dry, text: &[u32], token: u32) -> Option<usize> {
    let text = &text[text.len() - dry.range.unwrap_or(text.len()).min(text.len())..];
    if dry.breakers.contains(&token) {
        return None;
    }
    (1..text.len())
        .filter(|length| {
            let end = &text[text.len() - length..];
            let unbroken = end.iter().all(|token| !dry.breakers.contains(token));
            unbroken && text.windows(length + 1).any(|window| window == [end, &[token]].concat())
        })
        .max()
        .filter(|length| *length >= dry.allowed_length)
}
