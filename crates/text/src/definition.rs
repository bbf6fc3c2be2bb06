//! `tokenizer.json`: checked before the library sees it, which trusts its input and panics on some of it.

use crate::decoder::Decoder;
use crate::error::Error;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::HashSet;
use std::panic::catch_unwind;
use tokenizers::models::bpe::{BPE, BpeBuilder, Vocab};
use tokenizers::{AddedToken, ModelWrapper, NormalizerWrapper, PreTokenizerWrapper};

/// A `tokenizer.json`, taken apart.
pub(crate) struct Definition {
    /// The library's tokenizer. It adds nothing around a text and never truncates or pads.
    pub(crate) library: tokenizers::Tokenizer,
    pub(crate) decoder: Decoder,
    /// Ids put before a text when special tokens are asked for.
    pub(crate) prefix: Vec<u32>,
    /// Ids put after it.
    pub(crate) suffix: Vec<u32>,
}

/// Reads the text of a `tokenizer.json`; `origin` names it in errors.
///
/// Its `truncation` and `padding`, settings for batches that some files still carry, are not applied: they would cut
/// prompts silently.
pub(crate) fn read(text: &str, origin: &str) -> Result<Definition, Error> {
    let definition: Value =
        serde_json::from_str(text).map_err(|e| Error::invalid(origin, format!("not JSON: {e}")))?;
    let Value::Object(mut fields) = definition else {
        return Err(Error::invalid(origin, "not a JSON object"));
    };
    let version = fields.get("version").filter(|version| !version.is_null());
    if let Some(version) = version.filter(|version| version.as_str() != Some("1.0")) {
        return Err(Error::unsupported(
            origin,
            format!("version is {version}; supported is \"1.0\""),
        ));
    }
    let mut take = |key: &str| fields.remove(key).unwrap_or(Value::Null);
    let decoder = Decoder::from_json(&take("decoder"), origin)?;
    let (prefix, suffix) = around(&take("post_processor"), origin)?;
    let model = take("model");
    check_model(&model, origin)?;
    let model = match bpe(model) {
        Ok(model) => {
            model.build().map_err(|e| Error::invalid(origin, format!("model: {e}")))?.into()
        }
        Err(model) => part::<ModelWrapper>(model, "model", origin)?,
    };
    let mut library = tokenizers::Tokenizer::new(model);
    let normalizer: Option<NormalizerWrapper> = part(take("normalizer"), "normalizer", origin)?;
    library
        .with_normalizer(normalizer)
        .map_err(|e| Error::invalid(origin, format!("normalizer: {e}")))?;
    let pre_tokenizer: Option<PreTokenizerWrapper> =
        part(take("pre_tokenizer"), "pre_tokenizer", origin)?;
    library.with_pre_tokenizer(pre_tokenizer);
    add_tokens(&mut library, take("added_tokens"), origin)?;
    for id in prefix.iter().chain(&suffix) {
        if library.id_to_token(*id).is_none() {
            return Err(Error::invalid(
                origin,
                format!("post_processor: id {id} is not in the vocabulary"),
            ));
        }
    }
    Ok(Definition { library, decoder, prefix, suffix })
}

/// A byte-pair model, checked before. The library would copy its vocabulary and its merges three
/// times. Whatever is of another form is handed back for the library to read or to refuse.
fn bpe(mut model: Value) -> Result<BpeBuilder, Value> {
    let optional = |key: &str| model.get(key).filter(|value| !value.is_null());
    let text = |key: &str| optional(key).is_none_or(Value::is_string);
    let flag = |key: &str| optional(key).is_none_or(Value::is_boolean);
    let known = model.get("type").and_then(Value::as_str) == Some("BPE")
        && optional("dropout").is_none()
        && ["unk_token", "continuing_subword_prefix", "end_of_word_suffix"].into_iter().all(text)
        && ["fuse_unk", "byte_fallback", "ignore_merges"].into_iter().all(flag)
        && model.get("vocab").is_some_and(Value::is_object)
        && model
            .get("merges")
            .and_then(Value::as_array)
            .is_some_and(|merges| merges.iter().all(|merge| pair(merge).is_some()));
    if !known {
        return Err(model);
    }
    let mut builder = BPE::builder();
    let text = |key: &str| optional(key).and_then(Value::as_str).map(str::to_owned);
    let flag = |key: &str| optional(key).and_then(Value::as_bool).unwrap_or(false);
    if let Some(token) = text("unk_token") {
        builder = builder.unk_token(token);
    }
    if let Some(prefix) = text("continuing_subword_prefix") {
        builder = builder.continuing_subword_prefix(prefix);
    }
    if let Some(suffix) = text("end_of_word_suffix") {
        builder = builder.end_of_word_suffix(suffix);
    }
    builder = builder
        .fuse_unk(flag("fuse_unk"))
        .byte_fallback(flag("byte_fallback"))
        .ignore_merges(flag("ignore_merges"));
    let (vocabulary, merges) = match (model["vocab"].take(), model["merges"].take()) {
        (Value::Object(vocabulary), Value::Array(merges)) => (vocabulary, merges),
        _ => return Err(model),
    };
    let ids = vocabulary.into_iter().filter_map(|(token, id)| Some((token, token_id(&id)?)));
    let merges = merges.into_iter().filter_map(owned_pair);
    Ok(builder.vocab_and_merges(ids.collect::<Vocab>(), merges.collect()))
}

