//! How single tokens read.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use stablemate_text::Tokenizer;

/// Texts whose tokens are remembered.
const MOST_REMEMBERED: usize = 256;

/// How single tokens read in the middle of a text.
pub struct TokenTexts {
    tokenizer: Tokenizer,
    containing: Mutex<HashMap<String, Arc<BTreeSet<u32>>>>,
}

impl std::fmt::Debug for TokenTexts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TokenTexts").finish_non_exhaustive()
    }
}

/// How a token reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenText {
    /// As text; what is no character by itself as U+FFFD.
    pub text: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl TokenText {
    /// As text if it is whole characters, else as OpenAI's completions write bytes: `bytes:\xe6\x9d`.
    pub fn label(&self) -> String {
        if std::str::from_utf8(&self.bytes).is_ok() {
            return self.text.clone();
        }
        let bytes: String = self.bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("bytes:{bytes}")
    }
}

impl TokenTexts {
    /// The tokens of a tokenizer.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        Self { tokenizer: tokenizer.clone(), containing: Mutex::default() }
    }

    /// How a token reads; special tokens as they are written, ids without a token as nothing.
    pub fn get(&self, id: u32) -> TokenText {
        let bytes = self.tokenizer.token_bytes(id).unwrap_or_default();
        TokenText { text: String::from_utf8_lossy(&bytes).into_owned(), bytes }
    }

    /// Which tokens contain each of these texts. Looks through the vocabulary for those it was not asked for lately.
    pub fn containing(&self, texts: &[String]) -> HashMap<String, Arc<BTreeSet<u32>>> {
        let mut result = HashMap::new();
        {
            let known = self.containing.lock().unwrap_or_else(PoisonError::into_inner);
            for text in texts {
                if let Some(ids) = known.get(text) {
                    result.insert(text.clone(), Arc::clone(ids));
                }
            }
        }
        let missing: BTreeSet<&String> =
            texts.iter().filter(|text| !result.contains_key(text.as_str())).collect();
        if missing.is_empty() {
            return result;
        }
        let found = self.search(&missing);
        let mut known = self.containing.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len().saturating_add(found.len()) > MOST_REMEMBERED {
            known.clear();
        }
        for (text, ids) in found {
            known.insert(text.clone(), Arc::clone(&ids));
            result.insert(text, ids);
        }
        result
    }

    fn search(&self, texts: &BTreeSet<&String>) -> HashMap<String, Arc<BTreeSet<u32>>> {
        let mut found: Vec<(&String, BTreeSet<u32>)> =
            texts.iter().map(|text| (*text, BTreeSet::new())).collect();
        let ids = 0..self.tokenizer.vocabulary_size();
        for id in ids.filter_map(|id| u32::try_from(id).ok()) {
            let token = self.get(id).text;
            for (text, ids) in &mut found {
                if token.contains(text.as_str()) {
                    ids.insert(id);
                }
            }
        }
        found.into_iter().map(|(text, ids)| (text.clone(), Arc::new(ids))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_written_as_bytes() {
        let whole = TokenText { text: "é".to_owned(), bytes: "é".as_bytes().to_vec() };
        assert_eq!(whole.label(), "é");
        let part = TokenText { text: "\u{fffd}".to_owned(), bytes: vec![0xE6, 0x9D] };
        assert_eq!(part.label(), r"bytes:\xe6\x9d");
    }
}
