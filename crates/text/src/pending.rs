//! Bytes that arrive one after another and may not be whole characters yet.

/// How many U+FFFD stand for bytes that are no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replacement {
    /// One for every byte, as SentencePiece does with byte tokens.
    PerByte,
    /// One for every maximal part of a character, as Unicode recommends and [`String::from_utf8_lossy`] does.
    PerSequence,
}

/// The bytes of a character that is not complete yet: never more than three after a call.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    replacement: Replacement,
}

impl Pending {
    pub(crate) fn new(replacement: Replacement) -> Pending {
        Pending { bytes: Vec::new(), replacement }
    }

    /// Adds `bytes` and appends to `out` all text that no later byte can change.
    pub(crate) fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.bytes.extend_from_slice(bytes);
        let mut rest = self.bytes.as_slice();
        while let Some(chunk) = rest.utf8_chunks().next() {
            out.push_str(chunk.valid());
            let (_, after) = rest.split_at(chunk.valid().len());
            let invalid = chunk.invalid().len();
            // A character cut off by the end of what has arrived may still be completed.
            let unfinished = std::str::from_utf8(after)
                .is_err_and(|e| e.error_len().is_none() && e.valid_up_to() == 0);
            if invalid == 0 || unfinished {
                rest = after;
                break;
            }
            out.push(char::REPLACEMENT_CHARACTER);
            let consumed = if self.replacement == Replacement::PerByte { 1 } else { invalid };
            rest = after.split_at(consumed).1;
        }
        let consumed = self.bytes.len() - rest.len();
        self.bytes.drain(..consumed);
    }

    /// What the held bytes stand for if nothing follows; nothing is held afterwards.
    pub(crate) fn finish(&mut self, out: &mut String) {
        let count = match self.replacement {
            Replacement::PerByte => self.bytes.len(),
            Replacement::PerSequence => usize::from(!self.bytes.is_empty()),
        };
        out.extend(std::iter::repeat_n(char::REPLACEMENT_CHARACTER, count));
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(bytes: &[u8], sizes: &[usize], replacement: Replacement) -> String {
        let mut pending = Pending::new(replacement);
        let mut out = String::new();
        let mut rest = bytes;
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (head, tail) = rest.split_at((*size).min(rest.len()));
            pending.push(head, &mut out);
            assert!(pending.bytes.len() <= 3, "a character has at most four bytes");
            rest = tail;
        }
        pending.finish(&mut out);
        out
    }

    /// The rule of SentencePiece, written down naively.
    fn per_byte(mut bytes: &[u8]) -> String {
        let mut out = String::new();
        while !bytes.is_empty() {
            let character =
                (1..=4.min(bytes.len())).find_map(|n| std::str::from_utf8(&bytes[..n]).ok());
            out.push_str(character.unwrap_or("\u{fffd}"));
            bytes = &bytes[character.map_or(1, str::len)..];
        }
        out
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<char>().prop_map(|c| c.to_string().into_bytes()),
            any::<char>().prop_map(|c| {
                let mut b = c.to_string().into_bytes();
                b.pop();
                b
            }),
            proptest::collection::vec(any::<u8>(), 0..3),
        ];
        proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_whole(bytes in bytes(), sizes in proptest::collection::vec(1usize..4, 1..5)) {
            prop_assert_eq!(stream(&bytes, &sizes, Replacement::PerSequence), String::from_utf8_lossy(&bytes));
            prop_assert_eq!(stream(&bytes, &sizes, Replacement::PerByte), per_byte(&bytes));
        }
    }

    #[test]
    fn a_complete_character_is_not_held_back() {
        let mut pending = Pending::new(Replacement::PerByte);
        let mut out = String::new();
        pending.push(&[0xE6, 0x9D], &mut out);
        assert_eq!(out, "");
        pending.push(&[0xB1, 0xF0], &mut out);
        assert_eq!(out, "東");
        pending.push(b"a", &mut out);
        assert_eq!(out, "東\u{fffd}a");
    }
}
