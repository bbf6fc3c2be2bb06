//! Continuing one sequence.

use crate::{
    EngineError, InvalidParameter, Room, Runner, Sampler, Sampling, StepInput, Unchoosable,
};

/// When to stop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// The most tokens to make; `None`: until the context is full.
    pub max_tokens: Option<usize>,
    /// Tokens that must be made before the sequence may end: until then, `end_ids` are not chosen.
    /// A constraint prevails that allows nothing else, or says that the text is complete.
    pub min_tokens: usize,
    /// Tokens that end the sequence. They are reported, as the last token.
    pub end_ids: Vec<u32>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// An end-of-sequence token (or, decided by the caller, a stop string).
    Stop,
    /// The number of tokens asked for, or the context, is reached.
    Length,
}

impl FinishReason {
    /// The field's name for it: `stop` or `length`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// The slot of the sequence's state, where the runner keeps such state.
const LIVE: u32 = 1;
/// The slot of a copy of that state, from which a prompt continues that leaves the cached tokens.
const SNAPSHOT: u32 = 2;

/// Generates with one runner, one sequence at a time, and keeps what the cache holds between prompts.
#[derive(Debug)]
pub struct Generator<R> {
    runner: R,
    /// The tokens whose keys and values are in the cache, in order. The state in [`LIVE`] is
    /// theirs.
    cached: Vec<u32>,
    /// How many of the cached tokens led to the state in [`SNAPSHOT`]; 0 if it holds nothing.
    snapshot: usize,
    reserved: usize,
}

impl<R: Runner> Generator<R> {
    /// A generator with an empty cache.
    pub fn new(runner: R) -> Self {
        Self { runner, cached: Vec::new(), snapshot: 0, reserved: 0 }
    }

    /// The runner.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// The runner.
    pub fn runner_mut(&mut self) -> &mut R {
        &mut self.runner
    }

    /// The runner, with a cache whose content nobody knows.
    pub fn into_runner(self) -> R {
        self.runner
    }

    /// Checks a prompt and parameters and begins a generation; nothing is computed before the first
    /// token is asked for.
    ///
    /// # Errors
    /// An empty prompt, ids outside the vocabulary, a prompt longer than the context, parameters
    /// outside their ranges; whatever the runner reports while it continues from a snapshot.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        limits: Limits,
    ) -> Result<Generation<'_, R>, EngineError<R::Error>> {
        let valid = sampling.validate(self.runner.vocabulary());
        valid.map_err(InvalidParameter::into_engine_error)?;
        self.check(prompt)?;
        self.keep_prefix(prompt)?;
        Ok(Generation {
            generator: self,
            tokens: prompt.to_vec(),
            prompt: prompt.len(),
            given: prompt.len(),
            sampler: Sampler::new(sampling.clone(), prompt),
            limits,
            finished: None,
        })
    }

    /// The logits `[V]` at the last position of a prompt. As for [`Self::generate`], what the cache holds of it is not computed anew.
    ///
    /// # Errors
    /// As [`Self::generate`], and whatever the runner reports.
    pub fn logits(&mut self, prompt: &[u32]) -> Result<Vec<f32>, EngineError<R::Error>> {
        self.check(prompt)?;
        self.keep_prefix(prompt)?;
        self.advance(prompt, prompt.len())
    }

    /// Forgets what the cache holds besides a prefix of `prompt`, which has passed [`Self::check`].
    fn keep_prefix(&mut self, prompt: &[u32]) -> Result<(), EngineError<R::Error>> {
        let kept = if self.runner.reuses_prefixes() { shared(&self.cached, prompt) } else { 0 };
        // At least the prompt's last token runs again: its logits are wanted.
        let kept = kept.min(prompt.len() - 1);
        if kept == self.cached.len() {
            return Ok(());
        }
        // The state is that of all cached tokens: fewer can be kept only where there is a copy.
        let kept = match self.snapshot {
            _ if !self.runner.keeps_state() => kept,
            snapshot if snapshot <= kept => snapshot,
            _ => 0,
        };
        let mut cached = std::mem::take(&mut self.cached);
        let snapshot = std::mem::take(&mut self.snapshot);
        if kept > 0 && self.runner.keeps_state() {
            self.runner.copy_state(SNAPSHOT, LIVE)?;
        }
        cached.truncate(kept);
        (self.cached, self.snapshot) = (cached, snapshot.min(kept));
        Ok(())
    }

    fn check(&self, prompt: &[u32]) -> Result<(), EngineError<R::Error>> {
        let (vocabulary, context) = (self.runner.vocabulary(), self.runner.context());
        if prompt.is_empty() {
            return Err(EngineError::EmptyPrompt);
        }
        let unknown = |(_, id): &(usize, &u32)| **id as usize >= vocabulary;
        if let Some((position, &id)) = prompt.iter().enumerate().find(unknown) {
            return Err(EngineError::UnknownToken { id, position, vocabulary });
        }
        if prompt.len() > context {
            return Err(EngineError::ContextExceeded { prompt: prompt.len(), context });
        }
        Ok(())
    }

    /// Runs all of `tokens` that the cache does not hold yet; returns the last one's logits.
    fn advance(
        &mut self,
        tokens: &[u32],
        prompt: usize,
    ) -> Result<Vec<f32>, EngineError<R::Error>> {
        self.make_room(tokens.len())?;
        let mut logits = Vec::new();
        let border = self.border(prompt);
        while self.cached.len() < tokens.len() {
            let start = self.cached.len();
            let end = tokens.len().min(start + self.runner.step_tokens());
            let end = if start < border { end.min(border) } else { end };
            // After a failed step the content of the cache is unknown: it is dropped until one
            // succeeds.
            let mut cached = std::mem::take(&mut self.cached);
            let snapshot = std::mem::take(&mut self.snapshot);
            logits = self.step(tokens, start..end, prompt)?;
            cached.extend(&tokens[start..end]);
            self.cached = cached;
            if end == border {
                self.runner.copy_state(LIVE, SNAPSHOT)?;
                self.snapshot = border;
            } else {
                self.snapshot = snapshot;
            }
        }
        Ok(logits)
    }

    /// Where a prompt's state is copied: at the last border of blocks before its last token, as the
    /// scheduler does for many sequences. 0 if it is not copied.
    fn border(&self, prompt: usize) -> usize {
        let length = self.runner.block_length().max(1);
        let copied = self.runner.keeps_state() && self.runner.reuses_prefixes();
        if copied { (prompt - 1) / length * length } else { 0 }
    }

    /// One step over `tokens[range]`; logits only if it reaches the end.
    fn step(
        &mut self,
        tokens: &[u32],
        range: std::ops::Range<usize>,
        prompt: usize,
    ) -> Result<Vec<f32>, EngineError<R::Error>> {
        let positions: Vec<u32> = range.clone().map(|n| n as u32).collect();
        let lengths: Vec<u32> = range.clone().map(|n| prompt.max(n + 1) as u32).collect();
        let pages = range.end.div_ceil(self.runner.block_length());
        let block_tables = [(1..=pages as u32).collect::<Vec<u32>>()];
        let last = (range.len() - 1) as u32;
        let rows: &[u32] = if range.end == tokens.len() { &[last] } else { &[] };
        Ok(self.runner.step(&StepInput {
            tokens: &tokens[range.clone()],
            positions: &positions,
            sequences: &vec![0; range.len()],
            lengths: &lengths,
            block_tables: &block_tables,
            slots: &[if self.runner.keeps_state() { LIVE } else { 0 }],
            rows,
        })?)
    }

    /// Reserves in powers of two, so that a growing sequence seldom asks.
    fn make_room(&mut self, tokens: usize) -> Result<(), EngineError<R::Error>> {
        if tokens > self.reserved {
            let wanted = tokens.next_power_of_two().min(self.runner.context()).max(tokens);
            let room = Room::of(1, wanted, self.runner.block_length());
            self.runner.reserve(Room { slots: SNAPSHOT as usize, ..room })?;
            self.reserved = wanted;
        }
        Ok(())
    }
}

