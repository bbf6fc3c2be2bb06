//! [`Follow`]: a compiled grammar at some place of a text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use llguidance::Matcher;
use llguidance::api::StopReason;
use stablemate_engine::{Constraint, Continuation, TokenMask};

use crate::vocabulary::Vocabulary;

/// A mask that takes longer is slow: the steps of a model take about as long, and all sequences of a step wait for it.
const SLOW: Duration = Duration::from_millis(40);

/// So many slow masks of the last ones, and the grammar is given up. A few are slow at the beginning, when the lexer
/// meets most of the vocabulary for the first time, or where the machine is busy.
const MOST_SLOW: u32 = 8;

/// Follows a text through a grammar.
pub(crate) struct Follow {
    vocabulary: Arc<Vocabulary>,
    matcher: Matcher,
    state: Continuation,
    /// Which of the last sixteen masks were slow, a bit each.
    slow: u16,
    /// What taking the last token cost: the next mask is counted with it.
    taken: Duration,
}

impl Follow {
    pub(crate) fn new(vocabulary: Arc<Vocabulary>, matcher: Matcher) -> Follow {
        Follow { vocabulary, matcher, state: Continuation::Open, slow: 0, taken: Duration::ZERO }
    }

    fn compute(&mut self, mask: &mut TokenMask) -> Result<Continuation, String> {
        mask.clear();
        if mask.vocabulary() != self.vocabulary.known.vocabulary() {
            return Err(format!(
                "the mask is over {} tokens, the grammar over {}",
                mask.vocabulary(),
                self.vocabulary.known.vocabulary()
            ));
        }
        if self.state == Continuation::Complete {
            return Ok(self.state);
        }
        let accepting = self.matcher.is_accepting().map_err(|error| reason(&error))?;
        let allowed = match self.matcher.compute_mask() {
            Ok(allowed) => allowed,
            // Without end tokens, nothing at all can follow a text that is complete.
            Err(_) if accepting && self.matcher.stop_reason() == StopReason::NoExtensionBias => {
                return Ok(self.complete());
            }
            Err(error) => return Err(reason(&error)),
        };
        let ends = self.vocabulary.ends.words();
        let (mut any, mut more) = (false, false);
        let words = mask.words_mut().iter_mut().zip(self.vocabulary.known.words()).zip(ends);
        for (((word, known), ends), allowed) in words.zip(allowed.as_slice()) {
            *word = allowed & known;
            any |= *word != 0;
            more |= *word & !ends != 0;
        }
        if !more && accepting {
            mask.clear();
            return Ok(self.complete());
        }
        if !any {
            return Err("the grammar goes on, but no token of the vocabulary can follow".to_owned());
        }
        Ok(Continuation::Open)
    }

    fn complete(&mut self) -> Continuation {
        self.state = Continuation::Complete;
        self.state
    }
}

impl Constraint for Follow {
    fn mask(&mut self, mask: &mut TokenMask) -> Result<Continuation, String> {
        let begun = Instant::now();
        let result = self.compute(mask);
        self.slow = self.slow << 1 | u16::from(begun.elapsed() + self.taken > SLOW);
        if self.slow.count_ones() >= MOST_SLOW {
            return Err(format!(
                "the grammar is too ambiguous: {MOST_SLOW} of its last 16 masks took more than {} ms each",
                SLOW.as_millis()
            ));
        }
        result
    }

    fn accept(&mut self, token: u32) -> Result<Continuation, String> {
        if self.state == Continuation::Complete {
            return Err(format!("token {token} follows a text that is complete"));
        }
        if !self.vocabulary.known.allows(token) {
            return Err(format!("token {token} is not in the vocabulary"));
        }
        let begun = Instant::now();
        let consumed = self.matcher.consume_token(token);
        self.taken = begun.elapsed();
        consumed.map_err(|error| format!("token {token} cannot follow: {}", reason(&error)))?;
        if self.matcher.is_stopped() {
            return match self.matcher.stop_reason() {
                StopReason::NoExtension | StopReason::EndOfSentence => Ok(self.complete()),
                other => Err(format!("the grammar cannot be followed further: {other}")),
            };
        }
        // An end token that the grammar itself asks for, as its last part or in the middle, goes on.
        Ok(Continuation::Open)
    }
}

/// What llguidance says, without its account of its own state.
pub(crate) fn reason(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let own = ["\n<state>", "\n<non-verbose/>", "\n<backtrace>"];
    let end = own.iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
    text.get(..end).unwrap_or_default().trim().to_owned()
}
