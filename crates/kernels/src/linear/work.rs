//! Cutting products into tasks, and what a task does.
//!
//! Rows are computed in blocks of two tiles. Of these, scales are decoded once; then each block of tokens is
//! multiplied. Tokens are taken in runs whose activations stay in a core's second-level cache while all rows are gone
//! through.

use std::cell::RefCell;
use std::mem::take;
use std::ops::Range;
use std::time::Instant;

use stablemate_encodings::{Float, LANES};

use super::activation::Activation;
use super::dense::{self, DenseRows};
use super::finish::{Epilogue, Finish};
use super::form::Form;
use super::micro::{BLOCK, Operands, TILES};
use super::multiply::multiply;
use super::operand::{Operand, Packed};
use super::quantize::Quantized;
use super::scales::DecodeScales;
use super::scratch::{Lines, Shared};
use super::strip::STRIP;
use super::tiles::TileScratch;
use super::tokens::{Block, Tokens};
use super::widened::{self, Gathered};
use super::{Matrix, Weight};
use crate::isa::Isa;
use crate::kernels::Kernels;
use crate::reading::Way;
use crate::simd::dispatch;

/// Bytes of activations that stay in the second-level cache.
const RUN_BYTES: usize = 600 << 10;

/// The same where rows are multiplied in strips: these do more with what they fetch. Machines with tiles have 2 MiB.
const STRIPS_RUN_BYTES: usize = 1100 << 10;

/// How long a task shall take, in nanoseconds, roughly.
const TASK: usize = 10_000;

/// One result: of one product, or of two that are combined.
pub(super) struct Part<'a> {
    first: Matrix<'a>,
    second: Option<(Matrix<'a>, Activation)>,
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
}

impl<'a> Part<'a> {
    pub(super) fn linear(
        matrix: Matrix<'a>,
        residual: Option<&'a [f32]>,
        out: &'a mut [f32],
    ) -> Self {
        Self { first: matrix, second: None, residual, out }
    }

    pub(super) fn gated(
        gate: Matrix<'a>,
        up: Matrix<'a>,
        activation: Activation,
        out: &'a mut [f32],
    ) -> Self {
        Self { first: gate, second: Some((up, activation)), residual: None, out }
    }

    fn matrices(&self) -> impl Iterator<Item = Matrix<'a>> {
        [Some(self.first), self.second.map(|(matrix, _)| matrix)].into_iter().flatten()
    }
}

/// What a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    /// Quantised activations, by form.
    quantized: Vec<(Option<Form>, Quantized)>,
    gathered: Gathered,
    scales: [Lines; 2],
    biases: [Lines; 2],
    pub(super) out: [Lines; 2],
    pub(super) tiles: TileScratch,
    pub(super) widened: Lines,
}

