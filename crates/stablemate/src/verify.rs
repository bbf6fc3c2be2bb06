//! Native kernels against the portable text, which is their specification.

use crate::{Backend, Error, LoadOptions, Model};
use serde::Serialize;
use stablemate_engine::{EngineError, Room, Runner, StepInput};
use stablemate_kernels::Activations;
use std::path::Path;

/// How a native run of one prompt compares with a portable one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The prompt's token ids.
    pub prompt_ids: Vec<u32>,
    /// Greedy tokens of the native run, one step each.
    pub token_ids: Vec<u32>,
    /// How many of them, from the beginning, the portable run chooses too.
    pub equal_tokens: usize,
    /// Share of all positions of prompt and tokens at which the largest logit is the same.
    pub top1_agreement: f64,
    /// Kullback–Leibler divergence of the native distribution from the portable one in nats, mean over
    /// all positions.
    pub mean_divergence: f64,
    /// The largest of them.
    pub largest_divergence: f64,
    /// The largest difference of a logit.
    pub largest_difference: f64,
    /// Where tokens differ first: how far the portable logits of the two candidates lie apart.
    pub margin: Option<f64>,
}

impl Comparison {
    /// Whether all tokens are the same.
    pub fn exact(&self) -> bool {
        self.equal_tokens == self.token_ids.len()
    }
}

/// Runs `prompts` with native kernels, `tokens` greedy tokens each, and the same tokens through the
/// portable text.
///
/// # Errors
/// Those of loading and running the model.
pub fn verify(
    path: &Path,
    options: &LoadOptions,
    prompts: &[Vec<u32>],
    tokens: usize,
) -> Result<Vec<Comparison>, Error> {
    let load = |options: &LoadOptions| Ok::<_, Error>(Model::load(path, options)?.into_executor());
    let mut native = load(&LoadOptions { backend: Backend::Native, ..options.clone() })?;
    for prompt in prompts {
        check(&native, prompt, tokens)?;
    }
    let runs: Result<Vec<Run>, Error> =
        prompts.iter().map(|prompt| Run::greedy(&mut native, prompt, tokens)).collect();
    drop(native);
    // Rounded activations are what is to be judged, so the other side has none.
    let mut portable = load(&LoadOptions {
        backend: Backend::Portable,
        activations: Activations::Exact,
        isa: None,
        ..options.clone()
    })?;
    runs?.iter().map(|run| run.compare(&mut portable)).collect()
}

/// Refuses prompts that cannot be run with so many tokens after them.
fn check<R: Runner>(
    runner: &R,
    prompt: &[u32],
    tokens: usize,
) -> Result<(), EngineError<R::Error>> {
    let (vocabulary, context) = (runner.vocabulary(), runner.context());
    if prompt.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    let unknown = |(_, id): &(usize, &u32)| **id as usize >= vocabulary;
    if let Some((position, &id)) = prompt.iter().enumerate().find(unknown) {
        return Err(EngineError::UnknownToken { id, position, vocabulary });
    }
    let all = prompt.len().saturating_add(tokens.saturating_sub(1));
    if all > context {
        return Err(EngineError::ContextExceeded { prompt: all, context });
    }
    Ok(())
}

/// A native run.
struct Run {
    prompt: Vec<u32>,
    tokens: Vec<u32>,
    /// At every position of prompt and tokens but the last.
    logits: Vec<Vec<f32>>,
}

impl Run {
    fn greedy<R: Runner>(runner: &mut R, prompt: &[u32], count: usize) -> Result<Self, Error>
    where
        Error: From<R::Error>,
    {
        let mut logits = rows(runner, prompt, 0)?;
        let mut all = prompt.to_vec();
        for n in 0..count {
            all.push(logits.last().map_or(0, |row| largest(row)) as u32);
            if n + 1 < count {
                logits.extend(rows(runner, &all, all.len() - 1)?);
            }
        }
        Ok(Self { prompt: prompt.to_vec(), tokens: all.split_off(prompt.len()), logits })
    }

