//! The short causal convolution of recurrent layers.

use std::cell::RefCell;

use super::runs::{Run, StateAddresses};
use super::{clear_padding, length, positive, run};
use crate::Kernels;
use crate::error::KernelError;
use crate::scratch::{Memory, reserve};
use crate::simd::{Operation, Simd, dispatch};

/// Channels per task: a contiguous part of each token's row.
const CHANNELS: usize = 256;

/// Sizes of [`Kernels::convolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Channels.
    pub channels: usize,
    /// Inputs of a result, the token's own among them: at least 2.
    pub taps: usize,
}

thread_local! {
    static SCRATCH: RefCell<Memory> = const { RefCell::new(Vec::new()) };
}

impl Kernels {
    /// A convolution of each channel with its own weights: `out[t, c] = Σ_j weight[c, j] · x[t −
    /// (taps − 1) + j, c]`, into `out [T, channels]`; rows of padding become 0. Inputs before
    /// position 0 are zeros, those of earlier steps come from `pool [N, taps − 1, channels]`, which
    /// keeps a sequence's last inputs, the oldest first. `x [T, channels]`, `weight [channels,
    /// taps]`.
    ///
    /// # Errors
    /// If sizes do not fit together, or a token's sequence or slot does not exist.
    pub fn convolve(
        &self,
        convolution: &Convolution,
        pool: &mut [f32],
        x: &[f32],
        weight: &[f32],
        addresses: &StateAddresses<'_>,
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let error = |message: String| KernelError { kernel: "convolve", message };
        let Convolution { channels, taps } = *convolution;
        let tokens = addresses.positions.len();
        check(convolution, tokens, x.len(), weight.len(), out.len()).map_err(error)?;
        let runs = addresses.runs(pool.len(), &[taps - 1, channels]).map_err(error)?;
        clear_padding(out, addresses.positions);
        let blocks = channels.div_ceil(CHANNELS);
        let (tasks, isa) = (runs.len() * blocks, self.isa());
        let (pool, out) = (pool.as_mut_ptr(), out.as_mut_ptr());
        let call = Call { convolution: *convolution, x, weight, runs, pool, out };
        run(self.pool(), tokens * channels * taps, tasks, &|index| {
            let run = call.runs[index / blocks];
            let task = Task { call: &call, run, first: index % blocks * CHANNELS };
            // SAFETY: an `Isa` in use is available, sizes were checked, and each task is alone with
            // its channels.
            unsafe { dispatch(isa, task) }
        });
        Ok(())
    }
}

fn check(
    convolution: &Convolution,
    tokens: usize,
    x: usize,
    weight: usize,
    out: usize,
) -> Result<(), String> {
    let Convolution { channels, taps } = *convolution;
    positive(&[channels, taps], convolution)?;
    if taps == 1 {
        return Err("1 tap, at least 2 expected: it would keep nothing".to_string());
    }
    length("x", x, &[tokens, channels])?;
    length("weight", weight, &[channels, taps])?;
    length("out", out, &[tokens, channels])
}

/// A checked call.
struct Call<'a> {
    convolution: Convolution,
    x: &'a [f32],
    weight: &'a [f32],
    runs: Vec<Run>,
    pool: *mut f32,
    out: *mut f32,
}

// SAFETY: pool and out are borrowed for the whole call, and each task writes channels of its own.
unsafe impl Sync for Call<'_> {}

/// Some channels, for all tokens of a run.
struct Task<'a> {
    call: &'a Call<'a>,
    run: Run,
    /// The first channel.
    first: usize,
}

impl Operation for Task<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut memory = SCRATCH.with_borrow_mut(std::mem::take);
        // SAFETY: passed on.
        unsafe {
            // Models have 4 taps, or 3.
            match self.call.convolution.taps {
                4 => self.convolve::<S, 4>(&mut memory),
                3 => self.convolve::<S, 3>(&mut memory),
                _ => self.convolve::<S, 0>(&mut memory),
            }
        }
        SCRATCH.with_borrow_mut(|scratch| *scratch = memory);
    }
}