/// Length of the longest common prefix.
fn shared(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A generation under way: an iterator over the tokens it makes.
#[derive(Debug)]
pub struct Generation<'g, R: Runner> {
    generator: &'g mut Generator<R>,
    /// Prompt and tokens made so far.
    tokens: Vec<u32>,
    prompt: usize,
    /// The length that the model is told for tokens up to there.
    given: usize,
    sampler: Sampler,
    limits: Limits,
    finished: Option<FinishReason>,
}

impl<R: Runner> Generation<'_, R> {
    /// Why it ended, once it has.
    pub fn finish_reason(&self) -> Option<FinishReason> {
        self.finished
    }

    /// Ends it.
    pub fn finish(&mut self, reason: FinishReason) {
        self.finished.get_or_insert(reason);
    }

    fn advance(&mut self) -> Result<u32, EngineError<R::Error>> {
        let length = self.tokens.len();
        if length > self.prompt && self.generator.runner.recomputed_beyond() == Some(length - 1) {
            self.generator.cached.clear();
            self.generator.snapshot = 0;
            self.given = length;
        }
        let logits = self.generator.advance(&self.tokens, self.given)?;
        let made = self.tokens.len() - self.prompt;
        let early = made < self.limits.min_tokens;
        let forbidden: &[u32] = if early { &self.limits.end_ids } else { &[] };
        let tokens = self.tokens.len();
        let token =
            self.sampler.choose(&logits, None, forbidden).map_err(|reason| match reason {
                Unchoosable::NotFinite(id) => EngineError::NotFinite { tokens, id },
                Unchoosable::NothingAllowed => EngineError::NothingAllowed { tokens },
            })?;
        self.tokens.push(token);
        let made = self.tokens.len() - self.prompt;
        if self.limits.end_ids.contains(&token) {
            self.finished = Some(FinishReason::Stop);
        } else if self.limits.max_tokens.is_some_and(|most| made >= most)
            || self.tokens.len() > self.generator.runner.context()
        {
            self.finished = Some(FinishReason::Length);
        }
        Ok(token)
    }
}

impl<R: Runner> Iterator for Generation<'_, R> {
    type Item = Result<u32, EngineError<R::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.limits.max_tokens == Some(0) {
            self.finish(FinishReason::Length);
        }
        if self.finished.is_some() {
            return None;
        }
        let token = self.advance();
        if token.is_err() {
            self.finish(FinishReason::Stop);
        }
        Some(token)
    }
}
