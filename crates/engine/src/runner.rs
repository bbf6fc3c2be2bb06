//! What the engine needs of a model.

/// Runs steps over a paged cache. Block 0 is reserved for padding and never handed out.
pub trait Runner {
    /// What can go wrong.
    type Error: std::error::Error;

    /// `V`: tokens in the vocabulary, and logits per row.
    fn vocabulary(&self) -> usize;

    /// The longest sequence the model may be given.
    fn context(&self) -> usize;

    /// Tokens of a cache block.
    fn block_length(&self) -> usize;

    /// The most tokens that one step may hold; longer work is split.
    fn step_tokens(&self) -> usize;

    /// Whether keys and values of a prefix stay right when another prompt continues it. They do not
    /// where position embeddings depend on the prompt's length.
    fn reuses_prefixes(&self) -> bool;

    /// Whether each sequence has state beside its blocks, which every one of its tokens overwrites:
    /// recurrent matrices, convolution tails. Sequences need slots then, of which slot 0 is
    /// padding's; a token at position 0 starts from zeros, whatever its slot holds.
    fn keeps_state(&self) -> bool;

    /// The longest sequence whose keys and values stay right when it grows: one token more, and all of
    /// them are computed again, with the length that the sequence has then (LongRoPE).
    fn recomputed_beyond(&self) -> Option<usize> {
        None
    }

    /// `D`: elements of a token's vector.
    fn width(&self) -> usize;

    /// Makes room. What the cache holds stays. Room is never taken back.
    ///
    /// # Errors
    /// Not enough memory, or whatever else the model needs for it.
    fn reserve(&mut self, room: Room) -> Result<(), Self::Error>;

    /// Copies the state in slot `from` over that in slot `to`, as the steps so far left it.
    ///
    /// # Errors
    /// A slot outside the reserved room, or a failure below.
    fn copy_state(&mut self, from: u32, to: u32) -> Result<(), Self::Error>;

    /// Runs a step and returns the logits of its rows, `[rows, V]` row by row.
    ///
    /// # Errors
    /// A step outside the reserved room, or a failure below.
    fn step(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, Self::Error>;

    /// Runs a step and returns the vectors of its rows after the last norm, `[rows, D]` row by row.
    ///
    /// # Errors
    /// As [`Self::step`].
    fn vectors(&mut self, step: &StepInput<'_>) -> Result<Vec<f32>, Self::Error>;
}

/// Room in a runner's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Sequences of a step.
    pub sequences: usize,
    /// Tokens of the longest sequence.
    pub tokens: usize,
    /// Blocks: 1 to `blocks` may be used.
    pub blocks: usize,
    /// Slots of per-sequence state: 1 to `slots` may be used. Means nothing to a runner without
    /// state.
    pub slots: usize,
}

impl Room {
    /// Room for `sequences` of `tokens` tokens each, in blocks of `block_length`, with a slot each.
    pub fn of(sequences: usize, tokens: usize, block_length: usize) -> Self {
        let blocks = sequences * tokens.div_ceil(block_length);
        Self { sequences, tokens, blocks, slots: sequences }
    }
}

/// One step over `T` tokens of `S` sequences.
///
/// The tokens of a sequence stand together, at consecutive positions in ascending order. They
/// continue what earlier steps computed of the sequence, or begin it at position 0.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'s> {
    /// `[T]` token ids.
    pub tokens: &'s [u32],
    /// `[T]` positions in their sequences.
    pub positions: &'s [u32],
    /// `[T]` rows of `block_tables`.
    pub sequences: &'s [u32],
    /// `[T]` lengths of their sequences when they were given: a prompt's tokens carry its whole
    /// length, generated ones their position plus one.
    pub lengths: &'s [u32],
    /// `[S][≤ M]` blocks of each sequence, in order.
    pub block_tables: &'s [Vec<u32>],
    /// `[S]` the slot of each sequence's state, no slot twice. Means nothing to a runner without
    /// state.
    pub slots: &'s [u32],
    /// `[R]` the tokens of this step whose logits are wanted.
    pub rows: &'s [u32],
}