/// [`pair`] of a value that is not needed any more.
fn owned_pair(merge: Value) -> Option<(String, String)> {
    if let Value::Array(parts) = merge {
        let mut parts = parts.into_iter();
        return match (parts.next(), parts.next(), parts.next()) {
            (Some(Value::String(left)), Some(Value::String(right)), None) => Some((left, right)),
            _ => None,
        };
    }
    pair(&merge).map(|(left, right)| (left.to_owned(), right.to_owned()))
}

/// One part of the file as the library reads it, which panics on some values it does not like.
fn part<T: DeserializeOwned>(value: Value, key: &str, origin: &str) -> Result<T, Error> {
    match catch_unwind(|| serde_json::from_value(value)) {
        Ok(part) => part.map_err(|e| Error::invalid(origin, format!("{key}: {e}"))),
        Err(_) => {
            Err(Error::invalid(origin, format!("{key}: the tokenizer library gave up on it")))
        }
    }
}

/// Adds `added_tokens`, and checks that they get the ids that the file gives them.
fn add_tokens(
    library: &mut tokenizers::Tokenizer,
    added: Value,
    origin: &str,
) -> Result<(), Error> {
    let Some(added) = Some(added).filter(|added| !added.is_null()) else { return Ok(()) };
    let tokens: Vec<AddedToken> = part(added.clone(), "added_tokens", origin)?;
    library
        .add_tokens(tokens.iter().cloned())
        .map_err(|e| Error::invalid(origin, format!("added_tokens: {e}")))?;
    // The library ignores empty ones.
    let pairs = added
        .as_array()
        .into_iter()
        .flatten()
        .zip(&tokens)
        .filter(|(_, token)| !token.content.is_empty());
    for (entry, token) in pairs {
        let (expected, found) =
            (entry.get("id").and_then(token_id), library.token_to_id(&token.content));
        if expected.is_none() || expected != found {
            let (content, id) = (&token.content, entry.get("id").unwrap_or(&Value::Null));
            let found = found.map_or_else(|| "none".to_owned(), |id| id.to_string());
            let message = format!(
                "added_tokens: the id of {content:?} is {id}, but the vocabulary makes it {found}"
            );
            return Err(Error::invalid(origin, message));
        }
    }
    Ok(())
}

fn check_model(model: &Value, origin: &str) -> Result<(), Error> {
    if let Some(dropout) =
        model.get("dropout").and_then(Value::as_f64).filter(|dropout| *dropout != 0.0)
    {
        let message = format!(
            "model.dropout is {dropout}: the ids of a text would be random; it must be null"
        );
        return Err(Error::unsupported(origin, message));
    }
    // Vocabularies of the other model, Unigram, are lists.
    if let Some(vocabulary) = model.get("vocab").and_then(Value::as_object) {
        check_vocabulary(vocabulary, origin)?;
        if let Some(merges) = model.get("merges") {
            let prefix =
                model.get("continuing_subword_prefix").and_then(Value::as_str).unwrap_or_default();
            let merges = merges
                .as_array()
                .ok_or_else(|| Error::invalid(origin, "model.merges must be a list"))?;
            let known = |token: &str| vocabulary.contains_key(token);
            for (index, merge) in merges.iter().enumerate() {
                let Some((left, right)) = pair(merge) else {
                    // The library skips the header line of files that came from a merges.txt.
                    if merge.as_str().is_some_and(|line| line.starts_with("#version")) {
                        continue;
                    }
                    return Err(Error::invalid(
                        origin,
                        format!("model.merges[{index}] is {merge}, not two tokens"),
                    ));
                };
                check_merge(left, right, prefix, known).map_err(|message| {
                    Error::invalid(origin, format!("model.merges[{index}]: {message}"))
                })?;
            }
        }
    }
    Ok(())
}