impl Scratch {
    /// Room for the scales and biases of the target's matrix `n`, for so many blocks of rows.
    pub(super) fn scales(&mut self, n: usize, packed: &Packed<'_>, blocks: usize) -> [*mut f32; 2] {
        let count = blocks * packed.block_scales();
        let biases = if packed.packing.has_biases() { count } else { 0 };
        [self.scales[n].take(count), self.biases[n].take(biases)]
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A result as tasks see it.
pub(super) struct Target<'a> {
    pub(super) matrices: [Option<Operand<'a>>; 2],
    activation: Option<Activation>,
    residual: Option<&'a [f32]>,
    out: Shared<f32>,
    pub(super) rows: usize,
    /// Blocks of rows of a task.
    chunk: usize,
    /// Tasks of a run of tokens.
    tasks: usize,
}

/// A parallel region.
pub(super) struct Region<'a> {
    pub(super) isa: Isa,
    /// How weights are read.
    way: Way,
    x: &'a [f32],
    pub(super) columns: usize,
    tokens: &'a Tokens,
    pub(super) gathered: &'a Gathered,
    targets: Vec<Target<'a>>,
    runs: Vec<Range<usize>>,
}

/// Computes checked parts, all of the same columns.
pub(super) fn run(kernels: &Kernels, x: &[f32], live: &[i32], parts: &mut [Part<'_>]) {
    let tokens = Tokens::new(kernels.isa(), strips(kernels, parts), live);
    for part in &mut *parts {
        let rows = part.first.rows;
        for (token, live) in live.iter().enumerate() {
            if *live < 0 {
                part.out[token * rows..][..rows].fill(0.0);
            }
        }
    }
    // Without columns the product is 0 and blocks would have no end.
    let Some(columns) = parts.first().map(|part| part.first.columns) else { return };
    // The other parts of this thread's scratch are needed by its own tasks.
    let (mut quantized, mut gathered) = SCRATCH
        .with_borrow_mut(|scratch| (take(&mut scratch.quantized), take(&mut scratch.gathered)));
    quantize(kernels, x, columns, &tokens, parts, &mut quantized);
    let strips = tokens.blocks().first().is_some_and(|block| block.strips);
    let tiles = strips && kernels.isa() == Isa::Amx;
    let widened = strips && !tiles;
    if widened {
        gathered.fill(kernels, x, columns, &tokens);
    }
    let bytes = |(form, _): &(Option<Form>, _)| form.map(|form| form.value_bytes(tiles));
    let value_bytes = quantized.iter().filter_map(bytes).max().unwrap_or(4);
    let run_bytes = if strips { STRIPS_RUN_BYTES } else { RUN_BYTES };
    let most = match widened {
        true => widened::MOST_TOKENS,
        false => run_bytes / (value_bytes * columns).max(1),
    };
    let runs = tokens.runs(most);
    let width = |run: &Range<usize>| tokens.blocks()[run.clone()].iter().map(|b| b.width).sum();
    let count: usize = runs.iter().map(width).max().unwrap_or(0);
    let targets: Vec<_> =
        parts.iter_mut().map(|part| target(kernels, part, &quantized, count, strips)).collect();
    let matrices = || targets.iter().flat_map(|target| target.matrices.iter().flatten());
    let bytes: usize = matrices().map(Operand::bytes).sum();
    let packed = matrices().any(|operand| matches!(operand, Operand::Packed(_)));
    let reading = kernels.reading(packed);
    let single = live.iter().filter(|live| **live >= 0).count() == 1;
    let (way, worth_knowing) = reading.next(bytes, single);
    let region = Region {
        isa: kernels.isa(),
        way,
        x,
        columns,
        tokens: &tokens,
        gathered: &gathered,
        targets,
        runs,
    };
    let tasks = region.targets.iter().map(|target| target.tasks).sum::<usize>();
    let begin = worth_knowing.then(Instant::now);
    kernels.pool().run(tasks * region.runs.len(), &|task| {
        region.task(task / tasks, task % tasks);
    });
    if let Some(begin) = begin {
        reading.learn(way, bytes, begin.elapsed());
    }
    drop(region);
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.quantized = quantized;
        scratch.gathered = gathered;
    });
}

