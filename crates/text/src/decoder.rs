//! How token strings become text, one token at a time.
//!
//! The `tokenizers` library decodes whole sequences. Its `DecodeStream` decodes a window again for every token and
//! loses what is unfinished at the end, so the few decoders that language models use are written here as a chain of
//! stages with explicit state: what has been returned can never change, and each token costs its own length.

use crate::error::Error;
use crate::pending::{Pending, Replacement};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::OnceLock;

/// One step of a decoder, in the order of `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stage {
    /// Replaces a string inside every token.
    Replace { pattern: String, content: String },
    /// Cuts up to `start` and `stop` of one character off the ends of every token.
    Strip { content: char, start: usize, stop: usize },
    /// Cuts up to `count` of one character off the beginning of the whole text.
    StripText { content: char, count: usize },
    /// Turns `▁` into a space, and into nothing in the first token if `drop_first`.
    Metaspace { replacement: char, drop_first: bool },
    /// Tokens `<0xNN>` are bytes; a run of them is UTF-8.
    ByteFallback,
    /// Letters of tokens stand for bytes (GPT-2), which are UTF-8.
    ByteLevel,
    /// A space between tokens: what the library does when a tokenizer has no decoder.
    Spaces,
}

/// What a stage remembers between tokens.
#[derive(Clone, Debug)]
enum Memory {
    Nothing,
    Bytes(Pending),
    Started(bool),
    Remaining(usize),
}

/// The stages of one tokenizer's decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decoder {
    stages: Vec<Stage>,
}

/// A text being decoded.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    memories: Vec<Memory>,
}

impl Decoder {
    /// GPT-2's decoder: letters stand for bytes.
    pub(crate) fn byte_level() -> Decoder {
        Decoder { stages: vec![Stage::ByteLevel] }
    }

    /// SentencePiece's decoder: `▁` is a space, byte tokens are bytes, and with `strip_first` the space that encoding
    /// puts before the text is taken away again.
    pub(crate) fn sentencepiece(strip_first: bool) -> Decoder {
        let space = Stage::Replace { pattern: "▁".to_owned(), content: " ".to_owned() };
        let mut stages = vec![space, Stage::ByteFallback];
        if strip_first {
            stages.push(Stage::StripText { content: ' ', count: 1 });
        }
        Decoder { stages }
    }

    /// Reads the `decoder` of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for decoders that cannot be streamed or that no language model uses, by name.
    pub(crate) fn from_json(decoder: &Value, origin: &str) -> Result<Decoder, Error> {
        if decoder.is_null() {
            return Ok(Decoder { stages: vec![Stage::Spaces] });
        }
        let mut builder = Builder { origin, stages: Vec::new(), joined: false };
        builder.add(decoder)?;
        Ok(Decoder { stages: builder.stages })
    }

    /// The state before the first token.
    pub(crate) fn start(&self) -> Progress {
        let memory = |stage: &Stage| match stage {
            Stage::Replace { .. } | Stage::Strip { .. } => Memory::Nothing,
            Stage::StripText { count, .. } => Memory::Remaining(*count),
            Stage::Metaspace { .. } | Stage::Spaces => Memory::Started(false),
            Stage::ByteFallback => Memory::Bytes(Pending::new(Replacement::PerByte)),
            Stage::ByteLevel => Memory::Bytes(Pending::new(Replacement::PerSequence)),
        };
        Progress { memories: self.stages.iter().map(memory).collect() }
    }

    /// Decodes one more token and appends the text that is now certain.
    pub(crate) fn push(&self, progress: &mut Progress, token: &str, out: &mut String) {
        feed(&self.stages, &mut progress.memories, token, out);
    }

    /// The bytes that a token adds to a text it does not begin.
    pub(crate) fn bytes(&self, token: &str) -> Vec<u8> {
        let mut bytes = token.as_bytes().to_vec();
        for stage in &self.stages {
            bytes = stage.bytes(bytes);
        }
        bytes
    }

    /// Appends what is still held back, as it reads if nothing follows.
    pub(crate) fn finish(&self, progress: &mut Progress, out: &mut String) {
        finish(&self.stages, &mut progress.memories, out);
    }
}

