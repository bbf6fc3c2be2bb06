//! Where a JSON object ends.

/// Deepest nesting that is followed; no tool's arguments need as much.
const DEEPEST: usize = 256;

/// How far an object has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It goes on.
    More,
    /// It is complete with the last character taken.
    Complete,
    /// The next character cannot stand there.
    Broken,
}

/// Follows an object through its brackets and strings, which is what tells its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Scanner {
    /// The brackets that will close what is open.
    open: Vec<char>,
    in_string: bool,
    escaped: bool,
}

impl Scanner {
    /// The number of bytes of `text` that belong to the object, and how it stands after them.
    pub(super) fn scan(&mut self, text: &str) -> (usize, Progress) {
        for (at, character) in text.char_indices() {
            match self.next(character) {
                Progress::More => {}
                Progress::Complete => {
                    return (at.saturating_add(character.len_utf8()), Progress::Complete);
                }
                Progress::Broken => return (at, Progress::Broken),
            }
        }
        (text.len(), Progress::More)
    }

    fn next(&mut self, character: char) -> Progress {
        if self.in_string {
            match character {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.in_string = false,
                // JSON writes line ends and other control characters as escapes.
                '\0'..='\u{1f}' => return Progress::Broken,
                _ => {}
            }
            return Progress::More;
        }
        match character {
            '"' => self.in_string = true,
            '{' | '[' if self.open.len() >= DEEPEST => return Progress::Broken,
            '{' => self.open.push('}'),
            '[' => self.open.push(']'),
            '}' | ']' => {
                if self.open.pop() != Some(character) {
                    return Progress::Broken;
                }
                if self.open.is_empty() {
                    return Progress::Complete;
                }
            }
            ' ' | '\t' | '\n' | '\r' | ',' | ':' | '+' | '-' | '.' => {}
            _ if character.is_ascii_alphanumeric() => {}
            _ => return Progress::Broken,
        }
        Progress::More
    }
}
