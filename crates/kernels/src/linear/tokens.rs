//! Which rows of x are computed, in which blocks.

use std::ops::Range;

use crate::isa::Isa;

/// Rows of x and how they are cut into blocks for the inner product. A *section* is a list of rows
/// that is multiplied by weights of its own; a *place* is an index into the sections' rows, one
/// section after the other.
pub(crate) struct Tokens {
    isa: Isa,
    /// Whether products may be multiplied by strips of rows.
    strips: bool,
    /// The row of x at each place.
    inputs: Vec<usize>,
    /// The row of its section's result at each place.
    outputs: Vec<usize>,
    blocks: Vec<Block>,
    /// The blocks of each section.
    sections: Vec<Range<usize>>,
    /// Blocks that share their activations with no block before them.
    distinct: Vec<usize>,
    /// Widths of the distinct blocks.
    padded: usize,
    /// Where the activations of a block of one row are, by row.
    singles: Vec<Option<usize>>,
}

/// Some tokens that are computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// The place of the first one.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// For how many the inner product is compiled; those beyond `count` are filled up.
    pub width: usize,
    /// Whether they are multiplied by strips of rows, as all blocks of their section before them.
    /// With tiles the width is the count.
    pub strips: bool,
    /// Widths of all distinct blocks before the activations of this one.
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
    fn new(isa: Isa, strips: bool) -> Self {
        Self {
            isa,
            strips,
            inputs: Vec::new(),
            outputs: Vec::new(),
            blocks: Vec::new(),
            sections: Vec::new(),
            distinct: Vec::new(),
            padded: 0,
            singles: Vec::new(),
        }
    }

    /// One section: the rows with `live >= 0`, whose results lie where they do.
    pub(super) fn live(isa: Isa, strips: bool, live: &[i32]) -> Self {
        let mut tokens = Self::new(isa, strips);
        let is_live = |(token, live): (usize, &i32)| (*live >= 0).then_some(token);
        tokens.inputs = live.iter().enumerate().filter_map(is_live).collect();
        tokens.outputs.clone_from(&tokens.inputs);
        tokens.cut(0);
        tokens
    }

    /// A section for each list of rows. A row's result lies where the row stands in its list.
    pub(super) fn sections<'r>(
        isa: Isa,
        strips: bool,
        sections: impl Iterator<Item = &'r [usize]>,
    ) -> Self {
        let mut tokens = Self::new(isa, strips);
        for rows in sections {
            let first = tokens.inputs.len();
            tokens.inputs.extend(rows);
            tokens.outputs.extend(0..rows.len());
            tokens.cut(first);
        }
        tokens
    }

    /// Cuts a section, which begins at the place `first`, into blocks.
    fn cut(&mut self, mut first: usize) {
        let begin = self.blocks.len();
        let widened =
            self.strips && self.isa != Isa::Amx && self.inputs.len() - first >= WIDENED_FROM;
        while first < self.inputs.len() {
            let left = self.inputs.len() - first;
            let tiles = self.strips && self.isa == Isa::Amx && left >= TILES_FROM;
            let width = if tiles { left.min(WIDEST) } else { width(self.isa, left) };
            let count = width.min(left);
            let strips = tiles || widened;
            let padded_before = self.activations(first, count, width);
            self.blocks.push(Block { first, count, width, strips, padded_before });
            first += count;
        }
        self.sections.push(begin..self.blocks.len());
    }

    /// Where the activations of the next block are. Blocks of one row share them if it is the same
    /// row.
    fn activations(&mut self, first: usize, count: usize, width: usize) -> usize {
        let new = self.padded;
        if count == 1 && width == 1 {
            let row = self.inputs[first];
            if self.singles.len() <= row {
                self.singles.resize(row + 1, None);
            }
            if let Some(known) = self.singles[row] {
                return known;
            }
            self.singles[row] = Some(new);
        }
        self.distinct.push(self.blocks.len());
        self.padded += width;
        new
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The blocks of a section.
    pub(super) fn section(&self, section: usize) -> &[Block] {
        &self.blocks[self.sections[section].clone()]
    }

    /// Blocks that share their activations with no block before them.
    pub(super) fn distinct(&self) -> &[usize] {
        &self.distinct
    }

    /// The rows of x at the places of blocks that follow each other.
    pub(super) fn inputs(&self, blocks: &[Block]) -> &[usize] {
        &self.inputs[places(blocks)]
    }

    /// The rows of the result at the places of blocks that follow each other.
    pub(super) fn outputs(&self, blocks: &[Block]) -> &[usize] {
        &self.outputs[places(blocks)]
    }

    /// Widths of the distinct blocks.
    pub(super) fn padded(&self) -> usize {
        self.padded
    }

    /// Whether there is nothing but sections of at most one row.
    pub(super) fn single(&self) -> bool {
        !self.blocks.is_empty()
            && self.sections.iter().all(|blocks| blocks.len() <= 1)
            && self.blocks.iter().all(|block| block.count == 1)
    }

    /// Runs of a section's blocks of at most `most` tokens (or one block), as ranges of all blocks.
    pub(super) fn runs(&self, section: usize, most: usize) -> Vec<Range<usize>> {
        let mut runs: Vec<Range<usize>> = Vec::new();
        let mut tokens = 0;
        for n in self.sections[section].clone() {
            tokens += self.blocks[n].width;
            match runs.last_mut() {
                Some(run) if tokens <= most => run.end = n + 1,
                _ => {
                    tokens = self.blocks[n].width;
                    runs.push(n..n + 1);
                }
            }
        }
        runs
    }
}

/// The places of blocks that follow each other.
fn places(blocks: &[Block]) -> Range<usize> {
    let count: usize = blocks.iter().map(|block| block.count).sum();
    let first = blocks.first().map_or(0, |block| block.first);
    first..first + count
}
