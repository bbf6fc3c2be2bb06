//! The cache's blocks: who owns them, and what those still hold that nobody owns.
//!
//! A block's content is named when it is full. What a block holds depends on all tokens before it, so
//! a content is found by its parent's name and its own tokens, both compared on a hit: a collision of
//! hashes can lose a hit, but never gives a wrong one. Names are never used twice.

use crate::slots::Slots;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

/// A known prefix of whole blocks; the default is the empty one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chain {
    /// Blocks.
    pub depth: usize,
    /// The last block's content; 0 before the first.
    name: u64,
}

/// What is there of a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// The blocks from which the prompt can be continued, in order.
    pub blocks: Vec<u32>,
    /// Their content.
    pub chain: Chain,
    /// How many of them nobody owns.
    pub idle: usize,
    /// Blocks whose content is known. More than `blocks` where per-sequence state is kept, and no
    /// snapshot of it was taken at the end of the last known block.
    pub known: usize,
    /// The slot of the snapshot at the end of `blocks`, where per-sequence state is kept.
    pub snapshot: Option<u32>,
}

impl Prefix {
    /// Its tokens, in blocks of `length`.
    pub fn tokens(&self, length: usize) -> usize {
        self.blocks.len() * length
    }
}

/// Blocks 1 to `N`. An owned block has references; a free one is either idle (its content is known
/// and may be found), blank (used before, worth nothing) or untouched.
#[derive(Debug)]
pub(crate) struct Blocks {
    length: usize,
    /// Block `n` at `n`; 0 is the runner's.
    blocks: Vec<Block>,
    blank: Vec<u32>,
    /// The first block that was never used: memory that the system may not have given yet.
    untouched: u32,
    /// By the time of release, the deepest of one release first: a block goes before its parent.
    idle: BTreeSet<(u64, Reverse<usize>, u32)>,
    /// Blocks by the hash of their content.
    contents: HashMap<u64, u32>,
    /// Per-sequence state, of which a prefix needs a snapshot.
    pub slots: Slots,
    names: u64,
    releases: u64,
    hash: fn(u64, &[u32]) -> u64,
}

#[derive(Debug, Default)]
struct Block {
    references: usize,
    released: u64,
    content: Option<Content>,
}

#[derive(Debug)]
struct Content {
    name: u64,
    parent: u64,
    depth: usize,
    tokens: Box<[u32]>,
    hash: u64,
}

impl Blocks {
    /// `total` free blocks of `length` tokens. A prefix is found up to a snapshot among `slots`; up
    /// to any block if there are none.
    pub fn new(total: usize, length: usize, slots: Slots) -> Self {
        Self {
            length,
            blocks: (0..=total).map(|_| Block::default()).collect(),
            blank: Vec::new(),
            untouched: 1,
            idle: BTreeSet::new(),
            contents: HashMap::new(),
            slots,
            names: 0,
            releases: 0,
            hash: |parent, tokens| {
                let mut hasher = DefaultHasher::new();
                (parent, tokens).hash(&mut hasher);
                hasher.finish()
            },
        }
    }

    /// Tokens of a block.
    pub fn length(&self) -> usize {
        self.length
    }

    /// All blocks.
    pub fn total(&self) -> usize {
        self.blocks.len() - 1
    }

    /// Blocks that nobody owns.
    pub fn available(&self) -> usize {
        self.blank.len() + self.idle.len() + self.blocks.len() - self.untouched as usize
    }

    /// Free blocks whose content is known.
    pub fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Looks up the longest known prefix of at most `most` whole blocks. Changes nothing.
    pub fn lookup(&self, tokens: &[u32], most: usize) -> Prefix {
        let mut prefix = Prefix::default();
        let (mut blocks, mut chain, mut idle) = (Vec::new(), Chain::default(), 0);
        for tokens in tokens.chunks_exact(self.length).take(most) {
            let hash = (self.hash)(chain.name, tokens);
            let Some((block, longer)) = self.find(hash, chain, tokens) else { break };
            chain = longer;
            idle += usize::from(self.blocks[block as usize].references == 0);
            blocks.push(block);
            let snapshot = self.slots.snapshot(block);
            if snapshot.is_some() || self.slots.total() == 0 {
                prefix = Prefix { chain, idle, snapshot, ..prefix };
            }
        }
        prefix.known = blocks.len();
        blocks.truncate(prefix.chain.depth);
        prefix.blocks = blocks;
        prefix
    }

    /// Becomes an owner of blocks that were looked up.
    pub fn share(&mut self, blocks: &[u32]) {
        for &number in blocks {
            let block = &mut self.blocks[number as usize];
            if block.references == 0 {
                let depth = block.content.as_ref().map_or(0, |content| content.depth);
                self.idle.remove(&(block.released, Reverse(depth), number));
            }
            block.references += 1;
        }
    }

    /// A block to write into. Blank ones go first: their memory is there already. Untouched ones are
    /// next, before any content is lost: their memory was promised at the start. Then the content
    /// that was not used for the longest time goes.
    pub fn allocate(&mut self) -> Option<u32> {
        let number = if let Some(number) = self.blank.pop() {
            number
        } else if (self.untouched as usize) < self.blocks.len() {
            self.untouched += 1;
            self.untouched - 1
        } else {
            let (_, _, number) = self.idle.pop_first()?;
            self.unname(number);
            number
        };
        self.blocks[number as usize].references = 1;
        Some(number)
    }

