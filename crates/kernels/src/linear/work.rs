//! Cutting products into tasks, and what a task does.
//!
//! Rows are computed in blocks of two tiles. Of these, scales are decoded once; then each block of tokens is
//! multiplied. Tokens are taken in runs whose activations stay in a core's second-level cache while all rows are gone
//! through.

use std::cell::Cell;
use std::ops::Range;

use stablemate_encodings::{Float, LANES, Packing, UNIT};

use super::activation::Activation;
use super::dense::{self, DenseRows};
use super::finish::{Epilogue, Finish};
use super::form::Form;
use super::micro::{BLOCK, Operands, TILES};
use super::multiply::multiply;
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
    pub(super) fn scales(&mut self, n: usize, matrix: &Matrix<'_>, blocks: usize) -> [*mut f32; 2] {
        let Weight::Packed { packing, .. } = matrix.weight else {
            return [std::ptr::null_mut(); 2];
        };
        let count = blocks * matrix.columns / packing.group() * BLOCK;
        let biases = if packing.has_biases() { count } else { 0 };
        [self.scales[n].take(count), self.biases[n].take(biases)]
    }
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// A result as tasks see it.
pub(super) struct Target<'a> {
    pub(super) matrices: [Option<(Matrix<'a>, Option<Form>)>; 2],
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
    /// Whether what will be read next is fetched into the second-level cache only.
    far: bool,
    x: &'a [f32],
    pub(super) columns: usize,
    tokens: &'a Tokens,
    pub(super) quantized: &'a [(Option<Form>, Quantized)],
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
    let mut scratch = SCRATCH.take();
    let mut quantized = std::mem::take(&mut scratch.quantized);
    let mut gathered = std::mem::take(&mut scratch.gathered);
    // Its other parts are needed by this thread's own tasks.
    SCRATCH.set(scratch);
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
        parts.iter_mut().map(|part| target(kernels, part, count, strips)).collect();
    let region = Region {
        isa: kernels.isa(),
        far: kernels.fetches_far(),
        x,
        columns,
        tokens: &tokens,
        quantized: &quantized,
        gathered: &gathered,
        targets,
        runs,
    };
    let tasks = region.targets.iter().map(|target| target.tasks).sum::<usize>();
    kernels.pool().run(tasks * region.runs.len(), &|task| {
        region.task(task / tasks, task % tasks);
    });
    drop(region);
    let mut scratch = SCRATCH.take();
    scratch.quantized = quantized;
    scratch.gathered = gathered;
    SCRATCH.set(scratch);
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
fn target<'p>(kernels: &Kernels, part: &'p mut Part<'_>, count: usize, strips: bool) -> Target<'p> {
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
    Target {
        matrices: matrices.map(|matrix| matrix.map(|matrix| (matrix, form(kernels, matrix)))),
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
                let mut scratch = SCRATCH.take();
                let first = task * target.chunk;
                let last = (first + target.chunk).min(target.rows.div_ceil(BLOCK));
                let all = target.rows.div_ceil(BLOCK);
                let strips = blocks.iter().take_while(|block| block.strips).count();
                let (in_strips, blocks) = blocks.split_at(strips);
                if !in_strips.is_empty() {
                    for strip in (first..last).step_by(STRIP) {
                        let strip = strip..(strip + STRIP).min(last);
                        self.strip(target, strip, in_strips, &mut scratch);
                    }
                }
                for rows in first..last {
                    // Even a task's last block is followed by one that this thread takes next, mostly.
                    let more = rows + 1 < all && in_strips.is_empty();
                    self.rows(target, rows, more, blocks, &mut scratch);
                }
                SCRATCH.set(scratch);
                return;
            }
            task -= target.tasks;
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
        for (n, matrix) in target.matrices.iter().enumerate() {
            if let Some((matrix, Some(_))) = matrix {
                let place = scratch.scales(n, matrix, 1);
                self.decode_scales(*matrix, rows, place);
            }
        }
        for (place, block) in blocks.iter().enumerate() {
            for (n, matrix) in target.matrices.iter().enumerate() {
                let out = scratch.out[n].take(block.width * BLOCK);
                let Some((matrix, form)) = matrix else { continue };
                match (matrix.weight, form) {
                    (Weight::Packed { packing, words }, Some(form)) => {
                        let scales = scratch.scales[n].take(0);
                        let biases = scratch.biases[n].take(0);
                        let weight = Packed { packing, words, matrix: *matrix, scales, biases };
                        let prefetch = more && place == 0;
                        self.packed(&weight, *form, rows, block, prefetch, out);
                    }
                    (Weight::Dense { float, bytes }, _) => {
                        let block = std::slice::from_ref(block);
                        let rows = self.dense_rows(matrix, float, bytes, rows, block, out);
                        dense::block(self.isa, &rows);
                    }
                    _ => {}
                }
            }
            self.finish(target, rows, block, 0, scratch);
        }
    }

    /// A block of rows by blocks of tokens that follow each other.
    pub(super) fn dense_rows<'a>(
        &'a self,
        matrix: &Matrix<'_>,
        float: Float,
        bytes: &'a [u8],
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
            count: BLOCK.min(matrix.rows - first),
            x: self.x,
            tokens: self.tokens.live(blocks),
            far: self.far,
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
        matrix: Matrix<'_>,
        rows: usize,
        [scales, biases]: [*mut f32; 2],
    ) {
        let Weight::Packed { packing, words } = matrix.weight else { return };
        let columns = matrix.columns;
        let tile_words = packing.row_words(columns) * LANES;
        for n in 0..TILES {
            let tile = tile(matrix, rows, n);
            let words = &words[tile * tile_words..][..tile_words];
            let words = words[packing.code_words(columns) * LANES..].as_ptr().cast();
            let place = n * LANES;
            let (scales, biases) = (scales.wrapping_add(place), biases.wrapping_add(place));
            let operation = DecodeScales { packing, columns, words, scales, biases };
            // SAFETY: it is available; the words are those of the scales, and there is room for the groups.
            unsafe { dispatch(self.isa, operation) };
        }
    }

    fn packed(
        &self,
        weight: &Packed<'_>,
        form: Form,
        rows: usize,
        block: &Block,
        prefetch: bool,
        out: *mut f32,
    ) {
        let packing = weight.packing;
        let Some((_, x)) = self.quantized.iter().find(|(found, _)| *found == Some(form)) else {
            return;
        };
        let x = x.view(block);
        let tile_words = packing.row_words(self.columns) * LANES;
        let codes = [0, 1].map(|n| {
            let tile = tile(weight.matrix, rows, n);
            weight.words[tile * tile_words..].as_ptr().cast::<i32>()
        });
        // The next block of rows lies behind this one. All of it is fetched meanwhile.
        let units = self.columns.div_ceil(UNIT).max(1);
        let next_lines = tile_words.div_ceil(LANES * units);
        let operands = Operands {
            codes,
            next: codes[0].wrapping_add(TILES * tile_words).cast(),
            next_lines: if prefetch { next_lines } else { 0 },
            far: self.far,
            tile_bytes: 4 * tile_words,
            x: x.words,
            starts: x.starts,
            x_scales: x.scales,
            x_sums: x.sums,
            scales: weight.scales,
            biases: if packing.has_biases() { weight.biases } else { std::ptr::null() },
            group: packing.group(),
            groups: self.columns / packing.group(),
            out,
        };
        // SAFETY: it is available; a tile has codes for all columns, x is quantised for this block in this
        // packing's form, and the scales of these rows have been decoded.
        unsafe { multiply(self.isa, packing, form.words(block.width), block.width, operands) };
    }
}

/// A packed matrix, and the scales of the block of rows in hand.
struct Packed<'a> {
    packing: Packing,
    words: &'a [u32],
    matrix: Matrix<'a>,
    scales: *mut f32,
    biases: *mut f32,
}

/// Tile `n` of a block of rows; the last tile where there is none.
pub(super) fn tile(matrix: Matrix<'_>, rows: usize, n: usize) -> usize {
    (rows * TILES + n).min(Packing::tiles(matrix.rows) - 1)
}
