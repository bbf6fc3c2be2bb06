//! What may follow, decided outside of the engine: grammars and schemas.

/// One bit per token of the vocabulary: whether it may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenMask {
    words: Vec<u32>,
    vocabulary: usize,
}

impl TokenMask {
    /// A mask over `vocabulary` tokens that allows none.
    pub fn none(vocabulary: usize) -> Self {
        Self { words: vec![0; vocabulary.div_ceil(32)], vocabulary }
    }

    /// `V`.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Whether a token may come next; none beyond the vocabulary may.
    pub fn allows(&self, token: u32) -> bool {
        let word = self.words.get(token as usize / 32).copied().unwrap_or(0);
        (token as usize) < self.vocabulary && word >> (token % 32) & 1 == 1
    }

    /// Lets a token come next; nothing happens beyond the vocabulary.
    pub fn allow(&mut self, token: u32) {
        if (token as usize) < self.vocabulary {
            self.words[token as usize / 32] |= 1 << (token % 32);
        }
    }

    /// Lets no token come next.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The bits, 32 tokens a word, the lowest bit first. Bits beyond the vocabulary mean nothing.
    pub fn words(&self) -> &[u32] {
        &self.words
    }

    /// The bits, to be written.
    pub fn words_mut(&mut self) -> &mut [u32] {
        &mut self.words
    }
}

/// Whether a constrained text may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// The tokens of the mask may follow.
    Open,
    /// The text is complete and nothing may follow, not even an end token.
    Complete,
}

/// Decides which tokens may follow those it has accepted. Moves between threads: masks are computed
/// beside the model's step.
pub trait Constraint: Send {
    /// Writes into `mask` which tokens may come next. End tokens are among them where the text may end.
    ///
    /// # Errors
    /// Why no mask can be computed; the request fails with it.
    fn mask(&mut self, mask: &mut TokenMask) -> Result<Continuation, String>;

    /// Takes the token that was chosen, one of the last mask's.
    ///
    /// # Errors
    /// Why it cannot follow; the request fails with it.
    fn accept(&mut self, token: u32) -> Result<Continuation, String>;
}