impl Task<'_> {
    /// `TAPS` is the number of taps, or 0 for any.
    ///
    /// # Safety
    /// As all functions of [`Simd`]; the call is checked, and no other task has these channels.
    #[inline(always)]
    unsafe fn convolve<S: Simd, const TAPS: usize>(&self, memory: &mut Memory) {
        const POINTERS: usize = size_of::<*const f32>() / size_of::<f32>();
        let Convolution { channels, taps } = self.call.convolution;
        let taps = if TAPS == 0 { taps } else { TAPS };
        let count = CHANNELS.min(channels - self.first);
        let weights = reserve(memory, CHANNELS * (taps + 1) + POINTERS * taps);
        // SAFETY: the scratch is as long as reserved, of whole lines before the pointers; rows have
        // these channels.
        unsafe {
            let zeros = weights.add(CHANNELS * taps);
            zeros.write_bytes(0, CHANNELS);
            let rows = zeros.add(CHANNELS).cast::<*const f32>();
            self.transpose(weights, taps, count);
            for token in 0..self.run.tokens {
                for tap in 0..taps {
                    rows.add(tap).write(self.input(token + tap, zeros));
                }
                let out = self.call.out.add((self.run.token + token) * channels + self.first);
                let whole = count - count % 16;
                for channel in (0..whole).step_by(16) {
                    let mut sum = S::zero();
                    for tap in 0..taps {
                        let input = S::load((*rows.add(tap)).add(channel));
                        let weight = S::load(weights.add(tap * CHANNELS + channel));
                        sum = S::multiply_add(input, weight, sum);
                    }
                    S::store(sum, out.add(channel));
                }
                let left = count - whole;
                if left > 0 {
                    let mut sum = S::zero();
                    for tap in 0..taps {
                        let input = S::load_part((*rows.add(tap)).add(whole), left);
                        let weight = S::load(weights.add(tap * CHANNELS + whole));
                        sum = S::multiply_add(input, weight, sum);
                    }
                    S::store_part(sum, out.add(whole), left);
                }
            }
            self.keep(zeros, count);
        }
    }

    /// Writes the task's weights as `[taps, CHANNELS]`.
    ///
    /// # Safety
    /// There is space for them.
    #[inline(always)]
    unsafe fn transpose(&self, weights: *mut f32, taps: usize, count: usize) {
        let own = &self.call.weight[self.first * taps..][..count * taps];
        for (channel, own) in own.chunks_exact(taps).enumerate() {
            for (tap, weight) in own.iter().enumerate() {
                // SAFETY: by the contract.
                unsafe { weights.add(tap * CHANNELS + channel).write(*weight) };
            }
        }
    }

    /// The task's channels of input `index`; input 0 is the oldest one of the run's first token.
    ///
    /// # Safety
    /// The call is checked, and the run has this input.
    #[inline(always)]
    unsafe fn input(&self, index: usize, zeros: *const f32) -> *const f32 {
        let Convolution { channels, taps } = self.call.convolution;
        let tail = taps - 1;
        // SAFETY: an input is in the pool, or in the step.
        unsafe {
            if self.run.position + index < tail {
                zeros
            } else if index < tail {
                self.call.pool.add((self.run.slot * tail + index) * channels + self.first)
            } else {
                let token = self.run.token + index - tail;
                self.call.x.as_ptr().add(token * channels + self.first)
            }
        }
    }

    /// Writes the last inputs to the pool. The oldest goes first, so that each is read before it is
    /// overwritten.
    ///
    /// # Safety
    /// As [`Self::convolve`]; nothing reads the inputs of earlier steps any more.
    #[inline(always)]
    unsafe fn keep(&self, zeros: *const f32, count: usize) {
        let Convolution { channels, taps } = self.call.convolution;
        let tail = taps - 1;
        for index in 0..tail {
            // SAFETY: rows of the pool and of the step have these channels; an input of the pool
            // moves to another row.
            unsafe {
                let from = self.input(self.run.tokens + index, zeros);
                let to = (self.run.slot * tail + index) * channels + self.first;
                self.call.pool.add(to).copy_from_nonoverlapping(from, count);
            }
        }
    }
}
