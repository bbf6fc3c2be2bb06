//! Products of some rows of x: how they are prepared, and how products are cut into tasks.
//!
//! Rows of weights are computed in blocks of two tiles. Of these, scales are decoded once; then
//! each block of tokens is multiplied. Tokens are taken in runs whose activations stay in a core's
//! second-level cache while all rows are gone through.

use std::mem::take;
use std::ops::Range;
use std::time::Instant;

use super::finish::Epilogue;
use super::form::Form;
use super::micro::BLOCK;
use super::operand::Operand;
use super::quantize::Quantized;
use super::scratch::Shared;
use super::strip::STRIP;
use super::task::{Region, SCRATCH, Section, Target};
use super::tokens::Tokens;
use super::widened::{self, Gathered};
use super::{Matrix, Weight};
use crate::isa::Isa;
use crate::kernels::Kernels;

/// Bytes of activations that stay in the second-level cache.
const RUN_BYTES: usize = 600 << 10;

/// The same where rows are multiplied in strips: these do more with what they fetch. Machines with
/// tiles have 2 MiB.
const STRIPS_RUN_BYTES: usize = 1100 << 10;

/// How long a task shall take, in nanoseconds, roughly.
const TASK: usize = 10_000;

/// One result: of one product, or of two that are combined.
pub(crate) struct Part<'a> {
    /// Whose rows of x are multiplied. Parts are in the order of their sections.
    pub(crate) section: usize,
    pub(crate) first: Matrix<'a>,
    /// Of the shape of the first one.
    pub(crate) second: Option<Matrix<'a>>,
    pub(crate) epilogue: Epilogue<'a>,
    /// The rows of the section's result.
    pub(crate) out: &'a mut [f32],
}

impl<'a> Part<'a> {
    pub(super) fn matrices(&self) -> impl Iterator<Item = Matrix<'a>> {
        [Some(self.first), self.second].into_iter().flatten()
    }
}

/// Rows of x in the forms in which weights are multiplied by them.
pub(crate) struct Inputs<'a> {
    kernels: &'a Kernels,
    x: &'a [f32],
    columns: usize,
    tokens: Tokens,
    quantized: Vec<(Option<Form>, Quantized)>,
    gathered: Gathered,
}

impl<'a> Inputs<'a> {
    /// The rows with `live >= 0`, as one section, for products with weights that are stored as
    /// `matrices` are.
    pub(crate) fn live(
        kernels: &'a Kernels,
        x: &'a [f32],
        live: &[i32],
        columns: usize,
        matrices: &[Matrix<'_>],
    ) -> Self {
        let tokens = Tokens::live(kernels.isa(), strips(kernels, matrices), live);
        Self::new(kernels, x, columns, tokens, matrices)
    }

    /// A section for each list of rows; otherwise as [`Self::live`].
    pub(crate) fn sections<'r>(
        kernels: &'a Kernels,
        x: &'a [f32],
        sections: impl Iterator<Item = &'r [usize]>,
        columns: usize,
        matrices: &[Matrix<'_>],
    ) -> Self {
        let tokens = Tokens::sections(kernels.isa(), strips(kernels, matrices), sections);
        Self::new(kernels, x, columns, tokens, matrices)
    }

    fn new(
        kernels: &'a Kernels,
        x: &'a [f32],
        columns: usize,
        tokens: Tokens,
        matrices: &[Matrix<'_>],
    ) -> Self {
        // The other parts of this thread's scratch are needed by its own tasks.
        let (mut quantized, mut gathered) = SCRATCH
            .with_borrow_mut(|scratch| (take(&mut scratch.quantized), take(&mut scratch.gathered)));
        quantize(kernels, x, columns, &tokens, matrices, &mut quantized);
        if kernels.isa() != Isa::Amx && tokens.blocks().iter().any(|block| block.strips) {
            gathered.fill(kernels, x, columns, &tokens);
        }
        Self { kernels, x, columns, tokens, quantized, gathered }
    }

    /// Computes parts whose sizes have been checked, in one parallel region.
    pub(crate) fn multiply(&self, parts: &mut [Part<'_>]) {
        let (targets, sections) = self.plan(parts);
        let matrices = || targets.iter().flat_map(|target| target.matrices.iter().flatten());
        let bytes: usize = matrices().map(Operand::bytes).sum();
        let packed = matrices().any(|operand| matches!(operand, Operand::Packed(_)));
        let reading = self.kernels.reading(packed);
        let (way, worth_knowing) = reading.next(bytes, self.tokens.single());
        let region = Region {
            isa: self.kernels.isa(),
            way,
            x: self.x,
            columns: self.columns,
            tokens: &self.tokens,
            gathered: &self.gathered,
            targets,
            sections,
        };
        let begin = worth_knowing.then(Instant::now);
        self.kernels.pool().run(region.tasks(), &|task| region.task(task));
        if let Some(begin) = begin {
            reading.learn(way, bytes, begin.elapsed());
        }
    }

    /// Cuts parts into tasks.
    fn plan<'p>(&'p self, parts: &'p mut [Part<'_>]) -> (Vec<Target<'p>>, Vec<Section>) {
        let mut targets = Vec::with_capacity(parts.len());
        let mut sections = Vec::new();
        let mut end = 0;
        for parts in parts.chunk_by_mut(|a, b| a.section == b.section) {
            let section = parts.first().map_or(0, |part| part.section);
            let strips = self.tokens.section(section).first().is_some_and(|block| block.strips);
            let runs = self.tokens.runs(section, self.run(strips));
            let blocks = self.tokens.blocks();
            let width = |run: &Range<usize>| blocks[run.clone()].iter().map(|b| b.width).sum();
            let count = runs.iter().map(width).max().unwrap_or(0);
            let first = targets.len();
            targets.extend(parts.iter_mut().map(|part| self.target(part, count, strips)));
            let tasks = targets[first..].iter().map(|target| target.tasks).sum();
            end += tasks * runs.len();
            sections.push(Section { targets: first..targets.len(), runs, tasks, end });
        }
        (targets, sections)
    }

    /// Tokens of a run.
    fn run(&self, strips: bool) -> usize {
        let tiles = strips && self.kernels.isa() == Isa::Amx;
        if strips && !tiles {
            return widened::MOST_TOKENS;
        }
        let bytes = |(form, _): &(Option<Form>, _)| form.map(|form| form.value_bytes(tiles));
        let value_bytes = self.quantized.iter().filter_map(bytes).max().unwrap_or(4);
        let run_bytes = if strips { STRIPS_RUN_BYTES } else { RUN_BYTES };
        run_bytes / (value_bytes * self.columns).max(1)
    }

    /// A part's target, of which `count` tokens are computed in a task, by strips of rows or not.
    fn target<'p>(&'p self, part: &'p mut Part<'_>, count: usize, strips: bool) -> Target<'p> {
        let bytes: usize = part.matrices().map(block_bytes).sum();
        let products: usize = part.matrices().map(|matrix| BLOCK * matrix.columns * count).sum();
        // What a core reads and multiplies in a nanosecond, roughly.
        let multiplied = match self.kernels.isa() {
            Isa::Amx if strips => 400,
            Isa::Amx | Isa::Avx512 => 150,
            Isa::Avx2 | Isa::Portable => 80,
        };
        let time = (bytes / 25).max(products / multiplied).max(1);
        let blocks = part.first.rows.div_ceil(BLOCK);
        let share = blocks.div_ceil(4 * self.kernels.pool().threads()).max(1);
        let least = if strips { STRIP.min(share) } else { 1 };
        let chunk = (TASK / time).clamp(least, share);
        let operand = |matrix: Matrix<'p>| {
            let wanted = form(self.kernels, matrix);
            let x = self.quantized.iter().find(|(form, _)| form.is_some() && *form == wanted);
            Operand::new(matrix, wanted.zip(x.map(|(_, x)| x)))
        };
        Target {
            matrices: [Some(part.first), part.second].map(|matrix| matrix.and_then(operand)),
            epilogue: part.epilogue,
            rows: part.first.rows,
            out: Shared::new(part.out),
            chunk,
            tasks: blocks.div_ceil(chunk),
        }
    }
}

