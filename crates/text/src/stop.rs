//! Stop strings in streamed text.

use crate::error::Error;

/// Finds the first stop string in a text that arrives in pieces, and holds back no more than might begin one.
///
/// A text stops as soon as any stop string is complete in it; if several are complete with the same letter, the
/// longest counts. How the text is cut into pieces makes no difference.
#[derive(Clone, Debug)]
pub struct StopStrings {
    patterns: Vec<Pattern>,
    /// Text that has arrived and may be the beginning of a stop string.
    held: String,
    stopped: bool,
}

/// What one piece of text led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopText {
    /// Text that is certain to come before any stop string, in order, each part once.
    pub text: String,
    /// The stop string that is now complete, by its position in the list given to [`StopStrings::new`]; `text` ends
    /// before it, and everything after it is dropped.
    pub matched: Option<usize>,
}

/// One stop string with the state of its search (Knuth, Morris and Pratt).
#[derive(Clone, Debug)]
struct Pattern {
    bytes: Vec<u8>,
    /// For every length of a matched beginning, the length of the longest shorter beginning it ends with.
    fallback: Vec<usize>,
    /// Length of the longest beginning that the text so far ends with.
    matched: usize,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let bytes = text.as_bytes().to_vec();
        let mut pattern = Pattern { fallback: vec![0; bytes.len() + 1], bytes, matched: 0 };
        for length in 2..=pattern.bytes.len() {
            // The fallback of a beginning is what the search state becomes when fed that beginning from its second byte.
            if let Some(byte) = pattern.bytes.get(length - 1).copied() {
                pattern.advance(byte);
            }
            if let Some(slot) = pattern.fallback.get_mut(length) {
                *slot = pattern.matched;
            }
        }
        pattern.matched = 0;
        pattern
    }

    /// Takes one more byte of the text; whether the stop string is complete with it.
    fn advance(&mut self, byte: u8) -> bool {
        while self.matched > 0 && self.bytes.get(self.matched) != Some(&byte) {
            self.matched = self.fallback.get(self.matched).copied().unwrap_or(0);
        }
        if self.bytes.get(self.matched) == Some(&byte) {
            self.matched += 1;
        }
        self.matched == self.bytes.len()
    }
}

impl StopStrings {
    /// A search for `stops`, which may be none at all.
    ///
    /// # Errors
    /// [`Error::EmptyStopString`].
    pub fn new<S: AsRef<str>>(stops: &[S]) -> Result<StopStrings, Error> {
        if let Some(index) = stops.iter().position(|stop| stop.as_ref().is_empty()) {
            return Err(Error::EmptyStopString { index });
        }
        let patterns = stops.iter().map(|stop| Pattern::new(stop.as_ref())).collect();
        Ok(StopStrings { patterns, held: String::new(), stopped: false })
    }

    /// Takes the next piece of the text. After a match, nothing more comes out.
    pub fn push(&mut self, piece: &str) -> StopText {
        if self.stopped {
            return StopText::default();
        }
        let before = self.held.len();
        self.held.push_str(piece);
        for (offset, byte) in piece.bytes().enumerate() {
            let mut complete: Option<(usize, usize)> = None;
            for (index, pattern) in self.patterns.iter_mut().enumerate() {
                if pattern.advance(byte)
                    && complete.is_none_or(|(length, _)| pattern.bytes.len() > length)
                {
                    complete = Some((pattern.bytes.len(), index));
                }
            }
            if let Some((length, index)) = complete {
                let end = before + offset + 1;
                self.stopped = true;
                let text =
                    self.held.get(..end.saturating_sub(length)).unwrap_or_default().to_owned();
                self.held.clear();
                return StopText { text, matched: Some(index) };
            }
        }
        // A beginning of a stop string starts with a whole character, so this never cuts one.
        let possible = self.patterns.iter().map(|pattern| pattern.matched).max().unwrap_or(0);
        let certain = self.held.len().saturating_sub(possible);
        let rest = self.held.get(certain..).unwrap_or_default().to_owned();
        self.held.truncate(certain);
        StopText { text: std::mem::replace(&mut self.held, rest), matched: None }
    }

    /// What was held back, now that the text has ended without completing a stop string.
    pub fn finish(&mut self) -> String {
        for pattern in &mut self.patterns {
            pattern.matched = 0;
        }
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first end at which any stop string ends, and the longest of those.
    fn naive(text: &str, stops: &[String]) -> (String, Option<usize>) {
        for end in (1..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            let ending = |stop: &String| text[..end].ends_with(stop.as_str());
            let longest = stops.iter().filter(|stop| ending(stop)).map(String::len).max();
            if let Some(length) = longest {
                let index = stops.iter().position(|stop| stop.len() == length && ending(stop));
                return (text[..end - length].to_owned(), index);
            }
        }
        (text.to_owned(), None)
    }

    proptest! {
        #[test]
        fn equals_the_naive_search(
            pieces in proptest::collection::vec("[abé]{0,4}", 0..12),
            stops in proptest::collection::vec("[abé]{1,5}", 0..4),
        ) {
            let mut search = StopStrings::new(&stops).unwrap();
            let (mut text, mut matched) = (String::new(), None);
            for piece in &pieces {
                let found = search.push(piece);
                text.push_str(&found.text);
                matched = matched.or(found.matched);
                prop_assert!(search.held.len() < stops.iter().map(String::len).max().unwrap_or(1));
            }
            text.push_str(&search.finish());
            prop_assert_eq!((text, matched), naive(&pieces.concat(), &stops));
        }
    }

    #[test]
    fn holds_back_only_what_may_begin_a_stop() {
        let mut search = StopStrings::new(&["</s>", "\n\nUser"]).unwrap();
        assert_eq!(search.push("one <"), StopText { text: "one ".into(), matched: None });
        assert_eq!(search.push("b>\n"), StopText { text: "<b>".into(), matched: None });
        assert_eq!(search.push("\nUse"), StopText::default());
        assert_eq!(search.push("r: no"), StopText { text: String::new(), matched: Some(1) });
        assert_eq!(search.push("more"), StopText::default());
        assert_eq!(search.finish(), "");
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        assert!(matches!(StopStrings::new(&["a", ""]), Err(Error::EmptyStopString { index: 1 })));
    }
}
