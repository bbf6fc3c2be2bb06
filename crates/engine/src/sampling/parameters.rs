//! The parameters of sampling and their ranges.

use crate::{EngineError, Refusal};
use std::collections::BTreeSet;
use std::sync::Arc;

/// How to choose the next token.
///
/// Applied in this order: logit bias, the penalties (repetition, frequency, presence), DRY, the mask
/// of allowed tokens; then the temperature, which comes before all filters as in Hugging Face's
/// `generate`; then top-k, typical, top-p, min-p and XTC, the order of llama.cpp. Each filter sees
/// the probabilities that its predecessors left, normalised again.
///
/// Penalties, biases and DRY never make a possible token impossible, except a bias of `-∞`:
/// adjusted logits stay within the finite numbers of 32 bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 chooses the largest, the first of equals, and neither filters nor
    /// the seed play a part.
    pub temperature: f32,
    /// Keep the `k` most probable tokens, smaller ids first among equals (Fan et al. 2018); 0 keeps all.
    pub top_k: usize,
    /// Keep the fewest most probable tokens whose probabilities reach this sum (nucleus sampling,
    /// Holtzman et al. 2020); above 0, and 1 keeps all.
    pub top_p: f32,
    /// Keep tokens at least this fraction as probable as the most probable (Nguyen et al. 2024);
    /// between 0, which keeps all, and 1.
    pub min_p: f32,
    /// Keep the tokens whose surprise is nearest to the expected one until their probabilities reach
    /// this sum (locally typical sampling, Meister et al. 2022); above 0, and 1 keeps all.
    pub typical_p: f32,
    /// Chance that XTC is applied to a token (exclude top choices; by p-e-w, introduced in
    /// text-generation-webui's pull request 6335); 0 is never, 1 always. No token is exempt, end
    /// tokens neither.
    pub xtc_probability: f32,
    /// Of the tokens at least this probable, XTC keeps only the least probable. Between 0 and 1; above
    /// 0.5 nothing is ever removed, since no two tokens are that probable.
    pub xtc_threshold: f32,
    /// Logits of tokens in the prompt or the continuation are divided by this where positive and
    /// multiplied where negative (CTRL, Keskar et al. 2019, as in Hugging Face); above 0, and 1 changes
    /// nothing.
    pub repetition_penalty: f32,
    /// Subtracted from a token's logit as often as the continuation holds it (OpenAI's; as in vLLM the
    /// prompt does not count). Negative values encourage.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if the continuation holds it (OpenAI's; as in vLLM the prompt
    /// does not count). Negative values encourage.
    pub presence_penalty: f32,
    /// Against repeating sequences.
    pub dry: Option<Dry>,
    /// Added to logits of tokens; several for the same token add up. `-∞` forbids a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// The same seed gives the same choices.
    pub seed: u64,
}

/// Don't repeat yourself (by p-e-w, introduced in text-generation-webui's pull request 5677): a token
/// that would extend a repetition of `n ≥ allowed_length` tokens to one more loses
/// `multiplier · base^(n - allowed_length)` from its logit.
///
/// A repetition is the longest end of the text that stands earlier in the text as well, right before
/// the token in question; it has at least one token, and both places may overlap. Where a token
/// would extend several, the longest counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// The strength; above 0.
    pub multiplier: f32,
    /// Growth with the length of the repetition; at least 1.
    pub base: f32,
    /// The shortest repetition that costs something.
    pub allowed_length: usize,
    /// Tokens at the end of prompt and continuation that are searched; `None` is all.
    pub range: Option<usize>,
    /// Tokens that no repetition contains: it begins after the last of them. They are never penalised.
    pub breakers: Arc<BTreeSet<u32>>,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry: None,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// A parameter outside its range; becomes a [`Refusal`] or an [`EngineError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} is {value}, but must be {expected}")]
pub struct InvalidParameter {
    /// Its name.
    pub parameter: &'static str,
    /// Its value.
    pub value: String,
    /// The range.
    pub expected: &'static str,
}

impl InvalidParameter {
    /// The same as an error of an engine whatever its runner. No `From`: a runner's errors, which may
    /// be of any type, have it already.
    pub fn into_engine_error<E: std::error::Error>(self) -> EngineError<E> {
        let Self { parameter, value, expected } = self;
        EngineError::InvalidParameter { parameter, value, expected }
    }
}

impl From<InvalidParameter> for Refusal {
    fn from(error: InvalidParameter) -> Self {
        let InvalidParameter { parameter, value, expected } = error;
        Self::InvalidParameter { parameter, value, expected }
    }
}

impl Sampling {
    /// Checks the ranges for a vocabulary of so many tokens.
    ///
    /// # Errors
    /// The first parameter outside its range.
    pub fn validate(&self, vocabulary: usize) -> Result<(), InvalidParameter> {
        let finite = "a finite number";
        let fraction = "between 0 and 1";
        let mass = "above 0 and at most 1";
        let positive = "a finite number above 0";
        let Self { temperature, top_p, min_p, typical_p, .. } = *self;
        let not_negative = temperature.is_finite() && temperature >= 0.0;
        check(not_negative, "temperature", temperature, "a finite number, 0 or more")?;
        check(top_p > 0.0 && top_p <= 1.0, "top_p", top_p, mass)?;
        check((0.0..=1.0).contains(&min_p), "min_p", min_p, fraction)?;
        check(typical_p > 0.0 && typical_p <= 1.0, "typical_p", typical_p, mass)?;
        let Self { xtc_probability: probability, xtc_threshold: threshold, .. } = *self;
        check((0.0..=1.0).contains(&probability), "xtc_probability", probability, fraction)?;
        check((0.0..=1.0).contains(&threshold), "xtc_threshold", threshold, fraction)?;
        let Self { repetition_penalty, frequency_penalty, presence_penalty, .. } = *self;
        let usable = repetition_penalty.is_finite() && repetition_penalty > 0.0;
        check(usable, "repetition_penalty", repetition_penalty, positive)?;
        check(frequency_penalty.is_finite(), "frequency_penalty", frequency_penalty, finite)?;
        check(presence_penalty.is_finite(), "presence_penalty", presence_penalty, finite)?;
        if let Some(Dry { multiplier, base, .. }) = self.dry {
            let usable = multiplier.is_finite() && multiplier > 0.0;
            check(usable, "dry_multiplier", multiplier, positive)?;
            let usable = base.is_finite() && base >= 1.0;
            check(usable, "dry_base", base, "a finite number, 1 or more")?;
        }
        for (id, bias) in &self.logit_bias {
            let known = (*id as usize) < vocabulary;
            let expected = "keyed by token ids of the vocabulary";
            check(known, "logit_bias", format_args!("keyed by {id}"), expected)?;
            let usable = *bias < f32::INFINITY;
            check(usable, "logit_bias", bias, "made of finite numbers or -inf")?;
        }
        Ok(())
    }
}

fn check(
    holds: bool,
    parameter: &'static str,
    value: impl std::fmt::Display,
    expected: &'static str,
) -> Result<(), InvalidParameter> {
    if holds {
        return Ok(());
    }
    Err(InvalidParameter { parameter, value: value.to_string(), expected })
}
