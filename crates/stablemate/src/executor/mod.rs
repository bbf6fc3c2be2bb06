//! Runs steps on a device: the engine's [`Runner`].

mod inputs;
mod programs;

pub use programs::Preparation;
pub(crate) use programs::Source;

use crate::native::NativeKernels;
use programs::{Programs, STEP};
use stablemate_engine::{Room, Runner, StepInput};
use stablemate_graph::ElementType;
use stablemate_kernels::{Activations, Isa, Kernels};
use stablemate_models::{BLOCK_LENGTH, Bucket, Decoder, Output, StateKind, StepArgument};
use stablemate_runtime::{Buffer, Device};
use std::sync::Arc;
use thiserror::Error;

/// What can go wrong while steps are compiled and run.
#[derive(Debug, Error)]
pub enum ExecutorError {
    /// Building the graph.
    #[error(transparent)]
    Model(#[from] stablemate_models::ModelError),
    /// Compiling or running.
    #[error(transparent)]
    Runtime(#[from] stablemate_runtime::Error),
    /// Writing the native text.
    #[error(transparent)]
    Native(#[from] stablemate_graph::NativeError),
    /// A step that does not fit the room reserved for it; a bug of the caller.
    #[error("the step does not fit: {message}")]
    Step {
        /// What does not fit.
        message: String,
    },
    /// A tensor changed between being described and being read.
    #[error("tensor {tensor:?} is stored differently than when the checkpoint was opened")]
    Inconsistent {
        /// Its name.
        tensor: String,
    },
}

/// Bytes that are read to measure the machine's bandwidth: far more than caches hold.
const BANDWIDTH_BYTES: usize = 256 << 20;

/// `T` of the steps that are compiled; work is padded to the next. Few, since each costs seconds to
/// compile; 1 since most steps are single tokens. Native kernels skip padding, but what IREE computes
/// between them does not: a server's steps have some tens of tokens, hence 32 and 64.
const NATIVE_TOKENS: &[usize] = &[1, 16, 32, 64, 128, 512];

/// The same for portable programs, which compute padding as if it were tokens.
const PORTABLE_TOKENS: &[usize] = &[1, 16, 128];

/// Rows of logits of a step that wants more than one, at least: few programs do for all.
const LEAST_ROWS: usize = 16;

/// Tokens of context that a portable step is compiled for: powers of two of these, up to the model's
/// own. It computes on all of them, whether used or not.
const LEAST_CONTEXT: usize = 512;

/// A model with its weights and cache on a device.
pub struct Executor {
    device: Device,
    source: Arc<Source>,
    arguments: Vec<StepArgument>,
    programs: Programs,
    weights: Vec<Buffer>,
    pools: Vec<Buffer>,
    /// `S`, `M` and `B` of the steps to come.
    sequences: usize,
    pages: usize,
    blocks: usize,
    /// `N` of the steps to come: 1 for a model without per-sequence state.
    slots: usize,
    context: usize,
}

impl Executor {
    pub(crate) fn new(
        device: Device,
        source: Arc<Source>,
        weights: Vec<Buffer>,
        context: usize,
    ) -> Self {
        let arguments = StepArgument::of(&source.decoder);
        let programs = Programs::new(source.clone(), device.clone());
        let pools = Vec::new();
        let (sequences, pages, blocks) = (0, 0, 0);
        Self {
            device,
            source,
            arguments,
            programs,
            weights,
            pools,
            sequences,
            pages,
            blocks,
            slots: 1,
            context,
        }
    }

    /// The model.
    pub fn decoder(&self) -> &Decoder {
        &self.source.decoder
    }

    /// Programs that were made ready so far, in order.
    pub fn preparations(&self) -> &[Preparation] {
        self.programs.preparations()
    }

    /// Bytes of all weights in memory.
    pub fn weight_bytes(&self) -> usize {
        self.weights.iter().map(Buffer::bytes).sum()
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        let kernels = self.source.kernels.as_deref();
        kernels.map_or(self.device.threads(), |native| native.kernels().pool().threads())
    }

    /// How numbers are held and computed with, for people: `native avx512, activations exact, cache f16`.
    pub fn arithmetic(&self) -> String {
        let element = self.decoder().cache_element();
        let cache = element.map_or_else(String::new, |element| format!(", cache {element}"));
        match self.source.kernels.as_deref().map(NativeKernels::kernels) {
            Some(kernels) => {
                format!("native {}, activations {}{cache}", kernels.isa(), kernels.activations())
            }
            None => format!("portable{cache}"),
        }
    }

    /// Bytes per second that this machine reads from memory now, by this executor's threads, of memory like that of weights.
    ///
    /// # Errors
    /// There is no memory.
    pub fn read_bandwidth(&self) -> Result<f64, ExecutorError> {
        let own;
        let kernels = match self.source.kernels.as_deref() {
            Some(native) => native.kernels(),
            None => {
                own = Kernels::new(Isa::best(), self.threads(), Activations::Exact);
                &own
            }
        };
        let mut rate = 0.0;
        // A buffer for the time that it is filled in.
        self.device.buffer(ElementType::I32, &[BANDWIDTH_BYTES / 4], |memory| {
            memory.fill(1);
            let memory = bytemuck::try_cast_slice(memory).map_err(|e| misfit(e.to_string()))?;
            rate = kernels.read_bandwidth(memory);
            Ok::<(), ExecutorError>(())
        })?;
        Ok(rate)
    }

    fn native(&self) -> bool {
        self.source.kernels.is_some()
    }

    /// `T` of the steps.
    fn tokens(&self) -> &'static [usize] {
        if self.native() { NATIVE_TOKENS } else { PORTABLE_TOKENS }
    }

    /// The sizes of the program for a step of so many tokens with so many rows. One program serves any
    /// number of sequences; where there are several, steps have a row for each, so that there are few.
    fn bucket(&self, tokens: usize, rows: usize) -> Result<Bucket, ExecutorError> {
        let Some(size) = self.tokens().iter().find(|size| **size >= tokens) else {
            let most = self.step_tokens();
            return Err(misfit(format!("{tokens} tokens, at most {most} are possible")));
        };
        let sequences = self.sequences.max(1).next_power_of_two();
        let rows = match rows.max(sequences) {
            1 => 1,
            rows => rows.next_power_of_two().max(LEAST_ROWS).min(*size),
        };
        let (pages, blocks) = (self.pages, self.blocks);
        Ok(Bucket { tokens: *size, sequences, rows, pages, blocks, slots: self.slots })
    }

    /// Makes the programs for logits ready, at the same time: compiled now if they are not in the cache.
    ///
    /// # Errors
    /// As a step's.
    pub fn prepare(&mut self) -> Result<(), ExecutorError> {
        let sizes: Vec<Bucket> =
            self.tokens().iter().map(|size| self.bucket(*size, 1)).collect::<Result<_, _>>()?;
        sizes.iter().for_each(|bucket| self.programs.begin((*bucket, Output::Logits)));
        for bucket in sizes {
            self.programs.session((bucket, Output::Logits))?;
        }
        Ok(())
    }

    /// Runs a step whose rows are `width` floats each.
    fn run(
        &mut self,
        step: &StepInput<'_>,
        output: Output,
        width: usize,
    ) -> Result<Vec<f32>, ExecutorError> {
        let room = inputs::Room {
            vocabulary: self.decoder().vocabulary,
            pages: self.pages,
            blocks: self.blocks,
            slots: self.keeps_state().then_some(self.slots),
        };
        inputs::check(step, room)?;
        let (sequences, rows) = (step.block_tables.len(), step.rows.len());
        if sequences > self.sequences {
            return Err(misfit(format!("{sequences} sequences, room for {}", self.sequences)));
        }
        let bucket = self.bucket(step.tokens.len(), rows)?;
        // After a prompt, single tokens will follow: their program is compiled beside the prompt's.
        self.programs.begin((bucket, output));
        self.programs.begin((self.bucket(1, 1)?, output));
        let inputs = inputs::buffers(&self.device, &self.arguments, step, &bucket)?;
        let arguments: Vec<&Buffer> =
            inputs.iter().chain(&self.pools).chain(&self.weights).collect();
        let mut results = self.programs.session((bucket, output))?.call(STEP, &arguments)?;
        self.pools = results.split_off(1);
        if step.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut values: Vec<f32> = results.remove(0).read()?;
        values.truncate(rows * width);
        Ok(values)
    }

    /// Larger pools with the content of the present ones.
    fn grow(&mut self, pages: usize, blocks: usize, slots: usize) -> Result<(), ExecutorError> {
        let bucket = Bucket { tokens: 1, sequences: 1, rows: 1, pages, blocks, slots };
        let mut pools = Vec::with_capacity(self.decoder().states.len());
        for (n, ty) in self.decoder().state_types(&bucket).into_iter().enumerate() {
            let pool = match self.pools.get(n) {
                Some(old) if old.shape() == ty.sizes() => old.clone(),
                Some(old) => self.device.buffer(ty.element, &ty.sizes(), |bytes| {
                    old.read_bytes(0, &mut bytes[..old.bytes()])?;
                    Ok::<(), ExecutorError>(())
                })?,
                None => Buffer::zeros(&self.device, ty.element, &ty.sizes())?,
            };
            pools.push(pool);
        }
        (self.pools, self.pages, self.blocks, self.slots) = (pools, pages, blocks, slots);
        // Programs of other sizes cannot run on these pools again.
        self.programs.clear();
        Ok(())
    }
}

fn misfit(message: String) -> ExecutorError {
    ExecutorError::Step { message }
}

impl Runner for Executor {
    type Error = ExecutorError;

    fn vocabulary(&self) -> usize {
        self.decoder().vocabulary
    }

    fn context(&self) -> usize {
        self.context
    }

    fn block_length(&self) -> usize {
        BLOCK_LENGTH
    }

    fn step_tokens(&self) -> usize {
        self.tokens().iter().copied().max().unwrap_or(1)
    }

    fn recomputed_beyond(&self) -> Option<usize> {
        self.decoder().recomputed_beyond
    }

    fn reuses_prefixes(&self) -> bool {
        !self.decoder().needs_lengths
    }

    fn keeps_state(&self) -> bool {
        self.decoder().has_sequence_state()
    }

    fn width(&self) -> usize {
        self.decoder().hidden
    }

    fn reserve(&mut self, room: Room) -> Result<(), ExecutorError> {
        let most = self.context.max(room.tokens);
        let context = match self.native() {
            // Memory that is never used costs nothing, and native kernels read what is used only: the
            // whole context at once, so that no program is ever outgrown.
            true => most,
            false => room.tokens.next_power_of_two().max(LEAST_CONTEXT).min(most),
        };
        let pages = context.div_ceil(BLOCK_LENGTH).max(self.pages);
        let blocks = (room.blocks.max(pages) + 1).max(self.blocks);
        if room.sequences > self.sequences {
            self.sequences = room.sequences;
            self.programs.clear();
        }
        let slots = if self.keeps_state() { (room.slots + 1).max(self.slots) } else { 1 };
        if (pages, blocks, slots) != (self.pages, self.blocks, self.slots) {
            self.grow(pages, blocks, slots)?;
        }
        Ok(())
    }

    fn copy_state(&mut self, from: u32, to: u32) -> Result<(), ExecutorError> {
        let reserved = |slot: u32| slot > 0 && (slot as usize) < self.slots;
        if !reserved(from) || !reserved(to) {
            let most = self.slots - 1;
            return Err(misfit(format!(
                "slot {from} is to be copied to {to}, slots are 1 to {most}"
            )));
        }
        for (pool, state) in self.pools.iter().zip(&self.decoder().states) {
            if from != to && matches!(state.kind, StateKind::PerSequence(_)) {
                let values: usize = pool.shape()[1..].iter().product();
                pool.copy_within(from as usize * values, to as usize * values, values)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, ExecutorError> {
        let width = self.vocabulary();
        self.run(step, Output::Logits, width)
    }

    fn vectors(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, ExecutorError> {
        let width = self.width();
        self.run(step, Output::Vectors, width)
    }
}
