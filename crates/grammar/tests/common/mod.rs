//! Vocabularies, and texts drawn at random from what a constraint allows.

use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use stablemate_engine::{Constraint, Continuation, TokenMask};
use stablemate_grammar::{Grammar, GrammarError, Grammars};
use stablemate_text::Tokenizer;

/// A vocabulary with the ids that end a text.
pub struct Vocabulary {
    pub tokenizer: Tokenizer,
    pub grammars: Grammars,
    pub ends: Vec<u32>,
    pub size: usize,
}

/// One of `fixtures/tokenizers`, under a model with more logits than it has tokens.
pub fn vocabulary(kind: &str) -> Vocabulary {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/tokenizers");
    let tokenizer = Tokenizer::from_file(&path.join(kind).join("tokenizer.json")).unwrap();
    let mut ends = tokenizer.special_ids().iter().copied();
    let ends = vec![ends.next().unwrap(), ends.next().unwrap()];
    let size = tokenizer.vocabulary_size() + 37;
    let grammars = Grammars::new(&tokenizer, size, &ends).unwrap();
    Vocabulary { tokenizer, grammars, ends, size }
}

/// What became of a text.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// Nothing could follow.
    Complete(String),
    /// An end token was drawn.
    Ended(String),
    /// It grew too long.
    Unfinished(String),
}

impl Vocabulary {
    pub fn compile(&self, grammar: &Grammar) -> Result<Box<dyn Constraint>, GrammarError> {
        self.grammars.compile(grammar)
    }

    /// The tokens that may follow.
    pub fn allowed(&self, constraint: &mut Box<dyn Constraint>) -> (Continuation, Vec<u32>) {
        let mut mask = TokenMask::none(self.size);
        let continuation = constraint.mask(&mut mask).unwrap();
        let known = self.tokenizer.vocabulary_size() as u32;
        assert!((known..self.size as u32).all(|id| !mask.allows(id)), "a row without a token");
        (continuation, (0..known).filter(|id| mask.allows(*id)).collect())
    }

    /// Follows a text in single tokens, greedily; whether it is allowed, and what may follow it.
    pub fn follow(&self, grammar: &Grammar, text: &str) -> Result<(Continuation, bool), String> {
        let mut constraint = self.compile(grammar).map_err(|error| error.to_string())?;
        let mut state = Continuation::Open;
        for id in self.tokenizer.encode(text, false).unwrap() {
            let (_, allowed) = self.allowed(&mut constraint);
            if !allowed.contains(&id) {
                return Err(format!("{:?} is not allowed", self.tokenizer.token(id)));
            }
            state = constraint.accept(id)?;
        }
        let (open, allowed) = self.allowed(&mut constraint);
        let end = self.ends.iter().all(|id| allowed.contains(id));
        assert!(end || !self.ends.iter().any(|id| allowed.contains(id)), "all end tokens or none");
        assert!(state == Continuation::Open || open == Continuation::Complete);
        Ok((open, end || open == Continuation::Complete))
    }

    /// A random text. Short tokens and ends are preferred, so that texts come to an end.
    pub fn draw(&self, constraint: &mut Box<dyn Constraint>, seed: u64) -> Outcome {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = Vec::new();
        for step in 0..600 {
            let (continuation, allowed) = self.allowed(constraint);
            let text = || String::from_utf8(bytes.clone()).unwrap();
            if continuation == Continuation::Complete {
                assert!(allowed.is_empty());
                return Outcome::Complete(text());
            }
            assert!(
                !allowed.is_empty(),
                "nothing may follow {:?}",
                String::from_utf8_lossy(&bytes)
            );
            if let Some(end) = self.ends.iter().find(|end| allowed.contains(end))
                && (random.next_u32().is_multiple_of(3) || step > 200)
            {
                assert_eq!(constraint.accept(*end).unwrap(), Continuation::Complete);
                return Outcome::Ended(text());
            }
            let id = self.choose(&allowed, &mut random, step);
            if self.ends.contains(&id) {
                continue;
            }
            bytes.extend(self.tokenizer.token_bytes(id).unwrap());
            if constraint.accept(id).unwrap() == Continuation::Complete {
                return Outcome::Complete(String::from_utf8(bytes).unwrap());
            }
        }
        Outcome::Unfinished(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn choose(&self, allowed: &[u32], random: &mut ChaCha8Rng, step: u32) -> u32 {
        let closing = |id: &&u32| {
            let bytes = self.tokenizer.token_bytes(**id).unwrap_or_default();
            matches!(bytes.as_slice(), b"\"" | b"]" | b"}" | b"," | b":")
        };
        let closing: Vec<u32> = allowed.iter().filter(closing).copied().collect();
        let late = step > 100 || random.next_u32().is_multiple_of(4);
        // A comma never closes anything, so once it is late, brackets come first.
        let pool = if closing.is_empty() || !late { allowed } else { &closing };
        let index = random.next_u32() as usize % pool.len();
        if step > 150 && !closing.is_empty() { *pool.last().unwrap() } else { pool[index] }
    }
}