impl Stage {
    /// What becomes of a token in the middle of a text. Before bytes are made of letters, a token is whole characters.
    fn bytes(&self, token: Vec<u8>) -> Vec<u8> {
        // Parts of characters, which only byte tokens are, pass: no stage after them looks at parts.
        let text = match String::from_utf8(token) {
            Ok(text) => text,
            Err(parts) => return parts.into_bytes(),
        };
        match self {
            Stage::Replace { pattern, content } => text.replace(pattern, content).into_bytes(),
            Stage::Strip { content, start, stop } => {
                strip(&text, *content, *start, *stop).as_bytes().to_vec()
            }
            Stage::Metaspace { replacement, .. } => text.replace(*replacement, " ").into_bytes(),
            Stage::Spaces => format!(" {text}").into_bytes(),
            Stage::ByteFallback => byte_token(&text).map_or(text.into_bytes(), |byte| vec![byte]),
            Stage::ByteLevel => byte_level(&text),
            // Concerns the beginning of the text alone.
            Stage::StripText { .. } => text.into_bytes(),
        }
    }
}

/// Sends one token, or after joining one part of the text, through the remaining stages.
fn feed(stages: &[Stage], memories: &mut [Memory], text: &str, out: &mut String) {
    let (Some((stage, stages)), Some((memory, memories))) =
        (stages.split_first(), memories.split_first_mut())
    else {
        out.push_str(text);
        return;
    };
    match (stage, memory) {
        (Stage::Replace { pattern, content }, _) => {
            feed(stages, memories, &text.replace(pattern, content), out)
        }
        (Stage::Strip { content, start, stop }, _) => {
            feed(stages, memories, strip(text, *content, *start, *stop), out);
        }
        (Stage::StripText { content, .. }, Memory::Remaining(remaining)) => {
            let mut rest = text;
            while *remaining > 0 && !rest.is_empty() {
                match rest.strip_prefix(*content) {
                    Some(after) => (rest, *remaining) = (after, *remaining - 1),
                    None => *remaining = 0,
                }
            }
            feed(stages, memories, rest, out);
        }
        (Stage::Metaspace { replacement, drop_first }, Memory::Started(started)) => {
            let space = if *drop_first && !*started { "" } else { " " };
            *started = true;
            feed(stages, memories, &text.replace(*replacement, space), out);
        }
        (Stage::Spaces, Memory::Started(started)) => {
            let space = if *started { " " } else { "" };
            *started = true;
            feed(stages, memories, &format!("{space}{text}"), out);
        }
        (Stage::ByteFallback, Memory::Bytes(pending)) => {
            let mut decoded = String::new();
            match byte_token(text) {
                Some(byte) => pending.push(&[byte], &mut decoded),
                None => {
                    pending.finish(&mut decoded);
                    decoded.push_str(text);
                }
            }
            feed(stages, memories, &decoded, out);
        }
        (Stage::ByteLevel, Memory::Bytes(pending)) => {
            let mut decoded = String::new();
            pending.push(&byte_level(text), &mut decoded);
            feed(stages, memories, &decoded, out);
        }
        // `start` gives every stage its own kind of memory.
        (_, _) => feed(stages, memories, text, out),
    }
}

fn finish(stages: &[Stage], memories: &mut [Memory], out: &mut String) {
    let (Some((_, stages)), Some((memory, memories))) =
        (stages.split_first(), memories.split_first_mut())
    else {
        return;
    };
    if let Memory::Bytes(pending) = memory {
        let mut decoded = String::new();
        pending.finish(&mut decoded);
        feed(stages, memories, &decoded, out);
    }
    finish(stages, memories, out);
}

/// `token` without up to `start` leading and `stop` trailing `content`.
fn strip(token: &str, content: char, start: usize, stop: usize) -> &str {
    let mut rest = token;
    for _ in 0..start {
        let Some(after) = rest.strip_prefix(content) else { break };
        rest = after;
    }
    for _ in 0..stop {
        let Some(before) = rest.strip_suffix(content) else { break };
        rest = before;
    }
    rest
}

/// The byte that a SentencePiece byte token `<0xNN>` stands for.
pub(crate) fn byte_token(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() != 2 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    u8::from_str_radix(digits, 16).ok()
}

/// The bytes of a byte-level token; a token with a letter outside GPT-2's 256 (an added token) is its own UTF-8.
fn byte_level(token: &str) -> Vec<u8> {
    let letters = letters();
    let bytes: Option<Vec<u8>> =
        token.chars().map(|letter| letters.get(&letter).copied()).collect();
    bytes.unwrap_or_else(|| token.as_bytes().to_vec())
}

/// GPT-2's letter for every byte: printable bytes are themselves, the others follow from U+0100 in order
/// (`bytes_to_unicode` in its `encoder.py`).
fn letters() -> &'static HashMap<char, u8> {
    static LETTERS: OnceLock<HashMap<char, u8>> = OnceLock::new();
    LETTERS.get_or_init(|| {
        let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
        let themselves =
            (0..=u8::MAX).filter(|byte| printable(*byte)).map(|byte| (char::from(byte), byte));
        let others = ('\u{100}'..).zip((0..=u8::MAX).filter(|byte| !printable(*byte)));
        themselves.chain(others).collect()
    })
}

