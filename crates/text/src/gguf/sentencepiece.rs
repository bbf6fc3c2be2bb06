//! `tokenizer.ggml.model` = `llama`: SentencePiece BPE, whose merges are implied by the tokens'
//! scores.

use super::byte_level;
use super::{Kind, ORIGIN, TokenType, Vocabulary, array, flag, wrong};
use crate::decoder::{Decoder, byte_token};
use crate::error::Error;
use stablemate_checkpoint::gguf::{Metadata, Value};
use std::collections::HashMap;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};

/// SentencePiece's mark for a space.
const SPACE: &str = "▁";

pub(super) fn read(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Kind, Error> {
    let scores = scores(metadata, vocabulary)?;
    // llama.cpp's defaults are the ids that SentencePiece's own trainer gives.
    let defaults = Defaults { unknown: 0, bos: 1, eos: 2, space_first: true };
    kind(metadata, vocabulary, merges(vocabulary, &scores), defaults)
}

/// `tokenizer.ggml.model` = `gemma4`: a vocabulary of this kind whose merges are in the file.
pub(super) fn read_gemma4(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Kind, Error> {
    let merges = byte_level::merges(metadata, vocabulary)?;
    let defaults = Defaults { unknown: 3, bos: 2, eos: 1, space_first: false };
    kind(metadata, vocabulary, merges, defaults)
}

/// What absent keys mean.
struct Defaults {
    unknown: u32,
    bos: u32,
    eos: u32,
    /// Whether a space is put before the text.
    space_first: bool,
}

fn kind(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
    merges: Vec<(String, String)>,
    defaults: Defaults,
) -> Result<Kind, Error> {
    refuse_other_normalisation(metadata)?;
    let default =
        |key: &str, id: u32| Ok(vocabulary.id(metadata, key)?.or(vocabulary.token(id).map(|_| id)));
    let unknown = default("tokenizer.ggml.unknown_token_id", defaults.unknown)?;
    let bos = default("tokenizer.ggml.bos_token_id", defaults.bos)?;
    let eos = default("tokenizer.ggml.eos_token_id", defaults.eos)?;

    let mut model = BPE::builder()
        .vocab_and_merges(vocabulary.owned(), merges)
        .fuse_unk(true)
        .byte_fallback(has_all_bytes(vocabulary)?);
    if let Some(token) = unknown.and_then(|id| vocabulary.token(id)) {
        model = model.unk_token(token.to_owned());
    }
    let model =
        model.build().map_err(|e| Error::invalid(ORIGIN, format!("tokenizer.ggml.tokens: {e}")))?;
    let mut library = tokenizers::Tokenizer::new(model);
    let stated = flag(metadata, "tokenizer.ggml.add_space_prefix")?;
    let space_first = stated.unwrap_or(defaults.space_first);
    library
        .with_normalizer(Some(normalizer(space_first)?))
        .map_err(|e| Error::invalid(ORIGIN, e.to_string()))?;
    Ok(Kind {
        library,
        decoder: Decoder::sentencepiece(space_first),
        add_bos: true,
        bos,
        eos,
        unknown,
    })
}

/// Spaces become `▁`, and one is put before the text and after every special token, as in llama.cpp
/// and in the `tokenizer.json` of Llama 2.
fn normalizer(space_first: bool) -> Result<NormalizerWrapper, Error> {
    let spaces = Replace::new(" ", SPACE).map_err(|e| Error::invalid(ORIGIN, e.to_string()))?;
    if !space_first {
        return Ok(spaces.into());
    }
    Ok(Sequence::new(vec![Prepend::new(SPACE.to_owned()).into(), spaces.into()]).into())
}

/// These keys belong to other kinds; with this one they would mean a normalisation that is not
/// reproduced here.
fn refuse_other_normalisation(metadata: &Metadata) -> Result<(), Error> {
    let key = "tokenizer.ggml.remove_extra_whitespaces";
    if flag(metadata, key)? == Some(true) {
        return Err(Error::unsupported(ORIGIN, format!("{key} is true; only false is supported")));
    }
    let key = "tokenizer.ggml.precompiled_charsmap";
    if array(metadata, key)?.is_some_and(|map| !map.is_empty()) {
        return Err(Error::unsupported(
            ORIGIN,
            format!("{key} is not empty: normalisation by a table is not supported"),
        ));
    }
    Ok(())
}

fn scores(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Vec<f64>, Error> {
    let key = "tokenizer.ggml.scores";
    let values = array(metadata, key)?.ok_or_else(|| wrong(key, "is missing"))?;
    let count = vocabulary.tokens.len();
    if values.len() != count {
        return Err(wrong(key, &format!("has {} entries for {count} tokens", values.len())));
    }
    let score = |(index, value): (usize, &Value)| match value {
        Value::Float(score) if !score.is_nan() => Ok(*score),
        Value::Signed(score) => Ok(*score as f64),
        Value::Unsigned(score) => Ok(*score as f64),
        other => Err(wrong(key, &format!("entry {index} is {other}, not a number"))),
    };
    values.iter().enumerate().map(score).collect()
}

/// Whether characters without a token are written as bytes: the vocabulary has a token for all of
/// them or for none.
fn has_all_bytes(vocabulary: &Vocabulary<'_>) -> Result<bool, Error> {
    let mut seen = [false; 256];
    for (id, token, _) in vocabulary.iter().filter(|(_, _, kind)| *kind == TokenType::Byte) {
        let slot = byte_token(token).and_then(|byte| seen.get_mut(usize::from(byte)));
        match slot {
            Some(slot) => *slot = true,
            None => {
                let message =
                    format!("token {id} is {token:?}, a byte by its type, but not written <0xNN>");
                return Err(wrong("tokenizer.ggml.tokens", &message));
            }
        }
    }
    match seen.iter().filter(|seen| **seen).count() {
        0 => Ok(false),
        256 => Ok(true),
        count => Err(wrong(
            "tokenizer.ggml.token_type",
            &format!("marks {count} byte tokens; 0 or 256 are possible"),
        )),
    }
}

/// Every pair of tokens that makes a token, the highest score first.
///
/// SentencePiece merges the pair whose result has the highest score, and the leftmost of several;
/// here, as in `generate_merges` of transformers, pairs with one result are ranked by the longer
/// left part.
fn merges(vocabulary: &Vocabulary<'_>, scores: &[f64]) -> Vec<(String, String)> {
    struct Candidate<'a> {
        score: f64,
        lengths: (usize, usize),
        parts: (&'a str, &'a str),
    }
    // Only these are pieces of text for SentencePiece: literal "<s>" or "<0x41>" never merges to a
    // control or a byte.
    let piece = |kind: TokenType| matches!(kind, TokenType::Normal | TokenType::UserDefined);
    let pieces: HashMap<&str, u32> = vocabulary
        .iter()
        .filter(|(_, _, kind)| piece(*kind))
        .map(|(id, token, _)| (token, id))
        .collect();
    let mut candidates = Vec::new();
    for ((_, token, kind), score) in vocabulary.iter().zip(scores) {
        if !piece(kind) {
            continue;
        }
        let first = candidates.len();
        let length = token.chars().count();
        for (characters, (at, _)) in token.char_indices().enumerate().skip(1) {
            let (left, right) = token.split_at(at);
            if pieces.contains_key(left) && pieces.contains_key(right) {
                let lengths = (characters, length.saturating_sub(characters));
                candidates.push(Candidate { score: *score, lengths, parts: (left, right) });
            }
        }
        let ids = |candidate: &Candidate<'_>| {
            (pieces.get(candidate.parts.0), pieces.get(candidate.parts.1))
        };
        if let Some(local) = candidates.get_mut(first..) {
            local.sort_by(|a, b| ids(a).cmp(&ids(b)));
        }
    }
    // Stable: equal ranks stay in the order of the vocabulary.
    candidates.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| b.lengths.cmp(&a.lengths)));
    let owned =
        |candidate: Candidate<'_>| (candidate.parts.0.to_owned(), candidate.parts.1.to_owned());
    candidates.into_iter().map(owned).collect()
}