fn check_vocabulary(
    vocabulary: &serde_json::Map<String, Value>,
    origin: &str,
) -> Result<(), Error> {
    let mut seen = HashSet::with_capacity(vocabulary.len());
    for (token, id) in vocabulary {
        let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) else {
            return Err(Error::invalid(
                origin,
                format!("model.vocab: the id of {token:?} is {id}, not a 32-bit integer"),
            ));
        };
        if !seen.insert(id) {
            return Err(Error::invalid(
                origin,
                format!("model.vocab: id {id} has two tokens, one of them {token:?}"),
            ));
        }
    }
    Ok(())
}

/// The two tokens of a merge, in either way that files write it.
fn pair(merge: &Value) -> Option<(&str, &str)> {
    match merge {
        Value::String(line) if !line.starts_with("#version") => {
            line.split_once(' ').filter(|(_, right)| !right.contains(' '))
        }
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(left), Value::String(right)] => Some((left, right)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether both tokens and what they become are in the vocabulary: where they are not, the library writes past a
/// buffer's end and panics.
pub(crate) fn check_merge(
    left: &str,
    right: &str,
    prefix: &str,
    known: impl Fn(&str) -> bool,
) -> Result<(), String> {
    for token in [left, right] {
        if !known(token) {
            return Err(format!("{token:?} is not in the vocabulary"));
        }
    }
    let Some(right) = right.strip_prefix(prefix) else {
        return Err(format!(
            "{right:?} does not begin with {prefix:?}, the continuing_subword_prefix"
        ));
    };
    let merged = [left, right].concat();
    if !known(&merged) {
        return Err(format!("{merged:?}, which the two become, is not in the vocabulary"));
    }
    Ok(())
}

/// The ids that a post-processor puts before and after a single text.
fn around(processor: &Value, origin: &str) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let kind = processor.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        _ if processor.is_null() => Ok((Vec::new(), Vec::new())),
        // It only moves offsets.
        "ByteLevel" => Ok((Vec::new(), Vec::new())),
        "TemplateProcessing" => template(processor, origin),
        "BertProcessing" | "RobertaProcessing" => {
            let id = |key: &str| {
                let id = processor.pointer(&format!("/{key}/1")).and_then(token_id);
                id.ok_or_else(|| {
                    Error::invalid(
                        origin,
                        format!("post_processor.{key} must be a token and its id"),
                    )
                })
            };
            Ok((vec![id("cls")?], vec![id("sep")?]))
        }
        "Sequence" => {
            let parts = processor.get("processors").and_then(Value::as_array);
            let parts = parts.ok_or_else(|| {
                Error::invalid(origin, "post_processor.processors must be a list")
            })?;
            let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
            for part in parts {
                let (before, after) = around(part, origin)?;
                // A later part surrounds what the earlier ones made.
                prefix.splice(0..0, before);
                suffix.extend(after);
            }
            Ok((prefix, suffix))
        }
        other => Err(Error::unsupported(
            origin,
            format!(
                "post_processor {other:?}; supported are TemplateProcessing, ByteLevel, BertProcessing, \
                 RobertaProcessing and a Sequence of them"
            ),
        )),
    }
}

fn token_id(id: &Value) -> Option<u32> {
    id.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn template(processor: &Value, origin: &str) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let wrong = |message: &str| Error::invalid(origin, format!("post_processor.single: {message}"));
    let pieces =
        processor.get("single").and_then(Value::as_array).ok_or_else(|| wrong("must be a list"))?;
    let (mut prefix, mut suffix, mut seen) = (Vec::new(), Vec::new(), false);
    for piece in pieces {
        if piece.get("Sequence").is_some() {
            if std::mem::replace(&mut seen, true) {
                return Err(wrong("holds the text twice"));
            }
            continue;
        }
        let name = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
        let name = name.ok_or_else(|| wrong("must hold only Sequence and SpecialToken"))?;
        let ids = processor
            .get("special_tokens")
            .and_then(|tokens| tokens.get(name))
            .and_then(|token| token.get("ids"));
        let ids: Option<Vec<u32>> =
            ids.and_then(Value::as_array).and_then(|ids| ids.iter().map(token_id).collect());
        let ids = ids.ok_or_else(|| {
            wrong(&format!("special token {name:?} has no ids in special_tokens"))
        })?;
        if seen { suffix.extend(ids) } else { prefix.extend(ids) }
    }
    if seen { Ok((prefix, suffix)) } else { Err(wrong("does not hold the text")) }
}