/// Reads stages, and knows whether tokens have been joined into one text yet.
struct Builder<'a> {
    origin: &'a str,
    stages: Vec<Stage>,
    joined: bool,
}

impl Builder<'_> {
    fn add(&mut self, decoder: &Value) -> Result<(), Error> {
        let kind = decoder.get("type").and_then(Value::as_str).unwrap_or_default();
        match kind {
            "Sequence" => {
                let parts = decoder.get("decoders").and_then(Value::as_array);
                let parts = parts.ok_or_else(|| self.wrong("decoder.decoders must be a list"))?;
                parts.iter().try_for_each(|part| self.add(part))
            }
            "ByteLevel" if !self.joined => {
                self.joined = true;
                self.push(Stage::ByteLevel)
            }
            "Fuse" => {
                self.joined = true;
                Ok(())
            }
            "ByteFallback" if !self.joined => self.push(Stage::ByteFallback),
            "Replace" => self.replace(decoder),
            "Strip" => self.strip(decoder),
            "Metaspace" if !self.joined && !self.stages.contains(&Stage::ByteFallback) => {
                self.metaspace(decoder)
            }
            _ => Err(self.refuse(kind)),
        }
    }

    fn replace(&mut self, decoder: &Value) -> Result<(), Error> {
        let pattern = decoder.pointer("/pattern/String").and_then(Value::as_str);
        let pattern = pattern.ok_or_else(|| self.refuse("Replace with a regular expression"))?;
        let content = self.text(decoder, "content")?;
        // Once characters arrive one by one, only a pattern of one character cannot lie across two arrivals.
        let arrives_in_parts = self.joined || self.stages.contains(&Stage::ByteFallback);
        if pattern.is_empty() || (arrives_in_parts && pattern.chars().count() > 1) {
            return Err(
                self.refuse(&format!("Replace of {pattern:?} after tokens have been joined"))
            );
        }
        self.push(Stage::Replace { pattern: pattern.to_owned(), content })
    }

    fn strip(&mut self, decoder: &Value) -> Result<(), Error> {
        let content = self.character(decoder, "content")?;
        let count = |key: &str| {
            decoder.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok())
        };
        let (Some(start), Some(stop)) = (count("start"), count("stop")) else {
            return Err(self.wrong("decoder Strip needs non-negative integers start and stop"));
        };
        match (self.joined, stop) {
            (true, 0) => self.push(Stage::StripText { content, count: start }),
            (false, _) if !self.stages.contains(&Stage::ByteFallback) => {
                self.push(Stage::Strip { content, start, stop })
            }
            _ => Err(self.refuse("Strip at the end of the text, or between ByteFallback and Fuse")),
        }
    }

    fn metaspace(&mut self, decoder: &Value) -> Result<(), Error> {
        let replacement = self.character(decoder, "replacement")?;
        let scheme = decoder.get("prepend_scheme").and_then(Value::as_str).unwrap_or("always");
        // Files older than `prepend_scheme` say `add_prefix_space: false` instead of `never`.
        let without = decoder.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
        self.push(Stage::Metaspace { replacement, drop_first: scheme != "never" && !without })
    }

    fn push(&mut self, stage: Stage) -> Result<(), Error> {
        self.stages.push(stage);
        Ok(())
    }

    fn text(&self, decoder: &Value, key: &str) -> Result<String, Error> {
        let text = decoder.get(key).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| self.wrong(&format!("a decoder's {key} must be a string")))
    }

    fn character(&self, decoder: &Value, key: &str) -> Result<char, Error> {
        let text = self.text(decoder, key)?;
        let mut characters = text.chars();
        match (characters.next(), characters.next()) {
            (Some(character), None) => Ok(character),
            _ => Err(self.wrong(&format!("a decoder's {key} must be one character, not {text:?}"))),
        }
    }

    fn wrong(&self, message: &str) -> Error {
        Error::invalid(self.origin, message)
    }

    fn refuse(&self, kind: &str) -> Error {
        let place = if self.joined { " after the tokens have been joined" } else { "" };
        let message = format!(
            "decoder {kind:?}{place} is not supported; supported are ByteLevel, and Sequences of Replace, \
             ByteFallback, Fuse, Strip and Metaspace"
        );
        Error::unsupported(self.origin, message)
    }
}
