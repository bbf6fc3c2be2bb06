//! [`Parser`]: the text a model writes, taken apart as it comes.
//!
//! A machine over what has not been handed out yet. Each step looks at the beginning of that text only and decides
//! nothing that more text could decide otherwise, so that how the text is cut into pieces makes no difference.

mod header;
mod json;

use crate::Thinking;
use crate::format::{Marks, THINK};
use header::{Found, Match};
use json::{Progress, Scanner};

/// A piece of what a model wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What it thinks before it speaks.
    Reasoning(String),
    /// What it says.
    Content(String),
    /// A call begins.
    CallBegin {
        /// The number of the call, from 0.
        index: usize,
        /// The function, one of the tools.
        name: String,
    },
    /// More of a call's arguments: JSON as the model writes it.
    CallArguments {
        /// The number of the call.
        index: usize,
        /// The text that follows.
        text: String,
    },
    /// A call's arguments are complete. One that never ends was cut off, or went wrong amid its arguments.
    CallEnd {
        /// The number of the call.
        index: usize,
    },
}

/// White space held back at most, as it goes where a call or the end of the reasoning follows.
const HELD_SPACE: usize = 64;

/// Takes the text of one answer apart into [`Part`]s.
///
/// What looks like a call and is none (another name, other keys, no JSON) is content, with its marks. A call that the
/// end of the text cuts off is none, wherever it is cut. Of the text nothing else is lost but marks, line ends around
/// reasoning, and white space before a call and after the last one.
#[derive(Clone, Debug)]
pub struct Parser {
    marks: Marks,
    names: Vec<String>,
    state: State,
    pending: String,
    parts: Vec<Part>,
    calls: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// Reasoning may begin.
    Start,
    Reasoning {
        begun: bool,
    },
    Content(Before),
    /// A call may begin; `before` is what is content if it does not.
    Header {
        before: String,
        in_list: bool,
    },
    Arguments(Scanner),
    Tail,
    /// A call went wrong amid its arguments: what follows up to its end belongs to it.
    Broken,
}

/// What came before some content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Reasoning,
    Content,
    Call,
}

impl Parser {
    pub(crate) fn new(marks: Marks, thinking: Thinking, names: Vec<String>) -> Parser {
        let state = match thinking {
            Thinking::Never => State::Content(Before::Nothing),
            Thinking::May => State::Start,
            Thinking::Open => State::Reasoning { begun: false },
        };
        Parser { marks, names, state, pending: String::new(), parts: Vec::new(), calls: 0 }
    }

