//! Which part of a text stop strings are looked for in: what comes after the reasoning.

use stablemate_conversation::Thinking;

/// Around a model's reasoning.
const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Splits a text, as it comes, into its reasoning with the marks around it and the rest.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    state: State,
    /// What is held back, as it may begin a mark.
    held: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Reasoning may begin.
    Before,
    Inside,
    After,
}

impl Gate {
    pub(super) fn new(thinking: Thinking) -> Self {
        let state = match thinking {
            Thinking::Never => State::After,
            Thinking::May => State::Before,
            Thinking::Open => State::Inside,
        };
        Self { state, held: String::new() }
    }

    /// More of the text: what of it is reasoning, and what comes after.
    pub(super) fn push(&mut self, piece: &str) -> (String, String) {
        if self.state == State::After {
            return (String::new(), piece.to_owned());
        }
        self.held.push_str(piece);
        if self.state == State::Before {
            let text = self.held.trim_start();
            if text.starts_with(OPEN) {
                self.state = State::Inside;
            } else if OPEN.starts_with(text) {
                return Default::default();
            } else {
                self.state = State::After;
                return (String::new(), std::mem::take(&mut self.held));
            }
        }
        if let Some(at) = self.held.find(CLOSE) {
            self.state = State::After;
            let rest = self.held.split_off(at.saturating_add(CLOSE.len()));
            return (std::mem::take(&mut self.held), rest);
        }
        let begun = (1..CLOSE.len()).rev().find(|length| {
            CLOSE.get(..*length).is_some_and(|beginning| self.held.ends_with(beginning))
        });
        let rest = self.held.split_off(self.held.len().saturating_sub(begun.unwrap_or(0)));
        (std::mem::replace(&mut self.held, rest), String::new())
    }

    /// The text is over: what was held back, as reasoning and as what comes after.
    pub(super) fn finish(&mut self) -> (String, String) {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Inside => (held, String::new()),
            State::Before | State::After => (String::new(), held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(thinking: Thinking, text: &str, size: usize) -> (String, String) {
        let mut gate = Gate::new(thinking);
        let (mut reasoning, mut rest) = (String::new(), String::new());
        let letters: Vec<char> = text.chars().collect();
        let mut add = |(a, b): (String, String)| {
            reasoning.push_str(&a);
            rest.push_str(&b);
        };
        for piece in letters.chunks(size) {
            add(gate.push(&piece.iter().collect::<String>()));
        }
        add(gate.finish());
        (reasoning, rest)
    }

    #[test]
    fn however_it_is_cut() {
        for (thinking, text, reasoning) in [
            (Thinking::Never, "<think>a</think>b", ""),
            (Thinking::May, " <think>a</thin</think>b", " <think>a</thin</think>"),
            (Thinking::May, "<thin", ""),
            (Thinking::May, "a<think>b</think>", ""),
            (Thinking::Open, "a</think>b</think>", "a</think>"),
            (Thinking::Open, "é</think", "é</think"),
        ] {
            for size in 1..=text.len() {
                let (found, rest) = split(thinking, text, size);
                assert_eq!((found.as_str(), format!("{found}{rest}").as_str()), (reasoning, text));
            }
        }
    }
}