/// Gives the memory back to this thread.
impl Drop for Inputs<'_> {
    fn drop(&mut self) {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.quantized = take(&mut self.quantized);
            scratch.gathered = take(&mut self.gathered);
        });
    }
}

/// Whether rows may be multiplied in strips: with tiles if there are integers, and nothing that
/// goes by other blocks; with few registers if all weights are floats.
fn strips(kernels: &Kernels, matrices: &[Matrix<'_>]) -> bool {
    let forms = matrices.iter().filter_map(|matrix| form(kernels, *matrix));
    let forms: Vec<Form> = forms.collect();
    match kernels.isa() {
        Isa::Amx => !forms.is_empty() && forms.iter().all(|form| !form.floats()),
        Isa::Avx2 => forms.is_empty(),
        Isa::Avx512 | Isa::Portable => false,
    }
}

fn form(kernels: &Kernels, matrix: Matrix<'_>) -> Option<Form> {
    match matrix.weight {
        Weight::Dense { .. } => None,
        Weight::Packed { packing, .. } => Some(Form::new(kernels, packing)),
    }
}

/// Quantises x in all forms that weights stored as `matrices` need.
fn quantize(
    kernels: &Kernels,
    x: &[f32],
    columns: usize,
    tokens: &Tokens,
    matrices: &[Matrix<'_>],
    quantized: &mut Vec<(Option<Form>, Quantized)>,
) {
    for (form, _) in &mut *quantized {
        *form = None;
    }
    for wanted in matrices.iter().filter_map(|matrix| form(kernels, *matrix)) {
        if quantized.iter().any(|(form, _)| *form == Some(wanted)) {
            continue;
        }
        let free = quantized.iter().position(|(form, _)| form.is_none());
        let place = free.unwrap_or(quantized.len());
        if free.is_none() {
            quantized.push((None, Quantized::default()));
        }
        let (form, values) = &mut quantized[place];
        values.fill(kernels, wanted, x, columns, tokens);
        *form = Some(wanted);
    }
}

/// Bytes of a block of rows.
fn block_bytes(matrix: Matrix<'_>) -> usize {
    match matrix.weight {
        Weight::Dense { float, .. } => float.bytes() * BLOCK * matrix.columns,
        Weight::Packed { packing, .. } => 4 * BLOCK * packing.row_words(matrix.columns),
    }
}
