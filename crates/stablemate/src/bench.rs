//! Measuring a loaded model: steps of chosen sizes, without sampling.

use crate::executor::{Executor, ExecutorError};
use crate::{Error, Model, machine};
use stablemate_engine::{EngineError, Room, Runner, StepInput};
use std::time::{Duration, Instant};

/// Measures one model. Token ids are made up; keys and values of the context are really computed.
pub struct Bench {
    executor: Executor,
    /// Tokens that each sequence's cache holds.
    filled: Vec<usize>,
    /// Tokens that each sequence has room for.
    room: usize,
    /// Blocks that each sequence owns.
    pages: usize,
    /// The most memory held before something else than the model took some.
    peak: Option<usize>,
}

/// What a measurement took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Tokens processed.
    pub tokens: usize,
    /// In this time.
    pub elapsed: Duration,
}

impl Measurement {
    /// Tokens per second.
    pub fn rate(&self) -> f64 {
        self.tokens as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Bench {
    /// Takes a model over. Each of `sequences` gets room for `tokens` tokens.
    ///
    /// # Errors
    /// The context is shorter, or there is not enough memory.
    pub fn new(model: Model, sequences: usize, tokens: usize) -> Result<Self, Error> {
        let mut executor = model.into_executor();
        if tokens > executor.context() {
            return Err(Error::Engine(EngineError::ContextExceeded {
                prompt: tokens,
                context: executor.context(),
            }));
        }
        executor.reserve(Room::of(sequences, tokens, executor.block_length()))?;
        let pages = tokens.div_ceil(executor.block_length());
        Ok(Self { executor, filled: vec![0; sequences], room: tokens, pages, peak: None })
    }

    /// What runs the steps.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Bytes that a step of one token of each of `sequences` must read, each with `depth` tokens of
    /// context: all weights but for rows of tables that are not asked for and experts that are not chosen
    /// (on average over even choices), the cache, and the per-sequence state.
    pub fn bytes_per_step(&self, sequences: usize, depth: usize) -> usize {
        let decoder = self.executor.decoder();
        let cache = decoder.state_bytes_per_token() * depth * sequences;
        let state = decoder.state_bytes_per_sequence() * sequences;
        decoder.params.bytes_read(sequences) + cache + state
    }

    /// Bytes per second that this machine reads from memory now, with as many threads as the model has.
    ///
    /// # Errors
    /// There is no memory.
    pub fn read_bandwidth(&mut self) -> Result<f64, Error> {
        self.peak = self.peak_resident();
        let rate = self.executor.read_bandwidth();
        machine::forget_peak();
        Ok(rate?)
    }

    /// The most bytes of memory that this process has held at one time, as [`crate::peak_resident`] tells, but without the memory
    /// that [`Self::read_bandwidth`] reads.
    pub fn peak_resident(&self) -> Option<usize> {
        machine::peak_resident().max(self.peak)
    }

    /// Processes a prompt of `tokens` tokens, from an empty context to the logits of its last token.
    ///
    /// # Errors
    /// There is no room for so many, and whatever the executor reports.
    pub fn prefill(&mut self, tokens: usize) -> Result<Measurement, Error> {
        self.check(1, tokens)?;
        self.filled.fill(0);
        let begin = Instant::now();
        self.fill(0, tokens)?;
        Ok(Measurement { tokens, elapsed: begin.elapsed() })
    }

    /// `steps` steps of one token for each of the first `sequences`, each of which has `depth` tokens of
    /// context at the beginning; filling the context is not measured.
    ///
    /// # Errors
    /// There is no room for so many, and whatever the executor reports.
    pub fn decode(
        &mut self,
        steps: usize,
        sequences: usize,
        depth: usize,
    ) -> Result<Measurement, Error> {
        self.check(sequences, depth.saturating_add(steps))?;
        for sequence in 0..sequences {
            // What lies behind the depth is overwritten, as it is after any generation. Per-sequence
            // state has seen it and goes on from there: its values do not change what a step costs.
            let filled = self.filled[sequence].min(depth);
            self.filled[sequence] = filled;
            self.fill(sequence, depth - filled)?;
        }
        let begin = Instant::now();
        for step in 0..steps {
            let positions = vec![(depth + step) as u32; sequences];
            let of: Vec<u32> = (0..sequences as u32).collect();
            self.run(&positions, &of, &of)?;
        }
        Ok(Measurement { tokens: steps * sequences, elapsed: begin.elapsed() })
    }

    /// Refuses what there is no room for.
    fn check(&self, sequences: usize, tokens: usize) -> Result<(), Error> {
        if sequences <= self.filled.len() && tokens <= self.room {
            return Ok(());
        }
        let (most, room) = (self.filled.len(), self.room);
        let message =
            format!("{sequences} sequences of {tokens} tokens; there is room for {most} of {room}");
        Err(Error::Executor(ExecutorError::Step { message }))
    }

    /// Appends `tokens` tokens to a sequence's context.
    fn fill(&mut self, sequence: usize, tokens: usize) -> Result<(), Error> {
        let end = self.filled[sequence] + tokens;
        while self.filled[sequence] < end {
            let start = self.filled[sequence];
            let stop = end.min(start + self.executor.step_tokens());
            let positions: Vec<u32> = (start..stop).map(|position| position as u32).collect();
            let last = (positions.len() - 1) as u32;
            let rows: &[u32] = if stop == end { &[last] } else { &[] };
            self.run(&positions, &vec![sequence as u32; positions.len()], rows)?;
            self.filled[sequence] = stop;
        }
        Ok(())
    }

    fn run(&mut self, positions: &[u32], sequences: &[u32], rows: &[u32]) -> Result<(), Error> {
        let vocabulary = self.executor.vocabulary() as u32;
        let token = |(position, sequence): (&u32, &u32)| {
            position.wrapping_mul(7919).wrapping_add(sequence.wrapping_mul(104_729)) % vocabulary
        };
        let tokens: Vec<u32> = positions.iter().zip(sequences).map(token).collect();
        let lengths: Vec<u32> = positions.iter().map(|position| position + 1).collect();
        let count = sequences.iter().max().map_or(1, |last| *last as usize + 1);
        let table = |sequence: usize| {
            let reach = positions.iter().zip(sequences).filter(|(_, of)| **of as usize == sequence);
            let longest = reach.map(|(position, _)| *position as usize + 1).max().unwrap_or(0);
            let first = (1 + sequence * self.pages) as u32;
            let pages = longest.div_ceil(self.executor.block_length()) as u32;
            (first..first + pages).collect::<Vec<u32>>()
        };
        let block_tables: Vec<Vec<u32>> = (0..count).map(table).collect();
        let slots: Vec<u32> = (1..=count as u32).collect();
        let step = StepInput {
            tokens: &tokens,
            positions,
            sequences,
            lengths: &lengths,
            block_tables: &block_tables,
            slots: &slots,
            rows,
        };
        self.executor.step(&step)?;
        Ok(())
    }
}
