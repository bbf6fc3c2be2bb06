//! A sequence that is being continued.

use super::Outcome;
use super::caller::Caller;
use super::guarded;
use super::masks::MaskWork;
use crate::sampling::{first_not_finite, logprobs};
use crate::{
    Constraint, Continuation, Event, Failure, FinishReason, Generate, Logprobs, Sampler, TokenMask,
    Unchoosable,
};
use std::ops::ControlFlow;

/// What belongs to a continuation beside its tokens.
pub(super) struct Generating {
    prompt: usize,
    made: usize,
    /// Tokens to make at most.
    most: usize,
    least: usize,
    end_ids: Vec<u32>,
    sampler: Sampler,
    logprobs: Option<usize>,
    collected: Option<Collected>,
    constrained: Option<Constrained>,
}

/// Log-probabilities of the prompt, as far as they are known.
struct Collected {
    top: usize,
    /// The prompt without its first token.
    following: Vec<u32>,
    logprobs: Vec<Option<Logprobs>>,
}

/// A constraint, and what it said last.
struct Constrained {
    /// `None` while its mask is being computed.
    constraint: Option<Box<dyn Constraint>>,
    mask: TokenMask,
    result: Result<Continuation, String>,
}

impl Generating {
    /// Continues a prompt by at most `room` tokens.
    pub fn new(generate: Generate, prompt: &[u32], room: usize, vocabulary: usize) -> Self {
        let Generate { sampling, limits, logprobs, prompt_logprobs, constraint } = generate;
        Self {
            prompt: prompt.len(),
            made: 0,
            most: limits.max_tokens.unwrap_or(usize::MAX).min(room),
            least: limits.min_tokens,
            end_ids: limits.end_ids,
            sampler: Sampler::new(sampling, prompt),
            logprobs,
            collected: prompt_logprobs.map(|top| Collected {
                top,
                following: prompt[1..].to_vec(),
                logprobs: vec![None],
            }),
            constrained: constraint.map(|constraint| Constrained {
                constraint: Some(constraint),
                mask: TokenMask::none(vocabulary),
                result: Err("no mask was computed".into()),
            }),
        }
    }

    /// Whether all rows of the prompt are wanted.
    pub fn wants_prompt(&self) -> bool {
        self.collected.is_some()
    }

    /// Tokens of the prompt that must be computed: the last one only if something follows it.
    pub fn needed(&self) -> usize {
        match (self.most, &self.collected) {
            (0, None) => 0,
            (0, Some(collected)) => collected.following.len(),
            _ => self.prompt,
        }
    }

    /// Reports the prompt's log-probabilities once they are all there.
    pub fn report_prompt(&mut self, caller: &mut Caller) {
        let complete = |one: &mut Collected| one.logprobs.len() > one.following.len();
        if let Some(collected) = self.collected.take_if(complete) {
            // Only a token can be answered by an end.
            let _ = caller.tell(Event::PromptLogprobs(collected.logprobs));
        }
    }

    /// Hands out the constraint if the row at a position will be followed by a choice.
    pub fn begin_mask(&mut self, id: u64, position: usize) -> Option<MaskWork> {
        if position + 1 < self.prompt || self.most == 0 {
            return None;
        }
        let constrained = self.constrained.as_mut()?;
        let constraint = constrained.constraint.take()?;
        let mask = std::mem::replace(&mut constrained.mask, TokenMask::none(0));
        Some(MaskWork { id, constraint, mask, result: Err("no mask was computed".into()) })
    }

    /// Takes it back.
    pub fn end_mask(&mut self, work: MaskWork) {
        let MaskWork { constraint, mask, result, .. } = work;
        self.constrained = Some(Constrained { constraint: Some(constraint), mask, result });
    }

    /// Takes the logits behind the token at `position`.
    pub fn row(&mut self, position: usize, row: &[f32], caller: &mut Caller) -> Outcome {
        if position + 1 < self.prompt {
            return self.collect(position, row, caller);
        }
        self.report_prompt(caller);
        match self.choose(row) {
            Ok(None) => Outcome::end(Event::Finished(FinishReason::Stop)),
            Ok(Some((token, continuation))) => self.report(token, continuation, row, caller),
            Err(failure) => Outcome::end(Event::Failed(failure)),
        }
    }

    fn collect(&mut self, position: usize, row: &[f32], caller: &mut Caller) -> Outcome {
        if let Some(id) = first_not_finite(row) {
            return Outcome::end(Event::Failed(Failure::NotFinite { tokens: position + 1, id }));
        }
        if let Some(collected) = &mut self.collected
            && let Some(&token) = collected.following.get(position)
        {
            collected.logprobs.push(Some(logprobs(row, token, collected.top)));
        }
        if self.most == 0 {
            self.report_prompt(caller);
            if self.collected.is_none() {
                return Outcome::end(Event::Finished(FinishReason::Length));
            }
        }
        Outcome::default()
    }

    /// The next token; none if the constraint says that nothing may follow. The constraint prevails
    /// over the least number of tokens where both together leave nothing to choose.
    fn choose(&mut self, row: &[f32]) -> Result<Option<(u32, Continuation)>, Failure> {
        let broken = |message| Failure::Constraint { message };
        let mask = match &self.constrained {
            None => None,
            Some(Constrained { constraint: None, .. }) => {
                return Err(broken("it was lost while its mask was computed".into()));
            }
            Some(Constrained { mask, result, .. }) => match result {
                Ok(Continuation::Open) => Some(mask),
                Ok(Continuation::Complete) => return Ok(None),
                Err(message) => return Err(broken(message.clone())),
            },
        };
        let forbidden: &[u32] = if self.made < self.least { &self.end_ids } else { &[] };
        let mut chosen = self.sampler.choose(row, mask, forbidden);
        if chosen == Err(Unchoosable::NothingAllowed) && mask.is_some() {
            chosen = self.sampler.choose(row, mask, &[]);
        }
        let token = chosen.map_err(|error| match error {
            Unchoosable::NotFinite(id) => {
                Failure::NotFinite { tokens: self.prompt + self.made, id }
            }
            Unchoosable::NothingAllowed => broken(error.to_string()),
        })?;
        let constraint = self.constrained.as_mut().and_then(|one| one.constraint.as_mut());
        let continuation = match constraint {
            Some(constraint) => {
                guarded(|| constraint.accept(token)).and_then(|result| result).map_err(broken)?
            }
            None => Continuation::Open,
        };
        Ok(Some((token, continuation)))
    }

    fn report(
        &mut self,
        token: u32,
        continuation: Continuation,
        row: &[f32],
        caller: &mut Caller,
    ) -> Outcome {
        self.made += 1;
        let logprobs = self.logprobs.map(|top| logprobs(row, token, top));
        let flow = caller.tell(Event::Token { id: token, logprobs });
        let stops = flow == ControlFlow::Break(())
            || continuation == Continuation::Complete
            || self.end_ids.contains(&token);
        let reason = match stops {
            true => Some(FinishReason::Stop),
            false => (self.made >= self.most).then_some(FinishReason::Length),
        };
        Outcome { token: Some(token), end: reason.map(Event::Finished) }
    }
}
