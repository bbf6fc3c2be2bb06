//! Which rows of x are computed, in which blocks.

use crate::isa::Isa;

/// Live tokens, and how they are cut into blocks for the inner product.
pub(super) struct Tokens {
    live: Vec<usize>,
    blocks: Vec<Block>,
}

/// Some tokens that are computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The first one's place among the live ones.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// For how many the inner product is compiled; those beyond `count` are filled up.
    pub width: usize,
    /// Whether they are multiplied by strips of rows, as all blocks before them. With tiles the width is the count.
    pub strips: bool,
    /// Widths of all blocks before.
    pub padded_before: usize,
}

/// The most tokens of a block.
pub(super) const WIDEST: usize = 16;

/// From so many tokens on tiles are worth while.
const TILES_FROM: usize = 12;

/// From so many tokens on it is worth while to widen floats first.
const WIDENED_FROM: usize = 12;

/// How many of `left` tokens come next, as a width of the inner product.
fn width(isa: Isa, left: usize) -> usize {
    match (isa, left) {
        (_, 1) => 1,
        (Isa::Portable, _) | (_, 3 | 4) => 4,
        (_, 2) => 2,
        (Isa::Avx2, _) => 4,
        _ => 8,
    }
}

impl Tokens {
    /// `strips`: products may be multiplied by strips of rows.
    pub(super) fn new(isa: Isa, strips: bool, live: &[i32]) -> Self {
        let is_live = |(token, live): (usize, &i32)| (*live >= 0).then_some(token);
        let live: Vec<usize> = live.iter().enumerate().filter_map(is_live).collect();
        let widened = strips && isa != Isa::Amx && live.len() >= WIDENED_FROM;
        let mut blocks = Vec::new();
        let (mut first, mut padded_before) = (0, 0);
        while first < live.len() {
            let left = live.len() - first;
            let tiles = strips && isa == Isa::Amx && left >= TILES_FROM;
            let width = if tiles { left.min(WIDEST) } else { width(isa, left) };
            let count = width.min(left);
            blocks.push(Block { first, count, width, strips: tiles || widened, padded_before });
            (first, padded_before) = (first + count, padded_before + width);
        }
        Self { live, blocks }
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The tokens of blocks that follow each other: rows of x.
    pub(super) fn live(&self, blocks: &[Block]) -> &[usize] {
        let count: usize = blocks.iter().map(|block| block.count).sum();
        blocks.first().map_or(&[], |block| &self.live[block.first..block.first + count])
    }

    /// Widths of all blocks.
    pub(super) fn padded(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.padded_before + block.width)
    }

    /// Runs of blocks of at most `most` tokens (or one block), as ranges.
    pub(super) fn runs(&self, most: usize) -> Vec<std::ops::Range<usize>> {
        let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
        for (n, block) in self.blocks.iter().enumerate() {
            match runs.last_mut() {
                Some(run)
                    if block.padded_before + block.width - self.blocks[run.start].padded_before
                        <= most =>
                {
                    run.end = n + 1;
                }
                _ => runs.push(n..n + 1),
            }
        }
        runs
    }
}
