//! What stands before a call's arguments, and after them.

use crate::format::{ARGUMENTS, CALL_ID};

/// Longest text looked at for a header: a name and some keys.
const LONGEST: usize = 1024;

/// Whether a text begins with what is looked for.
#[derive(Debug, PartialEq)]
pub(super) enum Match<T> {
    Found(T),
    /// More text will tell.
    Partial,
    None,
}

/// A call's beginning.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) name: String,
    /// Bytes before the arguments.
    pub(super) length: usize,
}

/// A call's end.
#[derive(Debug, PartialEq)]
pub(super) struct Tail {
    pub(super) length: usize,
    /// Whether another call of the list follows.
    pub(super) more: bool,
}

/// Why a text is not what was looked for.
enum Stop {
    Partial,
    None,
}

/// The beginning of a call to one of `names`, up to the `{` of its arguments: JSON with the arguments under `key`, or
/// without a key the name and a mark.
pub(super) fn begin(
    text: &str,
    key: Option<&str>,
    opens_list: bool,
    names: &[String],
) -> Match<Found> {
    let mut cursor = Cursor::new(text);
    let name = match key {
        Some(key) => cursor.object(key, opens_list),
        None => cursor.named(),
    };
    let name = name.and_then(|name| match names.contains(&name) {
        true => Ok(name),
        false => Err(Stop::None),
    });
    let found = name.and_then(|name| {
        cursor.peek('{')?;
        Ok(Found { name, length: cursor.at })
    });
    cursor.matched(found)
}

/// What follows a call's arguments: the end of its object, then the end of the list or a comma, or the closing mark.
pub(super) fn end(text: &str, list: bool, closer: &str) -> Match<Tail> {
    let mut cursor = Cursor::new(text);
    let more = cursor.token("}").and_then(|()| match list {
        true => match cursor.token(",") {
            Ok(()) => Ok(true),
            Err(Stop::Partial) => Err(Stop::Partial),
            Err(Stop::None) => cursor.token("]").map(|()| false),
        },
        false if closer.is_empty() => Ok(false),
        false => cursor.token(closer).map(|()| false),
    });
    let tail = more.map(|more| Tail { length: cursor.at, more });
    cursor.matched(tail)
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// The text goes on beyond what is looked at.
    cut: bool,
}

impl<'a> Cursor<'a> {
    fn new(text: &'a str) -> Cursor<'a> {
        let (length, cut) = (super::floor(text, LONGEST), text.len() >= LONGEST);
        Cursor { text: text.get(..length).unwrap_or(text), at: 0, cut }
    }

    fn matched<T>(&self, result: Result<T, Stop>) -> Match<T> {
        match result {
            Ok(found) => Match::Found(found),
            Err(Stop::Partial) if !self.cut => Match::Partial,
            Err(_) => Match::None,
        }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// `token` after any white space.
    fn token(&mut self, token: &str) -> Result<(), Stop> {
        self.skip_space();
        let rest = self.rest();
        if rest.starts_with(token) {
            self.at += token.len();
            return Ok(());
        }
        Err(if token.starts_with(rest) { Stop::Partial } else { Stop::None })
    }

    /// The next character after any white space, which stays.
    fn peek(&mut self, character: char) -> Result<(), Stop> {
        self.skip_space();
        match self.rest().chars().next() {
            Some(next) if next == character => Ok(()),
            Some(_) => Err(Stop::None),
            None => Err(Stop::Partial),
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        self.token("\"")?;
        let begin = self.at - 1;
        let mut escaped = false;
        for (at, character) in self.rest().char_indices() {
            match character {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => {
                    self.at += at + 1;
                    let literal = self.text.get(begin..self.at).unwrap_or_default();
                    return serde_json::from_str(literal).map_err(|_| Stop::None);
                }
                _ => {}
            }
        }
        Err(Stop::Partial)
    }

    /// `{"name": …, "key":`.
    fn object(&mut self, key: &str, opens_list: bool) -> Result<String, Stop> {
        if opens_list {
            self.token("[")?;
        }
        self.token("{")?;
        self.token("\"name\"")?;
        self.token(":")?;
        let name = self.string()?;
        self.token(",")?;
        self.token(&format!("\"{key}\""))?;
        self.token(":")?;
        Ok(name)
    }

    /// `name[ARGS]`, with an id between that nobody needs.
    fn named(&mut self) -> Result<String, Stop> {
        self.skip_space();
        let rest = self.rest();
        let Some(length) = rest.find(ARGUMENTS) else {
            return Err(if rest.contains(['\n', '{', '"']) { Stop::None } else { Stop::Partial });
        };
        self.at += length + ARGUMENTS.len();
        let name = rest.get(..length).unwrap_or_default();
        let name = name.split(CALL_ID).next().unwrap_or_default();
        Ok(name.trim().to_owned())
    }
}
