//! What a task does where many tokens share what is done to a weight: some blocks of rows at once, so that activations, once fetched,
//! are multiplied by all of them.

use std::ops::Range;

use super::dense;
use super::micro::{BLOCK, TILES};
use super::operand::{Operand, Packed};
use super::task::{Region, Scratch, Target};
use super::tiles::{TileRows, multiply_tiles};
use super::tokens::Block;
use super::widened;
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
        for (n, operand) in target.matrices.iter().enumerate() {
            let mut out = scratch.out[n].take(strip.len() * tokens * BLOCK);
            match operand {
                Some(Operand::Packed(packed)) => {
                    self.packed_strip(n, packed, strip.clone(), blocks, scratch, out);
                }
                Some(Operand::Dense { float, bytes, rows: all }) => {
                    for rows in strip.clone() {
                        let rows = self.dense_rows(*float, bytes, *all, rows, blocks, out);
                        if self.isa == Isa::Amx {
                            dense::block(self.isa, &rows);
                        } else {
                            let x = self.gathered.from(blocks);
                            widened::strip(self.isa, &rows, x, &mut scratch.widened);
                        }
                        out = out.wrapping_add(tokens * BLOCK);
                    }
                }
                None => {}
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

    /// Of the target's matrix `n`.
    fn packed_strip(
        &self,
        n: usize,
        packed: &Packed<'_>,
        strip: Range<usize>,
        blocks: &[Block],
        scratch: &mut Scratch,
        out: *mut f32,
    ) {
        let places = scratch.scales(n, packed, strip.len());
        let mut codes = [[std::ptr::null(); TILES]; STRIP];
        for (index, rows) in strip.clone().enumerate() {
            let places = places.map(|place| place.wrapping_add(index * packed.block_scales()));
            self.decode_scales(packed, rows, places);
            for (n, codes) in codes[index].iter_mut().enumerate() {
                *codes = packed.tile(rows, n).as_ptr().cast::<i32>();
            }
        }
        // What this thread takes next lies behind, mostly.
        let behind = packed.from(strip.end);
        let rows = TileRows {
            packing: packed.packing,
            form: packed.form,
            columns: self.columns,
            codes,
            rows: strip.len(),
            scales: places[0],
            biases: places[1],
            x: packed.x,
            next: behind.as_ptr().cast(),
            next_bytes: 4 * (strip.len() * TILES * packed.tile_words).min(behind.len()),
        };
        // SAFETY: forms are multiplied by tiles only where there are; a tile has codes for all columns, x is quantised for these
        // blocks in this form, the scales of these rows have been decoded, and there is room for their products.
        unsafe { multiply_tiles(&rows, blocks, &mut scratch.tiles, out) };
    }
}
