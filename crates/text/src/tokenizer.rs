//! [`Tokenizer`]: token ids ↔ text.

use crate::chat::ChatTemplate;
use crate::decoder::{Decoder, Progress};
use crate::error::Error;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokenizers::{AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizer};

/// A model's vocabulary: encodes text to token ids and decodes ids to text.
///
/// Cheap to clone, and shared between threads. Encoding is that of Hugging Face's `tokenizers`; decoding gives the
/// same text, except that among SentencePiece byte tokens a wrong byte costs only itself (as in SentencePiece), where
/// `tokenizers` gives up all neighbouring bytes, those of whole characters too.
#[derive(Clone)]
pub struct Tokenizer {
    shared: Arc<Shared>,
}

struct Shared {
    library: tokenizers::Tokenizer,
    /// The added tokens without the special ones, for text that must not contain any.
    plain: AddedVocabulary,
    decoder: Decoder,
    special: BTreeSet<u32>,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    size: usize,
    names: Names,
}

/// What the files around a vocabulary say about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    /// Special tokens by role (`bos_token`, `eos_token`, `pad_token`, …), as chat templates see them.
    pub(crate) roles: BTreeMap<String, String>,
    /// Ids that end a turn or a text, by declaration.
    pub(crate) end: Vec<u32>,
    /// Chat templates by name; the usual one is `default`.
    pub(crate) templates: BTreeMap<String, String>,
    /// The file they come from.
    pub(crate) origin: String,
}

/// A vocabulary, ready to become a [`Tokenizer`].
pub(crate) struct Parts {
    pub(crate) library: tokenizers::Tokenizer,
    pub(crate) decoder: Decoder,
    pub(crate) prefix: Vec<u32>,
    pub(crate) suffix: Vec<u32>,
    /// Number of ids the file declares, where that may be more than the library knows.
    pub(crate) declared_size: usize,
    pub(crate) names: Names,
}

impl Tokenizer {
    pub(crate) fn new(parts: Parts) -> Tokenizer {
        let Parts { library, decoder, prefix, suffix, declared_size, names } = parts;
        let special = library.get_added_vocabulary().get_added_tokens_decoder().iter();
        let special = special.filter(|(_, token)| token.special).map(|(id, _)| *id).collect();
        let largest = library.get_vocab(true).into_values().max();
        let counted =
            largest.map_or(0, |id| usize::try_from(id).unwrap_or(usize::MAX).saturating_add(1));
        let mut plain = library.get_added_vocabulary().clone();
        plain.set_encode_special_tokens(true);
        let size = counted.max(declared_size);
        Tokenizer {
            shared: Arc::new(Shared {
                library,
                plain,
                decoder,
                special,
                prefix,
                suffix,
                size,
                names,
            }),
        }
    }

