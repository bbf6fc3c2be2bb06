//! A tokenizer rebuilt from the `tokenizer.ggml.*` keys of a GGUF file.

mod byte_level;
mod pre;
mod sentencepiece;

use crate::error::Error;
use crate::tokenizer::{Names, Parts, Tokenizer};
use stablemate_checkpoint::gguf::{Metadata, Value};
use std::collections::{BTreeMap, HashMap};
use tokenizers::AddedToken;
use tokenizers::models::bpe::Vocab;

/// What errors name as the place.
const ORIGIN: &str = "GGUF metadata";

/// The kinds of `tokenizer.ggml.model` that can be rebuilt exactly.
const MODELS: &str = "\"gpt2\" (byte-level BPE), \"llama\" (SentencePiece BPE) and \"gemma4\"";

/// Longer tokens exist in no vocabulary, and a merge table is quadratic in their length.
const LONGEST_TOKEN: usize = 4096;

impl Tokenizer {
    /// Rebuilds the tokenizer that a GGUF file describes; `None` if it describes none
    /// (`tokenizer.ggml.model` is absent, or is `none` or `no_vocab`).
    ///
    /// Follows llama.cpp's `llama-vocab.cpp` for the meaning and the defaults of keys, and the
    /// `tokenizer.json` of the original models for how text is split.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for kinds of tokenizer that could not be rebuilt exactly, by name;
    /// [`Error::Invalid`] for keys that are missing, contradict each other or are out of range.
    pub fn from_gguf(metadata: &Metadata) -> Result<Option<Tokenizer>, Error> {
        let model = match metadata.get("tokenizer.ggml.model") {
            None => return Ok(None),
            Some(Value::String(model)) => model.as_str(),
            Some(_) => return Err(wrong("tokenizer.ggml.model", "must be a string")),
        };
        let kind = match model {
            "none" | "no_vocab" => return Ok(None),
            "gpt2" => byte_level::read,
            "llama" => sentencepiece::read,
            "gemma4" => sentencepiece::read_gemma4,
            other => {
                let message = format!("tokenizer.ggml.model is {other:?}; supported are {MODELS}");
                return Err(Error::unsupported(ORIGIN, message));
            }
        };
        let vocabulary = Vocabulary::read(metadata)?;
        let Kind { mut library, decoder, add_bos, bos, eos, unknown } =
            kind(metadata, &vocabulary)?;
        library
            .add_tokens(vocabulary.added(metadata))
            .map_err(|e| Error::invalid(ORIGIN, format!("special tokens cannot be added: {e}")))?;
        let prefix = vocabulary.surrounding(metadata, "bos", add_bos, bos)?;
        let suffix = vocabulary.surrounding(metadata, "eos", false, eos)?;
        let names = vocabulary.names(metadata, bos, eos, unknown)?;
        let declared_size = vocabulary.tokens.len();
        Ok(Some(Tokenizer::new(Parts { library, decoder, prefix, suffix, declared_size, names })))
    }
}

/// What one kind of tokenizer makes of the metadata.
struct Kind {
    library: tokenizers::Tokenizer,
    decoder: crate::decoder::Decoder,
    /// Whether texts begin with the first token if no key says so.
    add_bos: bool,
    /// The first token if no key says which.
    bos: Option<u32>,
    eos: Option<u32>,
    unknown: Option<u32>,
}

/// `tokenizer.ggml.token_type` (`llama_token_type` of llama.cpp).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

