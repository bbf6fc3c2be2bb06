//! An answer as a list of blocks, as the dialects have it that do not keep text and calls in one message.

use stablemate_conversation::Part;

use crate::api::chat::turn::{Ending, Splitter, Told, TurnEnd, follow};
use crate::error::ApiError;
use crate::generation::Updates;

/// What a block holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BlockKind {
    /// What the model thinks.
    Reasoning,
    /// What it says.
    Text,
    /// A call of this function; the text of the block is its arguments.
    Call(String),
}

/// Parts of one kind that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// A name that no other block has, to be told by a prefix what it is.
    pub(crate) id: String,
    pub(crate) kind: BlockKind,
    pub(crate) text: String,
    /// Whether the model ended it: something followed it, or its turn was over.
    pub(crate) complete: bool,
}

/// What a part changes; numbers are those of blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A block begins, without text.
    Opened(usize),
    /// More text.
    Grew(usize, String),
    /// Its text is over.
    Closed(usize),
}

/// The blocks of an answer, as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    open: bool,
}

impl Blocks {
    /// All that have begun.
    pub(crate) fn all(&self) -> &[Block] {
        &self.blocks
    }

    /// A block.
    pub(crate) fn get(&self, index: usize) -> Option<&Block> {
        self.blocks.get(index)
    }

    /// Takes the next part of the answer.
    pub(crate) fn take(&mut self, part: Part) -> Vec<Change> {
        match part {
            Part::Reasoning(text) => self.text(BlockKind::Reasoning, text),
            Part::Content(text) => self.text(BlockKind::Text, text),
            Part::CallBegin { name, .. } => self.begin(BlockKind::Call(name)),
            Part::CallArguments { text, .. } => self.grow(text).into_iter().collect(),
            Part::CallEnd { .. } => self.end(true).into_iter().collect(),
        }
    }

    /// Ends the last block, if it is open: `complete` tells whether the model was done. A call that is open at its
    /// end, or when something else follows, went wrong.
    pub(crate) fn close(&mut self, complete: bool) -> Option<Change> {
        let is_call =
            self.blocks.last().is_some_and(|last| matches!(last.kind, BlockKind::Call(_)));
        self.end(complete && !is_call)
    }

    fn end(&mut self, complete: bool) -> Option<Change> {
        if !std::mem::take(&mut self.open) {
            return None;
        }
        let index = self.blocks.len().checked_sub(1)?;
        self.blocks.get_mut(index)?.complete = complete;
        Some(Change::Closed(index))
    }

    fn text(&mut self, kind: BlockKind, text: String) -> Vec<Change> {
        let goes_on = self.open && self.blocks.last().is_some_and(|last| last.kind == kind);
        let mut changes = if goes_on { Vec::new() } else { self.begin(kind) };
        changes.extend(self.grow(text));
        changes
    }

    fn begin(&mut self, kind: BlockKind) -> Vec<Change> {
        let closed = self.close(true);
        let index = self.blocks.len();
        let id = crate::api::new_id("");
        self.blocks.push(Block { id, kind, text: String::new(), complete: false });
        self.open = true;
        closed.into_iter().chain([Change::Opened(index)]).collect()
    }

    fn grow(&mut self, text: String) -> Option<Change> {
        let index = self.blocks.len().checked_sub(1)?;
        self.blocks.get_mut(index)?.text.push_str(&text);
        Some(Change::Grew(index, text))
    }
}

/// Waits for a whole answer, of a request with one choice.
///
/// # Errors
/// The job's failure.
pub(crate) async fn gather(
    updates: Updates,
    splitter: Splitter,
) -> Result<(Blocks, Ending), ApiError> {
    let (mut blocks, mut ending) = (Blocks::default(), None);
    follow(updates, &mut [splitter], |_, told| match told {
        Told::Part(part) => drop(blocks.take(part)),
        Told::Finished(last) => ending = Some(last),
        Told::Tokens(_) | Told::Ids(_) => {}
    })
    .await?;
    let ending = ending.ok_or_else(|| ApiError::internal("an answer never ended"))?;
    blocks.close(ending.end != TurnEnd::Length);
    Ok((blocks, ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_kind_are_one_block() {
        let mut blocks = Blocks::default();
        let text = |text: &str| Part::Content(text.to_owned());
        assert_eq!(blocks.take(text("a")), [Change::Opened(0), Change::Grew(0, "a".to_owned())]);
        assert_eq!(blocks.take(text("b")), [Change::Grew(0, "b".to_owned())]);
        let begin = Part::CallBegin { index: 0, name: "f".to_owned() };
        assert_eq!(blocks.take(begin), [Change::Closed(0), Change::Opened(1)]);
        blocks.take(Part::CallArguments { index: 0, text: "{}".to_owned() });
        assert_eq!(blocks.take(Part::CallEnd { index: 0 }), [Change::Closed(1)]);
        blocks.take(text("c"));
        assert_eq!(blocks.close(false), Some(Change::Closed(2)));
        assert_eq!(blocks.close(false), None);
        let all: Vec<_> = blocks.all().iter().map(|b| (b.text.as_str(), b.complete)).collect();
        assert_eq!(all, [("ab", true), ("{}", true), ("c", false)]);
    }
}