    fn compare<R: Runner>(&self, runner: &mut R) -> Result<Comparison, Error>
    where
        Error: From<R::Error>,
    {
        let before = self.tokens.len().saturating_sub(1);
        let all = [&self.prompt[..], &self.tokens[..before]].concat();
        let expected = rows(runner, &all, 0)?;
        let pairs = || self.logits.iter().zip(&expected);
        let divergences: Vec<f64> =
            pairs().map(|(found, wanted)| divergence(wanted, found)).collect();
        let differences = pairs().flat_map(|(found, wanted)| {
            found.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs()))
        });
        let positions = divergences.len().max(1) as f64;
        let agreeing = pairs().filter(|(a, b)| largest(a) == largest(b)).count();
        let chosen = expected.iter().skip(self.prompt.len().saturating_sub(1));
        let same = |(token, row): &(&u32, &Vec<f32>)| **token as usize == largest(row);
        let equal_tokens = self.tokens.iter().zip(chosen.clone()).take_while(same).count();
        let margin = self.tokens.get(equal_tokens).zip(chosen.clone().nth(equal_tokens)).map(
            |(token, row)| f64::from(row[largest(row)] - row.get(*token as usize).unwrap_or(&0.0)),
        );
        Ok(Comparison {
            prompt_ids: self.prompt.clone(),
            token_ids: self.tokens.clone(),
            equal_tokens,
            top1_agreement: agreeing as f64 / positions,
            mean_divergence: divergences.iter().sum::<f64>() / positions,
            largest_divergence: divergences.iter().copied().fold(0.0, maximum),
            largest_difference: differences.fold(0.0, maximum),
            margin,
        })
    }
}

/// A NaN stays one.
fn maximum(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The logits at positions `from` and later; earlier ones are in the cache if `from` is not 0.
fn rows<R: Runner>(runner: &mut R, tokens: &[u32], from: usize) -> Result<Vec<Vec<f32>>, Error>
where
    Error: From<R::Error>,
{
    runner.reserve(Room::of(1, tokens.len(), runner.block_length()))?;
    let mut all = Vec::with_capacity(tokens.len() - from);
    let mut start = from;
    while start < tokens.len() {
        // Few rows at a time: a row is as long as the vocabulary.
        let end = tokens.len().min(start + runner.step_tokens().min(ROWS));
        let positions: Vec<u32> = (start as u32..end as u32).collect();
        let lengths = vec![tokens.len() as u32; positions.len()];
        let pages = end.div_ceil(runner.block_length()) as u32;
        let wanted: Vec<u32> = (0..positions.len() as u32).collect();
        let logits = runner.step(&StepInput {
            tokens: &tokens[start..end],
            positions: &positions,
            sequences: &vec![0; positions.len()],
            lengths: &lengths,
            block_tables: &[(1..=pages).collect()],
            slots: &[1],
            rows: &wanted,
        })?;
        all.extend(logits.chunks(runner.vocabulary()).map(<[f32]>::to_vec));
        start = end;
    }
    Ok(all)
}

/// Rows of one step.
const ROWS: usize = 16;

/// The index of the largest logit, the first of equals.
fn largest(logits: &[f32]) -> usize {
    let mut best = 0;
    for (n, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = n;
        }
    }
    best
}

/// `Σ p · ln(p / q)` of the distributions that two rows of logits give.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let normaliser = |row: &[f32]| {
        let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = row.iter().map(|logit| f64::from(logit - top).exp()).sum();
        f64::from(top) + sum.ln()
    };
    let (of_p, of_q) = (normaliser(p), normaliser(q));
    let term = |(p, q): (&f32, &f32)| {
        let (p, q) = (f64::from(*p) - of_p, f64::from(*q) - of_q);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergence_of_known_distributions() {
        let logits = |p: &[f64]| p.iter().map(|p| p.ln() as f32).collect::<Vec<f32>>();
        let (p, q) = (logits(&[0.5, 0.5]), logits(&[0.9, 0.1]));
        let expected = 0.5 * (0.5f64 / 0.9).ln() + 0.5 * (0.5f64 / 0.1).ln();
        assert!((divergence(&p, &q) - expected).abs() < 1e-6);
        assert_eq!(divergence(&p, &p), 0.0);
    }

    #[test]
    fn the_first_of_equals_is_the_largest() {
        assert_eq!(largest(&[1.0, 3.0, 3.0]), 1);
    }
}
