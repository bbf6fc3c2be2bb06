//! What a task does: some blocks of rows of a matrix by a run of a section's tokens.

use std::cell::RefCell;
use std::ops::Range;

use stablemate_encodings::{Float, LANES};

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
use super::widened::Gathered;
use crate::isa::Isa;
use crate::reading::Way;
use crate::simd::dispatch;

/// What a thread keeps.
#[derive(Default)]
pub(super) struct Scratch {
    /// Quantised activations, by form.
    pub(super) quantized: Vec<(Option<Form>, Quantized)>,
    pub(super) gathered: Gathered,
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
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A result as tasks see it.
pub(super) struct Target<'a> {
    pub(super) matrices: [Option<Operand<'a>>; 2],
    pub(super) epilogue: Epilogue<'a>,
    pub(super) out: Shared<f32>,
    pub(super) rows: usize,
    /// Blocks of rows of a task.
    pub(super) chunk: usize,
    /// Tasks of a run of tokens.
    pub(super) tasks: usize,
}

/// Tokens, in runs, and the targets that they are multiplied for.
pub(super) struct Section {
    pub(super) targets: Range<usize>,
    /// Of all blocks.
    pub(super) runs: Vec<Range<usize>>,
    /// Tasks of a run.
    pub(super) tasks: usize,
    /// Tasks of this section and of those before.
    pub(super) end: usize,
}

/// A parallel region.
pub(super) struct Region<'a> {
    pub(super) isa: Isa,
    /// How weights are read.
    pub(super) way: Way,
    pub(super) x: &'a [f32],
    pub(super) columns: usize,
    pub(super) tokens: &'a Tokens,
    pub(super) gathered: &'a Gathered,
    pub(super) targets: Vec<Target<'a>>,
    pub(super) sections: Vec<Section>,
}

impl Region<'_> {
    /// How many tasks there are.
    pub(super) fn tasks(&self) -> usize {
        self.sections.last().map_or(0, |section| section.end)
    }

    /// Does a task.
    pub(super) fn task(&self, task: usize) {
        let section = self.sections.partition_point(|section| section.end <= task);
        let before = section.checked_sub(1).map_or(0, |before| self.sections[before].end);
        let section = &self.sections[section];
        let (run, mut task) = ((task - before) / section.tasks, (task - before) % section.tasks);
        let blocks = &self.tokens.blocks()[section.runs[run].clone()];
        for target in section.targets.clone() {
            let tasks = self.targets[target].tasks;
            if task < tasks {
                SCRATCH.with_borrow_mut(|scratch| self.part(target, task, blocks, scratch));
                return;
            }
            task -= tasks;
        }
    }

    /// A task of the target numbered so.
    fn part(&self, number: usize, task: usize, blocks: &[Block], scratch: &mut Scratch) {
        let target = &self.targets[number];
        let first = task * target.chunk;
        let last = (first + target.chunk).min(target.rows.div_ceil(BLOCK));
        let strips = blocks.iter().take_while(|block| block.strips).count();
        let (in_strips, blocks) = blocks.split_at(strips);
        if !in_strips.is_empty() {
            for strip in (first..last).step_by(STRIP) {
                self.strip(target, strip..(strip + STRIP).min(last), in_strips, scratch);
            }
        }
        for rows in first..last {
            let next = match in_strips {
                [] => self.following(number, rows),
                _ => [std::ptr::null(); 2],
            };
            self.rows(target, rows, next, blocks, scratch);
        }
    }

    /// The packed rows that a thread usually takes after a block of rows: the next block, or the
    /// first one of the next target. Null if there are none.
    fn following(&self, target: usize, rows: usize) -> [*const u8; 2] {
        let more = rows + 1 < self.targets[target].rows.div_ceil(BLOCK);
        let (target, rows) = if more { (target, rows + 1) } else { (target + 1, 0) };
        let Some(target) = self.targets.get(target) else { return [std::ptr::null(); 2] };
        target.matrices.map(|operand| match operand {
            Some(Operand::Packed(packed)) => packed.from(rows).as_ptr().cast(),
            _ => std::ptr::null(),
        })
    }

    /// A block of rows by blocks of tokens. `next`: what is read after it, for each matrix.
    fn rows(
        &self,
        target: &Target<'_>,
        rows: usize,
        next: [*const u8; 2],
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
                        let scales = scales.map(|lines| lines.take(0));
                        let next = if place == 0 { next[n] } else { std::ptr::null() };
                        self.packed(packed, scales, rows, block, next, out);
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
            tokens: self.tokens.inputs(blocks),
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
        for (n, row) in self.tokens.outputs(std::slice::from_ref(block)).iter().enumerate() {
            let at = row * target.rows + first;
            // SAFETY: blocks of rows and of tokens are disjoint, `multiply` borrows the result.
            let out = unsafe { target.out.part(at, count) };
            let place = n * BLOCK;
            let operation = Finish {
                epilogue: target.epilogue.part(at, first, count),
                products: products.map(|values| values.wrapping_add(place)),
                out,
            };
            // SAFETY: it is available; products have been written for `BLOCK` rows, and the
            // epilogue has `count` values.
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
            // SAFETY: it is available; the words are those of the scales, and there is room for the
            // groups.
            unsafe { dispatch(self.isa, operation) };
        }
    }

    /// `scales`: those of the block of rows, and its biases. `next` is fetched meanwhile, a block
    /// of rows.
    fn packed(
        &self,
        packed: &Packed<'_>,
        [scales, biases]: [*mut f32; 2],
        rows: usize,
        block: &Block,
        next: *const u8,
        out: *mut f32,
    ) {
        let Packed { packing, form, groups, units, tile_words, .. } = *packed;
        let x = packed.x.view(block);
        let codes = [0, 1].map(|n| packed.tile(rows, n).as_ptr().cast::<i32>());
        let next_lines = if next.is_null() { 0 } else { tile_words.div_ceil(LANES * units) };
        let operands = Operands {
            codes,
            next,
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
        // SAFETY: it is available; a tile has codes for all columns, x is quantised for this block
        // in this packing's form, and the scales of these rows have been decoded.
        unsafe { multiply(self.isa, packing, form.words(block.width), block.width, operands) };
    }
}
