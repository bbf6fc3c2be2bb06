//! Special tokens that clients write into their messages: letters, and not the structure of the conversation.
//!
//! Templates put the texts of clients and the marks of structure into one text. So each special token in a client's text
//! gets a [`MARKS`] character behind its first one before the template sees it, which no text has, and what has such a
//! character afterwards is encoded as plain letters.

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;
use stablemate_text::{Error, Tokenizer};

use crate::format::THINK;
use crate::{Message, Tool};

/// Characters that stand for nothing, of which one is taken that no message has.
const MARKS: std::ops::RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';

/// The special tokens of a vocabulary, as they are written.
#[derive(Clone, Debug)]
pub(crate) struct Specials {
    texts: Vec<String>,
    search: Option<AhoCorasick>,
}

/// A prompt in which special tokens of clients are marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked {
    text: String,
    mark: char,
}

impl Specials {
    pub(crate) fn new(tokenizer: &Tokenizer) -> Specials {
        let texts = tokenizer.special_ids().iter().filter_map(|id| tokenizer.token(*id));
        // Templates look for the marks of reasoning in earlier answers, and they begin no message.
        let marks = [THINK.0, THINK.1];
        let texts: Vec<String> =
            texts.filter(|text| text.len() > 1 && !marks.contains(&text.as_str())).collect();
        let search = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&texts);
        Specials { texts, search: search.ok() }
    }

    /// Marks the special tokens in all texts of clients; none if there are none.
    pub(crate) fn mark(
        &self,
        messages: &[Message],
        tools: &[Tool],
    ) -> Option<(Vec<Message>, Vec<Tool>, char)> {
        let search = self.search.as_ref()?;
        let forged = |text: &str| search.is_match(text);
        let any = messages.iter().any(|message| texts_of(message).any(forged))
            || tools.iter().any(|tool| forged(&tool_text(tool)));
        if !any {
            return None;
        }
        let has = |mark: char| {
            messages.iter().any(|message| texts_of(message).any(|text| text.contains(mark)))
                || tools.iter().any(|tool| tool_text(tool).contains(mark))
        };
        let mark = MARKS.into_iter().find(|mark| !has(*mark)).unwrap_or(*MARKS.end());
        let marked = |text: &String| self.marked(text, mark);
        let message = |message: &Message| {
            let mut message = message.clone();
            message.content = message.content.iter().map(marked).collect();
            message.reasoning = message.reasoning.as_ref().map(marked);
            message.name = message.name.as_ref().map(marked);
            message.answers = message.answers.as_ref().map(marked);
            for call in &mut message.calls {
                call.arguments = marked(&call.arguments);
                call.name = marked(&call.name);
                call.id = marked(&call.id);
            }
            message
        };
        let tool = |tool: &Tool| {
            let mut tool = tool.clone();
            tool.name = marked(&tool.name);
            tool.description = tool.description.as_ref().map(marked);
            // A mark inside of a string of JSON leaves it a string.
            let written = tool.parameters.as_ref().map(|schema| marked(&schema.to_string()));
            let read = written.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            tool.parameters = read.or(tool.parameters);
            tool
        };
        Some((messages.iter().map(message).collect(), tools.iter().map(tool).collect(), mark))
    }

    fn marked(&self, text: &str, mark: char) -> String {
        let Some(search) = &self.search else { return text.to_string() };
        let mut result = String::with_capacity(text.len());
        search.replace_all_with(text, &mut result, |_, token, result| {
            let mut letters = token.chars();
            result.extend(letters.next());
            result.push(mark);
            result.push_str(letters.as_str());
            true
        });
        result
    }

    /// A text as the client wrote it.
    fn unmarked(&self, text: &str, mark: char) -> String {
        // Templates may have written the mark as JSON escapes it.
        let plain = text.replace(&format!("\\u{:04x}", u32::from(mark)), &mark.to_string());
        let mut result = String::with_capacity(plain.len());
        let mut rest = plain.as_str();
        while let Some(at) = rest.find(mark) {
            let (before, after) = rest.split_at(at);
            let after = after.strip_prefix(mark).unwrap_or(after);
            result.push_str(before);
            let of_token = self.texts.iter().any(|token| {
                let mut letters = token.chars();
                let first = letters.next();
                before.chars().next_back() == first && after.starts_with(letters.as_str())
            });
            if !of_token {
                result.push(mark);
            }
            rest = after;
        }
        result.push_str(rest);
        result
    }

    /// A prompt that a template made of marked messages, as it reads, and what is encoded if there are marks in it.
    pub(crate) fn read(&self, text: String, mark: char) -> (String, Option<Marked>) {
        let plain = self.unmarked(&text, mark);
        let forged = plain != text;
        (plain, forged.then_some(Marked { text, mark }))
    }

    /// The tokens of a prompt. Between the special tokens of the template, what is marked is encoded as letters.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub(crate) fn encode(
        &self,
        tokenizer: &Tokenizer,
        Marked { text, mark }: &Marked,
    ) -> Result<Vec<u32>, Error> {
        let escaped = format!("\\u{:04x}", u32::from(*mark));
        let forged = |part: &str| part.contains(*mark) || part.contains(&escaped);
        let (mut ids, mut begun, mut end) = (Vec::new(), 0, 0);
        let tokens = self.search.iter().flat_map(|search| search.find_iter(text));
        // What lies between two special tokens, and then what follows the last one.
        let places =
            tokens.map(|found| found.range()).chain(std::iter::once(text.len()..text.len()));
        for place in places {
            let part = text.get(end..place.start).unwrap_or_default();
            if forged(part) {
                let before = text.get(begun..end).unwrap_or_default();
                ids.extend(tokenizer.encode(before, false)?);
                ids.extend(tokenizer.encode_plain(&self.unmarked(part, *mark))?);
                begun = place.start;
            }
            end = place.end;
        }
        ids.extend(tokenizer.encode(text.get(begun..).unwrap_or_default(), false)?);
        Ok(ids)
    }
}

/// All texts of a message.
fn texts_of(message: &Message) -> impl Iterator<Item = &str> {
    let calls = message.calls.iter().flat_map(|call| [&call.arguments, &call.name, &call.id]);
    let parts = message.content.iter().chain(&message.reasoning).chain(&message.name);
    parts.chain(&message.answers).chain(calls).map(String::as_str)
}

/// All texts of a tool.
fn tool_text(tool: &Tool) -> String {
    let schema = tool.parameters.as_ref().map(Value::to_string).unwrap_or_default();
    format!("{}\n{}\n{schema}", tool.name, tool.description.as_deref().unwrap_or_default())
}