    /// The ids of `text`. Special tokens written in it become their ids (chat templates rely on this). With
    /// `add_special`, the tokens that the model expects around a text are added, usually the first one only; a prompt
    /// from a chat template has them already. As in the library, bytes without a token are left out where a vocabulary
    /// has no unknown token (SmolLM2 has no token for some control characters).
    ///
    /// # Errors
    /// [`Error::Encode`] if the library fails, for instance on ten million spaces in a row.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        let shared = &*self.shared;
        let encoding = guarded(text, || shared.library.encode_fast(text, false))?;
        if !add_special {
            return Ok(encoding.get_ids().to_vec());
        }
        Ok([shared.prefix.as_slice(), encoding.get_ids(), shared.suffix.as_slice()].concat())
    }

    /// The ids of `text` where special tokens written in it are only letters: for text from outside that must not
    /// forge the structure of a conversation. Added tokens that are not special are still recognised.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, Error> {
        guarded(text, || self.tokenize_plain(text))
    }

    fn tokenize_plain(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let shared = &*self.shared;
        let mut pieces = shared.plain.extract_and_normalize(shared.library.get_normalizer(), text);
        if let Some(pre_tokenizer) = shared.library.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut pieces)?;
        }
        pieces.tokenize(|piece| shared.library.get_model().tokenize(piece.get()))?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        Ok(splits
            .into_iter()
            .flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id))
            .collect())
    }

    /// The text of `ids`; with `skip_special`, special tokens leave no trace. An id without a token gives nothing, as
    /// in the library: models have more rows than their vocabulary has tokens. Bytes that are no text become U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let mut stream = self.stream(skip_special);
        let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        text
    }

    /// Decodes ids as they come. Holds its own reference to the vocabulary.
    pub fn stream(&self, skip_special: bool) -> Detokenizer {
        Detokenizer { progress: self.shared.decoder.start(), tokenizer: self.clone(), skip_special }
    }

    /// The token of `id` as the vocabulary writes it (`Ġthe`, `▁the`, `<0x0A>`), if there is one.
    pub fn token(&self, id: u32) -> Option<String> {
        self.shared.library.id_to_token(id)
    }

    /// The bytes that a token adds to a text it does not begin: ` the`, half a character, the text of a special token.
    /// `None` for an id without a token. Put together, they are what [`Detokenizer`] makes of tokens that follow others
    /// (with their special tokens), as far as they are text.
    pub fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        Some(self.shared.decoder.bytes(&self.token(id)?))
    }

    /// The id of a token as the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.shared.library.token_to_id(token)
    }

    /// One more than the largest id. A model may have more rows of logits than this; those ids mean nothing.
    pub fn vocabulary_size(&self) -> usize {
        self.shared.size
    }

    /// The token that begins a text, if the model has one. Whether it is added is another matter: see
    /// [`Tokenizer::encode`].
    pub fn bos_token(&self) -> Option<&str> {
        self.special_token("bos_token")
    }

    /// The token that ends a text, if the model has one.
    pub fn eos_token(&self) -> Option<&str> {
        self.special_token("eos_token")
    }

    /// A special token by its role, as Hugging Face names it: `pad_token`, `unk_token`, ….
    pub fn special_token(&self, role: &str) -> Option<&str> {
        self.shared.names.roles.get(role).map(String::as_str)
    }

    /// Ids of all special tokens: those which `skip_special` leaves out.
    pub fn special_ids(&self) -> &BTreeSet<u32> {
        &self.shared.special
    }

    /// Whether a token is special: one that `skip_special` leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.shared.special.contains(&id)
    }

    /// Whether a token was added to the vocabulary as it is written, not learned with it: all special tokens, and marks
    /// such as Qwen's `<tool_call>` that are part of the text.
    pub fn is_added(&self, id: u32) -> bool {
        self.shared.library.get_added_vocabulary().get_added_tokens_decoder().contains_key(&id)
    }

    /// Ids that the files around the vocabulary declare to end a text or a turn: `eos_token`, and in GGUF also
    /// `eot_token_id` and `eom_token_id`. Nothing is guessed from how a token is written; a directory's
    /// `generation_config.json` may name more.
    pub fn end_ids(&self) -> &[u32] {
        &self.shared.names.end
    }

    /// The source of the chat template: the one named `tool_use` if there are tools and the model has one, otherwise
    /// `default`. `None` if the model has no template at all.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the model has only templates of other names.
    pub fn chat_template_source(&self, with_tools: bool) -> Result<Option<&str>, Error> {
        let names = &self.shared.names;
        let tool_use = names.templates.get("tool_use").filter(|_| with_tools);
        match tool_use.or_else(|| names.templates.get("default")) {
            Some(source) => Ok(Some(source)),
            None if names.templates.is_empty() => Ok(None),
            None => {
                let known: Vec<&str> = names.templates.keys().map(String::as_str).collect();
                let message = format!("no chat template is named \"default\"; there are {known:?}");
                Err(Error::unsupported(&names.origin, message))
            }
        }
    }

    /// The chat template, compiled, with the model's special tokens filled in; `None` if the model has none.
    ///
    /// # Errors
    /// As [`Tokenizer::chat_template_source`], and [`Error::TemplateSyntax`].
    pub fn chat_template(&self, with_tools: bool) -> Result<Option<ChatTemplate>, Error> {
        let Some(source) = self.chat_template_source(with_tools)? else { return Ok(None) };
        let mut template = ChatTemplate::new(source, None, None)?;
        for (role, token) in &self.shared.names.roles {
            template = template.with_token(role, token);
        }
        Ok(Some(template))
    }
}

/// Runs the library on `text`. Its regular expressions panic where a match takes too many steps, which ten million
/// spaces in a row are enough for.
fn guarded<T>(text: &str, encode: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, Error> {
    let error = |message: String| Error::Encode { bytes: text.len(), message };
    match catch_unwind(AssertUnwindSafe(encode)) {
        Ok(result) => result.map_err(|e| error(e.to_string())),
        Err(_) => Err(error("the tokenizer library gave up on it".to_owned())),
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokenizer")
            .field("vocabulary_size", &self.shared.size)
            .finish_non_exhaustive()
    }
}

/// Decodes the ids of one text as they come, in time proportional to the text.
///
/// The pieces returned by [`push`](Detokenizer::push) and [`finish`](Detokenizer::finish), put together, are what
/// [`Tokenizer::decode`] makes of all the ids. No piece ends inside a character.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    tokenizer: Tokenizer,
    progress: Progress,
    skip_special: bool,
}

impl Detokenizer {
    /// The text that is certain with this id, and was not before: "" while a character is incomplete.
    pub fn push(&mut self, id: u32) -> String {
        let shared = &*self.tokenizer.shared;
        let mut text = String::new();
        if self.skip_special && shared.special.contains(&id) {
            return text;
        }
        if let Some(token) = shared.library.id_to_token(id) {
            shared.decoder.push(&mut self.progress, &token, &mut text);
        }
        text
    }

    /// Takes ids whose text is known already, such as those of a prompt that the following ids continue. Without it,
    /// the first piece counts as the beginning of a text, where SentencePiece's space is not part of the text.
    pub fn skip(&mut self, ids: &[u32]) {
        for id in ids {
            self.push(*id);
        }
    }

    /// What is left at the end: bytes of a character that never became complete, as U+FFFD. Afterwards the
    /// detokenizer is as new.
    pub fn finish(&mut self) -> String {
        let decoder = &self.tokenizer.shared.decoder;
        let mut text = String::new();
        decoder.finish(&mut self.progress, &mut text);
        self.progress = decoder.start();
        text
    }
}
