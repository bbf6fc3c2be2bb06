//! The parameters that every generating request has, checked and put into the engine's words.

use std::sync::Arc;

use stablemate_engine::{Dry, Limits, Sampling};
use stablemate_text::StopStrings;

use crate::error::ApiError;
use crate::state::AppState;
use crate::wire::{LogitBias, OneOrMany, TokenLimit, shown};

/// Where a repetition ends by default, as in llama.cpp.
const DRY_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];
const MOST_CHOICES: u64 = 128;
const MOST_STOPS: usize = 64;
/// Bytes of a stop string: every answer has a search for it, several times as long.
const LONGEST_STOP: usize = 1024;
/// Each is looked for in all tokens of the vocabulary.
const MOST_BREAKERS: usize = 64;

/// The parameters that every generating request has, as the client wrote them. The fields mean what the
/// documentation of the requests says.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default)]
pub struct Controls {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub top_k: Option<i64>,
    pub min_p: Option<f64>,
    pub typical_p: Option<f64>,
    pub xtc_probability: Option<f64>,
    pub xtc_threshold: Option<f64>,
    pub dry_multiplier: Option<f64>,
    pub dry_base: Option<f64>,
    pub dry_allowed_length: Option<u64>,
    pub dry_penalty_last_n: Option<i64>,
    pub dry_sequence_breakers: Option<Vec<String>>,
    pub repetition_penalty: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub logit_bias: Option<LogitBias>,
    pub seed: Option<i64>,
    pub max_tokens: Option<TokenLimit>,
    pub min_tokens: Option<u64>,
    pub stop: Option<OneOrMany>,
    pub stop_token_ids: Option<Vec<u32>>,
    pub ignore_eos: Option<bool>,
    pub n: Option<u64>,
}

/// The most tokens of an answer: as asked for, or what is meant by saying nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTokens {
    /// A client's upper bound; no more than fit. 0 scores the prompt.
    AtMost(u64),
    /// The server's upper bound; no more than fit.
    Usual(usize),
    /// Until the context is full.
    Unlimited,
}