/// Whether rows may be multiplied in strips: with tiles if there are integers, and nothing that goes by other blocks; with few registers
/// if all weights are floats.
fn strips(kernels: &Kernels, parts: &[Part<'_>]) -> bool {
    let matrices = parts.iter().flat_map(Part::matrices);
    let forms: Vec<Form> = matrices.filter_map(|matrix| form(kernels, matrix)).collect();
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

/// Quantises x in all forms that the parts need.
fn quantize(
    kernels: &Kernels,
    x: &[f32],
    columns: usize,
    tokens: &Tokens,
    parts: &[Part<'_>],
    quantized: &mut Vec<(Option<Form>, Quantized)>,
) {
    for (form, _) in &mut *quantized {
        *form = None;
    }
    let forms = parts.iter().flat_map(Part::matrices).filter_map(|matrix| form(kernels, matrix));
    for wanted in forms {
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

/// `count` tokens are computed in a task, by strips of rows or not.
fn target<'p>(
    kernels: &Kernels,
    part: &'p mut Part<'_>,
    quantized: &'p [(Option<Form>, Quantized)],
    count: usize,
    strips: bool,
) -> Target<'p> {
    let matrices = [Some(part.first), part.second.map(|(matrix, _)| matrix)];
    let bytes: usize = part.matrices().map(|matrix| block_bytes(matrix)).sum();
    let products: usize = part.matrices().map(|matrix| BLOCK * matrix.columns * count).sum();
    // What a core reads and multiplies in a nanosecond, roughly.
    let multiplied = match kernels.isa() {
        Isa::Amx if strips => 400,
        Isa::Amx | Isa::Avx512 => 150,
        Isa::Avx2 | Isa::Portable => 80,
    };
    let time = (bytes / 25).max(products / multiplied).max(1);
    let blocks = part.first.rows.div_ceil(BLOCK);
    let share = blocks.div_ceil(4 * kernels.pool().threads()).max(1);
    let least = if strips { STRIP.min(share) } else { 1 };
    let chunk = (TASK / time).clamp(least, share);
    let operand = |matrix: Matrix<'p>| {
        let wanted = form(kernels, matrix);
        let x = quantized.iter().find(|(form, _)| form.is_some() && *form == wanted);
        Operand::new(matrix, wanted.zip(x.map(|(_, x)| x)))
    };
    Target {
        matrices: matrices.map(|matrix| matrix.and_then(operand)),
        activation: part.second.map(|(_, activation)| activation),
        residual: part.residual,
        rows: part.first.rows,
        out: Shared::new(part.out),
        chunk,
        tasks: blocks.div_ceil(chunk),
    }
}

/// Bytes of a block of rows.
fn block_bytes(matrix: Matrix<'_>) -> usize {
    match matrix.weight {
        Weight::Dense { float, .. } => float.bytes() * BLOCK * matrix.columns,
        Weight::Packed { packing, .. } => 4 * BLOCK * packing.row_words(matrix.columns),
    }
}

impl Region<'_> {
    /// A task of a run of tokens.
    fn task(&self, run: usize, mut task: usize) {
        let blocks = &self.tokens.blocks()[self.runs[run].clone()];
        for target in &self.targets {
            if task < target.tasks {
                SCRATCH.with_borrow_mut(|scratch| self.part(target, task, blocks, scratch));
                return;
            }
            task -= target.tasks;
        }
    }

    /// A task of a target.
    fn part(&self, target: &Target<'_>, task: usize, blocks: &[Block], scratch: &mut Scratch) {
        let first = task * target.chunk;
        let all = target.rows.div_ceil(BLOCK);
        let last = (first + target.chunk).min(all);
        let strips = blocks.iter().take_while(|block| block.strips).count();
        let (in_strips, blocks) = blocks.split_at(strips);
        if !in_strips.is_empty() {
            for strip in (first..last).step_by(STRIP) {
                self.strip(target, strip..(strip + STRIP).min(last), in_strips, scratch);
            }
        }
        for rows in first..last {
            // Even a task's last block is followed by one that this thread takes next, mostly.
            let more = rows + 1 < all && in_strips.is_empty();
            self.rows(target, rows, more, blocks, scratch);
        }
    }

    /// A block of rows by blocks of tokens. `more`: the next block of rows comes next.
    fn rows(
        &self,
        target: &Target<'_>,
        rows: usize,
        more: bool,
        blocks: &[Block],
        scratch: &mut Scratch,
    ) {
        if blocks.is_empty() {
            return;
        }
        for (n, operand) in target.matrices.iter().enumerate() {
            if let Some(Operand::Packed(packed)) = operand {
                let places = scratch.scales(n, packed, 1);
                self.decode_scales(packed, rows, places);
            }
        }
        for (place, block) in blocks.iter().enumerate() {
            for (n, operand) in target.matrices.iter().enumerate() {
                let out = scratch.out[n].take(block.width * BLOCK);
                match operand {
                    Some(Operand::Packed(packed)) => {
                        let scales = [&mut scratch.scales[n], &mut scratch.biases[n]];
                        let prefetch = more && place == 0;
                        self.packed(
                            packed,
                            scales.map(|lines| lines.take(0)),
                            rows,
                            block,
                            prefetch,
                            out,
                        );
                    }
                    Some(Operand::Dense { float, bytes, rows: all }) => {
                        let block = std::slice::from_ref(block);
                        let rows = self.dense_rows(*float, bytes, *all, rows, block, out);
                        dense::block(self.isa, &rows);
                    }
                    None => {}
                }
            }
            self.finish(target, rows, block, 0, scratch);
        }
    }

    /// A block of `all` rows by blocks of tokens that follow each other.
    pub(super) fn dense_rows<'a>(
        &'a self,
        float: Float,
        bytes: &'a [u8],
        all: usize,
        rows: usize,
        blocks: &[Block],
        out: *mut f32,
    ) -> DenseRows<'a> {
        let first = rows * BLOCK;
        DenseRows {
            float,
            bytes,
            columns: self.columns,
            first,
            count: BLOCK.min(all - first),
            x: self.x,
            tokens: self.tokens.live(blocks),
            far: self.way.far(),
            out,
        }
    }

    /// `place`: where the products of the block begin.
    pub(super) fn finish(
        &self,
        target: &Target<'_>,
        rows: usize,
        block: &Block,
        place: usize,
        scratch: &mut Scratch,
    ) {
        let first = rows * BLOCK;
        let count = BLOCK.min(target.rows - first);
        let products = [0, 1].map(|n| scratch.out[n].take(0).wrapping_add(place).cast_const());
        let epilogue = match (target.activation, target.residual) {
            (Some(activation), _) => Epilogue::Gated(activation),
            (None, Some(_)) => Epilogue::Residual,
            (None, None) => Epilogue::Store,
        };
        for (n, token) in self.tokens.live(std::slice::from_ref(block)).iter().enumerate() {
            let at = token * target.rows + first;
            // SAFETY: blocks of rows and of tokens are disjoint, `run` borrows the result.
            let out = unsafe { target.out.part(at, count) };
            let residual = target.residual.map(|values| &values[at..][..count]);
            let place = n * BLOCK;
            let products = products.map(|values| values.wrapping_add(place));
            let operation = Finish { epilogue, products, residual, out };
            // SAFETY: it is available; products have been written for `BLOCK` rows.
            unsafe { dispatch(self.isa, operation) };
        }
    }

    /// The scales of a block of rows, and its biases, if it has any: `[groups, TILES, 16]`.
    pub(super) fn decode_scales(
        &self,
        packed: &Packed<'_>,
        rows: usize,
        [scales, biases]: [*mut f32; 2],
    ) {
        let (packing, columns) = (packed.packing, self.columns);
        for n in 0..TILES {
            let words = packed.scales(rows, n).as_ptr().cast();
            let place = n * LANES;
            let (scales, biases) = (scales.wrapping_add(place), biases.wrapping_add(place));
            let operation = DecodeScales { packing, columns, words, scales, biases };
            // SAFETY: it is available; the words are those of the scales, and there is room for the groups.
            unsafe { dispatch(self.isa, operation) };
        }
    }

    /// `scales`: those of the block of rows, and its biases.
    fn packed(
        &self,
        packed: &Packed<'_>,
        [scales, biases]: [*mut f32; 2],
        rows: usize,
        block: &Block,
        prefetch: bool,
        out: *mut f32,
    ) {
        let Packed { packing, form, groups, units, tile_words, .. } = *packed;
        let x = packed.x.view(block);
        let codes = [0, 1].map(|n| packed.tile(rows, n).as_ptr().cast::<i32>());
        // The next block of rows lies behind this one. All of it is fetched meanwhile.
        let next_lines = if prefetch { tile_words.div_ceil(LANES * units) } else { 0 };
        let operands = Operands {
            codes,
            next: codes[0].wrapping_add(TILES * tile_words).cast(),
            next_lines,
            way: self.way,
            tile_bytes: 4 * tile_words,
            x: x.words,
            starts: x.starts,
            x_scales: x.scales,
            x_sums: x.sums,
            scales,
            biases: if packing.has_biases() { biases } else { std::ptr::null() },
            group: packing.group(),
            groups,
            out,
        };
        // SAFETY: it is available; a tile has codes for all columns, x is quantised for this block in this
        // packing's form, and the scales of these rows have been decoded.
        unsafe { multiply(self.isa, packing, form.words(block.width), block.width, operands) };
    }
}