    /// Names what an owned block holds after the prefix `chain`. If another block holds the same, that
    /// one is owned instead. Returns the longer prefix; `None` if hashes collide: nothing behind such
    /// a block can be found.
    pub fn name(&mut self, chain: Chain, block: &mut u32, tokens: &[u32]) -> Option<Chain> {
        debug_assert_eq!(tokens.len(), self.length);
        let hash = (self.hash)(chain.name, tokens);
        if let Some((known, chain)) = self.find(hash, chain, tokens) {
            self.share(&[known]);
            self.release(&[std::mem::replace(block, known)]);
            return Some(chain);
        }
        if self.contents.contains_key(&hash) {
            return None;
        }
        self.names += 1;
        let (name, depth) = (self.names, chain.depth + 1);
        self.contents.insert(hash, *block);
        self.blocks[*block as usize].content =
            Some(Content { name, parent: chain.name, depth, tokens: tokens.into(), hash });
        Some(Chain { depth, name })
    }

    /// An owner leaves its blocks. Known contents stay until their blocks are needed.
    pub fn release(&mut self, blocks: &[u32]) {
        self.releases += 1;
        for &number in blocks {
            let block = &mut self.blocks[number as usize];
            block.references -= 1;
            if block.references > 0 {
                continue;
            }
            block.released = self.releases;
            match &block.content {
                Some(content) => {
                    self.idle.insert((block.released, Reverse(content.depth), number));
                }
                None => self.blank.push(number),
            }
        }
    }

    /// An owner leaves its blocks, and nobody shall find what they hold, nor what was computed from
    /// it. What other sequences own stays known.
    pub fn forget(&mut self, blocks: &[u32]) {
        self.release(blocks);
        let mut lost: HashSet<u64> = HashSet::new();
        let free = |block: &Block| block.references == 0;
        for &number in blocks {
            let block = &self.blocks[number as usize];
            lost.extend(block.content.as_ref().filter(|_| free(block)).map(|content| content.name));
        }
        // Parents have smaller names than their children: one pass in order of names finds all.
        let mut known: Vec<(u64, u64, u32)> = self
            .contents
            .values()
            .filter_map(|&number| {
                let content = self.blocks[number as usize].content.as_ref()?;
                Some((content.name, content.parent, number))
            })
            .collect();
        known.sort_unstable();
        for (name, parent, number) in known {
            if lost.contains(&name) || lost.contains(&parent) {
                lost.insert(name);
                let content = self.unname(number);
                let block = &self.blocks[number as usize];
                let depth = content.map_or(0, |content| content.depth);
                if self.idle.remove(&(block.released, Reverse(depth), number)) {
                    self.blank.push(number);
                }
            }
        }
    }

    /// Whether every block has exactly one state and as many references as `tables` hold.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check<'t>(&self, tables: impl Iterator<Item = &'t [u32]>) -> Result<(), String> {
        let mut held = vec![0; self.blocks.len()];
        for &number in tables.flatten() {
            held[number as usize] += 1;
        }
        let owned = held.iter().filter(|count| **count > 0).count();
        if owned + self.available() != self.total() {
            let (free, total) = (self.available(), self.total());
            return Err(format!("{owned} blocks owned + {free} free are not {total}"));
        }
        for (number, block) in self.blocks.iter().enumerate() {
            let references = block.references;
            if references != held[number] {
                return Err(format!("block {number}: {references}, held {}", held[number]));
            }
            let Some(content) = &block.content else { continue };
            if self.contents.get(&content.hash) != Some(&(number as u32)) {
                return Err(format!("block {number} cannot be found by its content"));
            }
            let entry = (block.released, Reverse(content.depth), number as u32);
            if self.idle.contains(&entry) != (references == 0) {
                return Err(format!("block {number} with {references} references is misplaced"));
            }
        }
        self.check_chains()
    }

    /// Whether every slot has exactly one use, `held` being those of running sequences.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_slots(&self, held: impl Iterator<Item = u32>) -> Result<(), String> {
        self.slots.check(held, |block| self.blocks[block as usize].content.is_some())
    }

    /// Contents are lost from the ends of chains, so that each one's parent is known.
    fn check_chains(&self) -> Result<(), String> {
        let contents = || self.blocks.iter().filter_map(|block| block.content.as_ref());
        let names: HashSet<u64> = contents().map(|content| content.name).collect();
        if names.len() != self.contents.len() {
            return Err(format!("{} contents, {} found", names.len(), self.contents.len()));
        }
        let orphan = contents().find(|one| one.parent != 0 && !names.contains(&one.parent));
        orphan.map_or(Ok(()), |content| Err(format!("the parent of {content:?} is lost")))
    }

    fn find(&self, hash: u64, chain: Chain, tokens: &[u32]) -> Option<(u32, Chain)> {
        let number = *self.contents.get(&hash)?;
        let content = self.blocks[number as usize].content.as_ref()?;
        let same = content.parent == chain.name && *content.tokens == *tokens;
        same.then_some((number, Chain { depth: content.depth, name: content.name }))
    }

    fn unname(&mut self, number: u32) -> Option<Content> {
        let content = self.blocks[number as usize].content.take()?;
        self.contents.remove(&content.hash);
        self.slots.lose(number);
        Some(content)
    }
}

#[cfg(test)]
impl Blocks {
    /// Finds contents by another hash.
    pub fn with_hash(self, hash: fn(u64, &[u32]) -> u64) -> Self {
        Self { hash, ..self }
    }
}