/// A number within a range that serde does not know.
fn number(
    parameter: &str,
    value: Option<f64>,
    default: f32,
    holds: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<f32, ApiError> {
    let Some(value) = value else { return Ok(default) };
    if holds(value) && (value as f32).is_finite() {
        return Ok(value as f32);
    }
    let message = format!("{parameter} is {}, but must be {expected}", shown(value));
    Err(ApiError::parameter(parameter, message))
}

fn fraction(parameter: &str, value: Option<f64>, default: f32) -> Result<f32, ApiError> {
    number(parameter, value, default, |x| (0.0..=1.0).contains(&x), "from 0 to 1")
}

/// A part of the probabilities, of which 0 would leave no token.
fn mass(parameter: &str, value: Option<f64>, default: f32) -> Result<f32, ApiError> {
    // What is above 0 may be 0 as a smaller float.
    let holds = |x: f64| x as f32 > 0.0 && x <= 1.0;
    number(parameter, value, default, holds, "above 0 and at most 1")
}

fn penalty(parameter: &str, value: Option<f64>, default: f32) -> Result<f32, ApiError> {
    number(parameter, value, default, |x| (-2.0..=2.0).contains(&x), "from -2 to 2")
}

/// A number of tokens, or -1 for all of them.
fn count(parameter: &str, value: i64) -> Result<Option<usize>, ApiError> {
    match usize::try_from(value) {
        Ok(count) => Ok(Some(count)),
        Err(_) if value == -1 => Ok(None),
        Err(_) => {
            let message = format!("{parameter} is {value}, but must be -1 (all) or more");
            Err(ApiError::parameter(parameter, message))
        }
    }
}

impl Controls {
    /// How tokens are chosen. What the request leaves out is as the model's own settings say, else as OpenAI's
    /// (temperature 1); without a seed, a random one. Looks through the vocabulary if DRY is asked for.
    ///
    /// # Errors
    /// 400 naming the first parameter outside its range.
    pub fn sampling(&self, state: &AppState) -> Result<Sampling, ApiError> {
        let served = state.served()?;
        let usual = Sampling { temperature: 1.0, ..Sampling::default() };
        let usual = served.sampling.clone().unwrap_or(usual);
        let at_least_0 = |x: f64| x >= 0.0;
        let top_k = self.top_k.map(|k| count("top_k", k)).transpose()?;
        Ok(Sampling {
            temperature: number(
                "temperature",
                self.temperature,
                usual.temperature,
                at_least_0,
                "a number, 0 or more",
            )?,
            top_k: top_k.map_or(usual.top_k, |k| k.unwrap_or(0)),
            top_p: mass("top_p", self.top_p, usual.top_p)?,
            min_p: fraction("min_p", self.min_p, usual.min_p)?,
            typical_p: mass("typical_p", self.typical_p, usual.typical_p)?,
            xtc_probability: fraction(
                "xtc_probability",
                self.xtc_probability,
                usual.xtc_probability,
            )?,
            xtc_threshold: fraction("xtc_threshold", self.xtc_threshold, usual.xtc_threshold)?,
            repetition_penalty: number(
                "repetition_penalty",
                self.repetition_penalty,
                usual.repetition_penalty,
                |x| x as f32 > 0.0,
                "above 0",
            )?,
            frequency_penalty: penalty(
                "frequency_penalty",
                self.frequency_penalty,
                usual.frequency_penalty,
            )?,
            presence_penalty: penalty(
                "presence_penalty",
                self.presence_penalty,
                usual.presence_penalty,
            )?,
            dry: self.dry(state)?,
            logit_bias: self.biases(served.engine.vocabulary())?,
            seed: self.seed.map_or_else(random, |seed| seed as u64),
        })
    }

    fn dry(&self, state: &AppState) -> Result<Option<Dry>, ApiError> {
        let multiplier =
            number("dry_multiplier", self.dry_multiplier, 0.0, |x| x >= 0.0, "0 or more")?;
        let base = number("dry_base", self.dry_base, 1.75, |x| x >= 1.0, "1 or more")?;
        let range = self.dry_penalty_last_n.map_or(Ok(None), |n| count("dry_penalty_last_n", n))?;
        if multiplier == 0.0 || range == Some(0) {
            return Ok(None);
        }
        let usual = || DRY_BREAKERS.map(str::to_owned).to_vec();
        let chosen = self.dry_sequence_breakers.is_some();
        let texts = self.dry_sequence_breakers.clone().unwrap_or_else(usual);
        if texts.len() > MOST_BREAKERS {
            let parameter = "dry_sequence_breakers";
            let count = texts.len();
            let message =
                format!("{parameter} has {count} texts, but may have {MOST_BREAKERS} at most");
            return Err(ApiError::parameter(parameter, message));
        }
        let breakers = state.texts()?.containing(&texts);
        if chosen
            && let Some((index, text)) = texts.iter().enumerate().find(|(_, text)| {
                text.is_empty() || breakers.get(text.as_str()).is_none_or(|ids| ids.is_empty())
            })
        {
            let parameter = format!("dry_sequence_breakers[{index}]");
            let message = format!("{parameter} is {text:?}, but no token contains it");
            return Err(ApiError::parameter(parameter, message));
        }
        let ids = breakers.values().flat_map(|ids| ids.iter().copied()).collect();
        let allowed_length = self.dry_allowed_length.unwrap_or(2);
        let allowed_length = usize::try_from(allowed_length).unwrap_or(usize::MAX);
        Ok(Some(Dry { multiplier, base, allowed_length, range, breakers: Arc::new(ids) }))
    }

    fn biases(&self, vocabulary: usize) -> Result<Vec<(u32, f32)>, ApiError> {
        let Some(LogitBias(biases)) = &self.logit_bias else { return Ok(Vec::new()) };
        if let Some((id, _)) = biases.iter().find(|(id, _)| *id as usize >= vocabulary) {
            let message = format!("token id {id} is not in the vocabulary of {vocabulary}");
            return Err(ApiError::parameter(format!("logit_bias.{id}"), message));
        }
        Ok(biases.iter().map(|(id, bias)| (*id, *bias as f32)).collect())
    }

    /// When to stop, after a prompt from a parameter of so many tokens.
    ///
    /// # Errors
    /// 400 if prompt and answer do not fit into the context, with all numbers; for end tokens outside the vocabulary.
    pub fn limits(
        &self,
        state: &AppState,
        prompt: (&'static str, usize),
        max_tokens: MaxTokens,
    ) -> Result<Limits, ApiError> {
        let served = state.served()?;
        let mut end_ids = self.stop_token_ids.clone().unwrap_or_default();
        let vocabulary = served.engine.vocabulary();
        let unknown = |(_, id): &(usize, &u32)| **id as usize >= vocabulary;
        if let Some((index, id)) = end_ids.iter().enumerate().find(unknown) {
            let parameter = format!("stop_token_ids[{index}]");
            let message =
                format!("{parameter} is {id}, but the vocabulary has {vocabulary} tokens");
            return Err(ApiError::parameter(parameter, message));
        }
        if !self.ignore_eos.unwrap_or(false) {
            end_ids.extend(&served.end_ids);
        }
        let max_tokens = room(served.engine.context(), prompt, max_tokens)?;
        let min_tokens = usize::try_from(self.min_tokens.unwrap_or(0)).unwrap_or(usize::MAX);
        if min_tokens > max_tokens {
            let message =
                format!("min_tokens is {min_tokens}, but at most {max_tokens} tokens are made");
            return Err(ApiError::parameter("min_tokens", message));
        }
        Ok(Limits { max_tokens: Some(max_tokens), min_tokens, end_ids })
    }

    /// The stop strings, and the search for them.
    ///
    /// # Errors
    /// 400 for an empty one, and for too many.
    pub fn stops(&self) -> Result<(Vec<String>, StopStrings), ApiError> {
        let stops = self.stop.clone().map(OneOrMany::into_vec).unwrap_or_default();
        if stops.len() > MOST_STOPS {
            let message =
                format!("stop has {} strings, but may have {MOST_STOPS} at most", stops.len());
            return Err(ApiError::parameter("stop", message));
        }
        if let Some((index, stop)) = stops.iter().enumerate().find(|(_, s)| s.len() > LONGEST_STOP)
        {
            let length = stop.len();
            let message =
                format!("stop[{index}] has {length} bytes, but may have {LONGEST_STOP} at most");
            return Err(ApiError::parameter("stop", message));
        }
        let search = StopStrings::new(&stops)
            .map_err(|error| ApiError::from(error).with_parameter("stop"))?;
        Ok((stops, search))
    }

    /// `n`: how many answers.
    ///
    /// # Errors
    /// 400 unless it is from 1 to 128.
    pub fn choices(&self) -> Result<usize, ApiError> {
        match self.n.unwrap_or(1) {
            n @ 1..=MOST_CHOICES => Ok(n as usize),
            n => {
                let message = format!("n is {n}, but must be from 1 to {MOST_CHOICES}");
                Err(ApiError::parameter("n", message))
            }
        }
    }
}

/// The most tokens that an answer may have.
fn room(
    context: usize,
    (parameter, prompt): (&'static str, usize),
    max_tokens: MaxTokens,
) -> Result<usize, ApiError> {
    let scoring = max_tokens == MaxTokens::AtMost(0);
    if prompt > context || (prompt == context && !scoring) {
        let message = format!(
            "the prompt has {prompt} tokens, but the context holds {context}, the answer included"
        );
        return Err(ApiError::parameter(parameter, message).with_code("context_length_exceeded"));
    }
    let free = context - prompt;
    Ok(match max_tokens {
        MaxTokens::Unlimited => free,
        MaxTokens::Usual(tokens) => tokens.min(free),
        MaxTokens::AtMost(tokens) => usize::try_from(tokens).unwrap_or(usize::MAX).min(free),
    })
}

/// A seed that nobody chose.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