/// The vocabulary as the file has it.
struct Vocabulary<'a> {
    /// Tokens by id.
    tokens: Vec<&'a str>,
    types: Vec<TokenType>,
    /// Ids by token; empty tokens, which no text contains, are not in it.
    ids: HashMap<&'a str, u32>,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &'a Metadata) -> Result<Vocabulary<'a>, Error> {
        let key = "tokenizer.ggml.tokens";
        let tokens = strings(metadata, key)?.ok_or_else(|| wrong(key, "is missing"))?;
        let mut ids = HashMap::with_capacity(tokens.len());
        for (index, token) in tokens.iter().enumerate() {
            let id =
                u32::try_from(index).map_err(|_| wrong(key, "has more entries than 32-bit ids"))?;
            if token.len() > LONGEST_TOKEN {
                let message = format!(
                    "token {index} has {} bytes; at most {LONGEST_TOKEN} are possible",
                    token.len()
                );
                return Err(wrong(key, &message));
            }
            if token.is_empty() {
                continue;
            }
            if let Some(other) = ids.insert(*token, id) {
                return Err(wrong(key, &format!("{token:?} has two ids, {other} and {id}")));
            }
        }
        let types = token_types(metadata, tokens.len())?;
        Ok(Vocabulary { tokens, types, ids })
    }

    /// Ids by token, as the library wants them.
    fn owned(&self) -> Vocab {
        self.ids.iter().map(|(token, id)| ((*token).to_owned(), *id)).collect()
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &'a str, TokenType)> + '_ {
        (0..).zip(&self.tokens).zip(&self.types).map(|((id, token), kind)| (id, *token, *kind))
    }

    fn token(&self, id: u32) -> Option<&'a str> {
        self.tokens.get(usize::try_from(id).ok()?).copied()
    }

    /// The tokens that are recognised as a whole wherever they are written.
    fn added(&self, metadata: &Metadata) -> Vec<AddedToken> {
        let tokens = self.iter().filter(|(_, token, _)| !token.is_empty());
        tokens.filter_map(|(_, token, kind)| added_token(metadata, token, kind)).collect()
    }

    /// The ids added around a text on one side (`bos` or `eos`).
    fn surrounding(
        &self,
        metadata: &Metadata,
        side: &str,
        default: bool,
        id: Option<u32>,
    ) -> Result<Vec<u32>, Error> {
        let key = format!("tokenizer.ggml.add_{side}_token");
        if !flag(metadata, &key)?.unwrap_or(default) {
            return Ok(Vec::new());
        }
        let id_key = format!("tokenizer.ggml.{side}_token_id");
        match self.id(metadata, &id_key)?.or(id) {
            Some(id) => Ok(vec![id]),
            None => {
                Err(wrong(&id_key, &format!("is missing, but {key} is true (or is by default)")))
            }
        }
    }

    /// A key that holds the id of a token.
    fn id(&self, metadata: &Metadata, key: &str) -> Result<Option<u32>, Error> {
        if metadata.get(key).is_none() {
            return Ok(None);
        }
        let id =
            metadata.unsigned(key).ok_or_else(|| wrong(key, "must be a non-negative integer"))?;
        match u32::try_from(id).ok().filter(|id| self.token(*id).is_some()) {
            Some(id) => Ok(Some(id)),
            None => {
                Err(wrong(key, &format!("is {id}, but there are {} tokens", self.tokens.len())))
            }
        }
    }

    fn names(
        &self,
        metadata: &Metadata,
        bos: Option<u32>,
        eos: Option<u32>,
        unknown: Option<u32>,
    ) -> Result<Names, Error> {
        let mut roles = BTreeMap::new();
        let keys = [
            ("bos", "bos_token", bos),
            ("eos", "eos_token", eos),
            ("unknown", "unk_token", unknown),
            ("padding", "pad_token", None),
            ("seperator", "sep_token", None),
            ("separator", "sep_token", None),
            ("cls", "cls_token", None),
            ("mask", "mask_token", None),
        ];
        for (key, role, default) in keys {
            let id = self.id(metadata, &format!("tokenizer.ggml.{key}_token_id"))?.or(default);
            if let Some(token) = id.and_then(|id| self.token(id)) {
                roles.insert(role.to_owned(), token.to_owned());
            }
        }
        let mut end = Vec::new();
        end.extend(self.id(metadata, "tokenizer.ggml.eos_token_id")?.or(eos));
        for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
            end.extend(self.id(metadata, key)?.filter(|id| !end.contains(id)));
        }
        Ok(Names { roles, end, templates: templates(metadata)?, origin: ORIGIN.to_owned() })
    }
}

