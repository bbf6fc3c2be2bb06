//! A tokenizer as llguidance sees it: the bytes of every token, in a trie.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use stablemate_engine::TokenMask;
use stablemate_text::Tokenizer;
use toktrie::{INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie, TokenId, TokenizerEnv};

use crate::GrammarError;

/// A longer token has no place in the trie, whose nodes count their parents in 10 bits. No text needs it.
const LONGEST_TOKEN: usize = 1000;

/// More nodes than this do not fit into the trie.
const LARGEST_VOCABULARY: usize = 1 << 22;

/// The tokens that grammars choose from.
pub(crate) struct Vocabulary {
    pub(crate) environment: TokEnv,
    /// Every token that means something.
    pub(crate) known: TokenMask,
    /// Tokens that end a text.
    pub(crate) ends: TokenMask,
}

impl Vocabulary {
    pub(crate) fn new(
        tokenizer: &Tokenizer,
        size: usize,
        end_ids: &[u32],
    ) -> Result<Vocabulary, GrammarError> {
        if size == 0 || size > LARGEST_VOCABULARY {
            return Err(wrong(format!(
                "the model has {size} logits; 1 to {LARGEST_VOCABULARY} are possible"
            )));
        }
        let mut known = TokenMask::none(size);
        let mut ends = TokenMask::none(size);
        for id in end_ids {
            if *id as usize >= size || tokenizer.token(*id).is_none() {
                return Err(wrong(format!(
                    "end token {id} is not in the vocabulary of {} tokens, or beyond the model's {size} logits",
                    tokenizer.vocabulary_size()
                )));
            }
            ends.allow(*id);
            known.allow(*id);
        }
        let mut words = Vec::with_capacity(size);
        for id in (0..=u32::MAX).take(size) {
            let word = word(tokenizer, id, ends.allows(id));
            if !word.is_empty() {
                known.allow(id);
            }
            words.push(word);
        }
        let environment = Arc::new(Environment { trie: trie(words, end_ids)? });
        Ok(Vocabulary { environment, known, ends })
    }
}

fn wrong(message: String) -> GrammarError {
    GrammarError::Tokenizer { message }
}

fn trie(words: Vec<Vec<u8>>, end_ids: &[u32]) -> Result<TokTrie, GrammarError> {
    let count = u32::try_from(words.len()).unwrap_or(u32::MAX);
    let first_end = end_ids.first().copied().unwrap_or(INVALID_TOKEN);
    let build = || {
        let trie = TokTrie::from(&TokRxInfo::new(count, first_end), &words);
        if end_ids.is_empty() { trie } else { trie.with_eos_tokens(end_ids) }
    };
    catch_unwind(AssertUnwindSafe(build)).map_err(|_| {
        let bytes: usize = words.iter().map(Vec::len).sum();
        wrong(format!("its {count} tokens of {bytes} bytes are more than a trie can hold"))
    })
}

/// The bytes of a token in the trie; none if no grammar may ever choose it.
///
/// The byte 0xFF, which no text contains, marks what is not text: special tokens, and added ones in angle brackets,
/// marks of structure such as Qwen's `<tool_call>`. Grammars name them; no string of a grammar matches them.
fn word(tokenizer: &Tokenizer, id: u32, end: bool) -> Vec<u8> {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    if bytes.is_empty() || bytes.len() > LONGEST_TOKEN {
        return Vec::new();
    }
    if end || is_mark(tokenizer, id, &bytes) {
        return [&[TokTrie::SPECIAL_TOKEN_MARKER], bytes.as_slice()].concat();
    }
    if bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { bytes }
}

fn is_mark(tokenizer: &Tokenizer, id: u32, bytes: &[u8]) -> bool {
    let brackets = bytes.len() > 2 && bytes.starts_with(b"<") && bytes.ends_with(b">");
    tokenizer.is_special(id) || (brackets && tokenizer.is_added(id))
}

struct Environment {
    trie: TokTrie,
}

impl TokenizerEnv for Environment {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.trie.greedy_tokenize(bytes)
    }

    /// Tokens are never forced: of all ways to cut an allowed text into tokens, the model chooses.
    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}