    /// More text; the parts that are certain with it.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.pending.push_str(text);
        while self.step(false) {}
        std::mem::take(&mut self.parts)
    }

    /// The text is over; the parts that were held back. The parser may not be used again.
    pub fn finish(&mut self) -> Vec<Part> {
        while self.step(true) {}
        std::mem::take(&mut self.parts)
    }

    /// The number of calls that have begun.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Handles the beginning of what is pending; `false` if nothing can be done before more text comes.
    fn step(&mut self, end: bool) -> bool {
        if self.pending.is_empty() && !(end && matches!(self.state, State::Header { .. })) {
            return false;
        }
        match &self.state {
            State::Start => self.start(end),
            State::Reasoning { begun } => self.reasoning(*begun, end),
            State::Content(before) => self.content(*before, end),
            State::Header { before, in_list } => {
                let (before, in_list) = (before.clone(), *in_list);
                self.header(before, in_list, end)
            }
            State::Arguments(_) => self.arguments(),
            State::Tail => self.tail(end),
            State::Broken => self.broken(end),
        }
    }

    fn start(&mut self, end: bool) -> bool {
        let text = self.pending.trim_start();
        let space = self.pending.len().saturating_sub(text.len());
        if text.starts_with(THINK.0) && space <= HELD_SPACE {
            self.take(space.saturating_add(THINK.0.len()));
            self.state = State::Reasoning { begun: false };
        } else if end || space > HELD_SPACE || !THINK.0.starts_with(text) {
            self.state = State::Content(Before::Nothing);
        } else {
            return false;
        }
        true
    }

    fn reasoning(&mut self, begun: bool, end: bool) -> bool {
        if !begun && self.pending.starts_with('\n') {
            let lines = self.pending.len() - self.pending.trim_start_matches('\n').len();
            self.take(lines);
            return true;
        }
        let (at, found) = find(&self.pending, THINK.1, end);
        let text = self.take(at);
        let kept = text.trim_end_matches('\n').len().max(text.len().saturating_sub(HELD_SPACE));
        let (said, lines) = text.split_at(kept);
        self.emit(Part::Reasoning(said.to_owned()));
        self.state = State::Reasoning { begun: begun || !said.is_empty() };
        if found {
            self.take(THINK.1.len());
            self.state = State::Content(Before::Reasoning);
        } else if end {
            self.emit(Part::Reasoning(lines.to_owned()));
        } else {
            self.pending.insert_str(0, lines);
            return false;
        }
        true
    }

    fn content(&mut self, before: Before, end: bool) -> bool {
        if before == Before::Reasoning && self.pending.starts_with('\n') {
            let lines = self.pending.len() - self.pending.trim_start_matches('\n').len();
            self.take(lines);
            return true;
        }
        if self.names.is_empty() {
            let text = self.take(self.pending.len());
            self.emit(Part::Content(text));
            self.state = State::Content(Before::Content);
            return false;
        }
        if self.marks.bare && before != Before::Content {
            match self.bare(before) {
                Match::Found(()) => return true,
                Match::Partial if !end => return false,
                _ => {}
            }
        }
        let (at, found) = find(&self.pending, self.marks.opener, end);
        let mut text = self.take(at);
        if end && !found {
            text.truncate(text.len().saturating_sub(begun(&text, self.marks.opener)));
        }
        let said = text.trim_end().len();
        let kept = said.max(floor(&text, text.len().saturating_sub(HELD_SPACE)));
        let (said, space) = text.split_at(kept);
        self.emit(Part::Content(said.to_owned()));
        let before = if said.is_empty() { before } else { Before::Content };
        self.state = State::Content(before);
        if found {
            let opener = self.take(self.marks.opener.len());
            let before = format!("{space}{opener}");
            self.state = State::Header { before, in_list: false };
            return true;
        }
        if end {
            if before != Before::Call {
                self.emit(Part::Content(space.to_owned()));
            }
            return false;
        }
        self.pending.insert_str(0, space);
        false
    }

    /// Whether a call begins here without a mark.
    fn bare(&mut self, before: Before) -> Match<()> {
        let between = |c: char| c.is_whitespace() || (c == ';' && before == Before::Call);
        let text = self.pending.trim_start_matches(between);
        let space = self.pending.len().saturating_sub(text.len());
        if space > HELD_SPACE {
            return Match::None;
        }
        if text.is_empty() {
            return Match::Partial;
        }
        if !text.starts_with('{') {
            return Match::None;
        }
        let before = self.take(space);
        self.state = State::Header { before, in_list: false };
        Match::Found(())
    }

    fn header(&mut self, before: String, in_list: bool, end: bool) -> bool {
        let opens_list = self.marks.list && !in_list;
        match header::begin(&self.pending, self.marks.key, opens_list, &self.names) {
            Match::Found(Found { name, length }) => {
                self.take(length);
                self.emit(Part::CallBegin { index: self.calls, name });
                self.calls = self.calls.saturating_add(1);
                self.state = State::Arguments(Scanner::default());
            }
            Match::Partial if !end => return false,
            // A call that the end cut off before it had a name.
            Match::Partial => {
                self.pending.clear();
                self.state = State::Content(Before::Call);
            }
            Match::None => {
                self.emit(Part::Content(before.clone()));
                // A bare call has no mark that could be passed over.
                if before.trim_matches(|c: char| c.is_whitespace() || c == ';').is_empty() {
                    let first = self.take(usize::from(!self.pending.is_empty()));
                    self.emit(Part::Content(first));
                }
                self.state = State::Content(Before::Content);
            }
        }
        true
    }

    fn arguments(&mut self) -> bool {
        let State::Arguments(scanner) = &mut self.state else { return false };
        let (length, progress) = scanner.scan(&self.pending);
        let text = self.take(length);
        let index = self.calls.saturating_sub(1);
        self.emit(Part::CallArguments { index, text });
        match progress {
            Progress::More => return false,
            Progress::Complete => {
                self.emit(Part::CallEnd { index });
                let named = self.marks.key.is_none();
                self.state = if named { State::Content(Before::Call) } else { State::Tail };
            }
            Progress::Broken => self.state = State::Broken,
        }
        true
    }

    fn tail(&mut self, end: bool) -> bool {
        match header::end(&self.pending, self.marks.list, self.marks.closer) {
            Match::Found(tail) => {
                let text = self.take(tail.length);
                self.state = match tail.more {
                    true => State::Header { before: text, in_list: true },
                    false => State::Content(Before::Call),
                };
            }
            // A mark that the end cut off.
            Match::Partial if end => self.pending.clear(),
            Match::Partial => return false,
            Match::None => self.state = State::Content(Before::Content),
        }
        true
    }

    fn broken(&mut self, end: bool) -> bool {
        let closer = self.marks.closer;
        let (at, found) = match closer.is_empty() {
            true => (self.pending.len(), false),
            false => find(&self.pending, closer, end),
        };
        self.take(at);
        if found {
            self.take(closer.len());
            self.state = State::Content(Before::Call);
        }
        found
    }

    /// Takes `length` bytes from what is pending.
    fn take(&mut self, length: usize) -> String {
        let length = floor(&self.pending, length);
        self.pending.drain(..length).collect()
    }

    /// Hands out a part, together with the last one if they are of a kind.
    fn emit(&mut self, part: Part) {
        let (Part::Reasoning(text) | Part::Content(text) | Part::CallArguments { text, .. }) =
            &part
        else {
            self.parts.push(part);
            return;
        };
        if text.is_empty() {
            return;
        }
        match (self.parts.last_mut(), &part) {
            (Some(Part::Reasoning(last)), Part::Reasoning(_))
            | (Some(Part::Content(last)), Part::Content(_))
            | (Some(Part::CallArguments { text: last, .. }), Part::CallArguments { .. }) => {
                last.push_str(text);
            }
            _ => self.parts.push(part),
        }
    }
}

/// Where `mark` begins in `text`, or, without it, where it may have begun (the text's end if nowhere, or if there is
/// no more text), and whether it is there.
fn find(text: &str, mark: &str, end: bool) -> (usize, bool) {
    if let Some(at) = text.find(mark) {
        return (at, true);
    }
    let partial = (1..mark.len())
        .rev()
        .find(|length| mark.get(..*length).is_some_and(|beginning| text.ends_with(beginning)));
    let held = if end { 0 } else { partial.unwrap_or(0) };
    (text.len().saturating_sub(held), false)
}

/// The bytes at the end of a text that are more than half of a mark: it was cut off.
fn begun(text: &str, mark: &str) -> usize {
    let cut = (mark.len() / 2 + 1..mark.len()).rev();
    let mut cut =
        cut.filter(|length| mark.get(..*length).is_some_and(|begin| text.ends_with(begin)));
    cut.next().unwrap_or(0)
}

/// The last boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