/// How a token is recognised in text, if it is recognised as a whole.
fn added_token(metadata: &Metadata, token: &str, kind: TokenType) -> Option<AddedToken> {
    let special = match kind {
        TokenType::Control | TokenType::Unknown => true,
        TokenType::UserDefined => false,
        TokenType::Normal | TokenType::Unused | TokenType::Byte => return None,
    };
    // GGUF has no key for it: in Phi-3's tokenizer.json, special tokens take the white space after
    // them along. Its relatives of the same architecture, with another tokenizer, do not.
    let phi3 = metadata.string("general.architecture") == Some("phi3")
        && metadata.string("tokenizer.ggml.model") == Some("llama");
    let rstrip = phi3 && !matches!(token, "<unk>" | "<s>" | "<|endoftext|>");
    Some(AddedToken::from(token, special).normalized(false).rstrip(rstrip))
}

/// `tokenizer.chat_template` is the usual one, `tokenizer.chat_template.NAME` are others.
fn templates(metadata: &Metadata) -> Result<BTreeMap<String, String>, Error> {
    let mut templates = BTreeMap::new();
    for (key, value) in &metadata.0 {
        let name = match key.strip_prefix("tokenizer.chat_template") {
            Some("") => "default",
            Some(rest) => match rest.strip_prefix('.') {
                Some(name) => name,
                None => continue,
            },
            None => continue,
        };
        let Value::String(template) = value else { return Err(wrong(key, "must be a string")) };
        templates.insert(name.to_owned(), template.clone());
    }
    Ok(templates)
}

fn token_types(metadata: &Metadata, count: usize) -> Result<Vec<TokenType>, Error> {
    let key = "tokenizer.ggml.token_type";
    let Some(values) = array(metadata, key)? else {
        return Err(wrong(key, "is missing: without it, special tokens cannot be told from text"));
    };
    if values.len() != count {
        return Err(wrong(key, &format!("has {} entries for {count} tokens", values.len())));
    }
    let kind = |(index, value): (usize, &Value)| match integer(value) {
        Some(1) => Ok(TokenType::Normal),
        Some(2) => Ok(TokenType::Unknown),
        Some(3) => Ok(TokenType::Control),
        Some(4) => Ok(TokenType::UserDefined),
        Some(5) => Ok(TokenType::Unused),
        Some(6) => Ok(TokenType::Byte),
        _ => Err(wrong(key, &format!("entry {index} is {value}, not one of the types 1 to 6"))),
    };
    values.iter().enumerate().map(kind).collect()
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Unsigned(n) => i64::try_from(*n).ok(),
        Value::Signed(n) => Some(*n),
        _ => None,
    }
}

fn array<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<&'a [Value]>, Error> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::Array(values)) => Ok(Some(values)),
        Some(_) => Err(wrong(key, "must be an array")),
    }
}

fn strings<'a>(metadata: &'a Metadata, key: &str) -> Result<Option<Vec<&'a str>>, Error> {
    let Some(values) = array(metadata, key)? else { return Ok(None) };
    let text = |(index, value): (usize, &'a Value)| match value {
        Value::String(text) => Ok(text.as_str()),
        other => Err(wrong(key, &format!("entry {index} is {other}, not a string"))),
    };
    values.iter().enumerate().map(text).collect::<Result<_, _>>().map(Some)
}

fn flag(metadata: &Metadata, key: &str) -> Result<Option<bool>, Error> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(other) => Err(wrong(key, &format!("is {other}; it must be true or false"))),
    }
}

fn wrong(key: &str, message: &str) -> Error {
    Error::invalid(ORIGIN, format!("{key} {message}"))
}
