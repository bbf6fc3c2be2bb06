//! What a task does where many tokens share what is done to a weight: some blocks of rows at once, so that activations, once fetched,
//! are multiplied by all of them.

use std::ops::Range;

use stablemate_encodings::{LANES, Packing};

use super::dense;
use super::form::Form;
use super::micro::{BLOCK, TILES};
use super::tiles::{TileRows, multiply_tiles};
use super::tokens::Block;
use super::work::{Region, Scratch, Target, tile};
use super::{Matrix, Weight, widened};
use crate::isa::Isa;

/// The most blocks of rows that are multiplied at once.
pub(super) const STRIP: usize = 2;

impl Region<'_> {
    /// At most [`STRIP`] blocks of rows by blocks of tokens that are multiplied so.
    pub(super) fn strip(
        &self,
        target: &Target<'_>,
        strip: Range<usize>,
        blocks: &[Block],
        scratch: &mut Scratch,
    ) {
        let tokens: usize = blocks.iter().map(|block| block.width).sum();
        for (n, matrix) in target.matrices.iter().enumerate() {
            let out = scratch.out[n].take(strip.len() * tokens * BLOCK);
            let Some((matrix, form)) = matrix else { continue };
            match (matrix.weight, form) {
                (Weight::Packed { packing, words }, Some(form)) => {
                    let weight = Packed { n, matrix: *matrix, packing, words, form: *form };
                    self.packed_strip(&weight, strip.clone(), blocks, scratch, out);
                }
                (Weight::Dense { float, bytes }, _) => {
                    let mut out = out;
                    for rows in strip.clone() {
                        let rows = self.dense_rows(matrix, float, bytes, rows, blocks, out);
                        if self.isa == Isa::Amx {
                            dense::block(self.isa, &rows);
                        } else {
                            let x = self.gathered.from(blocks);
                            widened::strip(self.isa, &rows, x, &mut scratch.widened);
                        }
                        out = out.wrapping_add(tokens * BLOCK);
                    }
                }
                _ => {}
            }
        }
        let mut place = 0;
        for rows in strip {
            for block in blocks {
                self.finish(target, rows, block, place, scratch);
                place += block.width * BLOCK;
            }
        }
    }

    fn packed_strip(
        &self,
        weight: &Packed<'_>,
        strip: Range<usize>,
        blocks: &[Block],
        scratch: &mut Scratch,
        out: *mut f32,
    ) {
        let Packed { n, matrix, packing, words, form } = *weight;
        let Some((_, x)) = self.quantized.iter().find(|(found, _)| *found == Some(form)) else {
            return;
        };
        let places = scratch.scales(n, &matrix, strip.len());
        let count = self.columns / packing.group() * BLOCK;
        let tile_words = packing.row_words(self.columns) * LANES;
        let mut codes = [[std::ptr::null(); TILES]; STRIP];
        for (index, rows) in strip.clone().enumerate() {
            let places = places.map(|place| place.wrapping_add(index * count));
            self.decode_scales(matrix, rows, places);
            for (n, codes) in codes[index].iter_mut().enumerate() {
                *codes = words[tile(matrix, rows, n) * tile_words..].as_ptr().cast::<i32>();
            }
        }
        // What this thread takes next lies behind, mostly.
        let behind = (strip.end * TILES * tile_words).min(words.len());
        let rows = TileRows {
            packing,
            form,
            columns: self.columns,
            codes,
            rows: strip.len(),
            scales: places[0],
            biases: places[1],
            x,
            next: words[behind..].as_ptr().cast(),
            next_bytes: (4 * strip.len() * TILES * tile_words).min(4 * (words.len() - behind)),
        };
        // SAFETY: forms are multiplied by tiles only where there are; a tile has codes for all columns, x is quantised for these
        // blocks in this form, the scales of these rows have been decoded, and there is room for their products.
        unsafe { multiply_tiles(&rows, blocks, &mut scratch.tiles, out) };
    }
}

/// Matrix `n` of a target.
#[derive(Clone, Copy)]
struct Packed<'a> {
    n: usize,
    matrix: Matrix<'a>,
    packing: Packing,
    words: &'a [u32],
    form: Form,
}
