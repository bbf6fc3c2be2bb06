//! `tokenizer.ggml.model` = `gpt2`: byte-level BPE with the merges in the file.

use super::{Kind, ORIGIN, Vocabulary, flag, strings, wrong};
use crate::decoder::Decoder;
use crate::definition::check_merge;
use crate::error::Error;
use stablemate_checkpoint::gguf::Metadata;
use tokenizers::models::bpe::BPE;
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// How a kind of `tokenizer.ggml.pre` cuts text into words before merging.
enum Words {
    /// GPT-2's expression, built into the library.
    Gpt2,
    /// Every digit alone, then GPT-2's expression.
    DigitsGpt2,
    /// The expression of the model's `tokenizer.json`.
    Expression(&'static str),
}

/// What `tokenizer.ggml.pre` stands for.
struct Pre {
    names: &'static [&'static str],
    words: Words,
    /// Whether text is composed (NFC) first.
    compose: bool,
    /// Whether a word that is a token as it stands is not merged from its letters.
    ignore_merges: bool,
    add_bos: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Only kinds whose `tokenizer.json` is known: llama.cpp treats many more alike that differ in normalisation or in
/// `ignore_merges`, and its own default kind imitates no model.
const KNOWN: [Pre; 7] = [
    Pre {
        names: &["gpt-2", "phi-2"],
        words: Words::Gpt2,
        compose: false,
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["smollm", "starcoder", "refact"],
        words: Words::DigitsGpt2,
        compose: false,
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["command-r"],
        words: Words::DigitsGpt2,
        compose: true,
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3"],
        words: Words::Expression(LLAMA3),
        compose: false,
        ignore_merges: true,
        add_bos: true,
    },
    Pre {
        names: &["qwen2"],
        words: Words::Expression(QWEN2),
        compose: true,
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["qwen35"],
        words: Words::Expression(QWEN35),
        compose: true,
        ignore_merges: false,
        add_bos: false,
    },
    Pre {
        names: &["tekken"],
        words: Words::Expression(TEKKEN),
        compose: false,
        ignore_merges: true,
        add_bos: true,
    },
];

pub(super) fn read(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Kind, Error> {
    let pre = pre(metadata)?;
    if flag(metadata, "tokenizer.ggml.add_space_prefix")? == Some(true) {
        let message =
            "tokenizer.ggml.add_space_prefix is true; with byte-level BPE only false is supported";
        return Err(Error::unsupported(ORIGIN, message));
    }
    let merges = merges(metadata, vocabulary)?;
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.owned(), merges)
        .ignore_merges(pre.ignore_merges)
        .build()
        .map_err(|e| Error::invalid(ORIGIN, format!("tokenizer.ggml.merges: {e}")))?;
    let mut library = tokenizers::Tokenizer::new(model);
    if pre.compose {
        library.with_normalizer(Some(NFC)).map_err(|e| Error::invalid(ORIGIN, e.to_string()))?;
    }
    library.with_pre_tokenizer(Some(pre_tokenizer(&pre.words)?));
    let bos = vocabulary.id(metadata, "tokenizer.ggml.bos_token_id")?;
    let eos = vocabulary.id(metadata, "tokenizer.ggml.eos_token_id")?;
    Ok(Kind {
        library,
        decoder: Decoder::byte_level(),
        add_bos: pre.add_bos,
        bos,
        eos,
        unknown: None,
    })
}

fn pre(metadata: &Metadata) -> Result<&'static Pre, Error> {
    let key = "tokenizer.ggml.pre";
    let known = || KNOWN.iter().flat_map(|pre| pre.names).copied().collect::<Vec<_>>().join(", ");
    let name = match metadata.string(key) {
        Some(name) => name,
        None if metadata.get(key).is_some() => return Err(wrong(key, "must be a string")),
        None => {
            let message = format!(
                "is missing: files this old do not say how text is cut into words; convert the model again (known: {})",
                known()
            );
            return Err(wrong(key, &message));
        }
    };
    KNOWN.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        Error::unsupported(ORIGIN, format!("{key} is {name:?}; supported are {}", known()))
    })
}

fn pre_tokenizer(words: &Words) -> Result<PreTokenizerWrapper, Error> {
    // No space is put before the text; the second value concerns offsets only.
    let bytes =
        |expression| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, expression));
    let first = match words {
        Words::Gpt2 => return Ok(bytes(true)),
        Words::DigitsGpt2 => {
            return Ok(Sequence::new(vec![
                PreTokenizerWrapper::Digits(Digits::new(true)),
                bytes(true),
            ])
            .into());
        }
        Words::Expression(expression) => {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
        }
    };
    let first = first.map_err(|e| Error::invalid(ORIGIN, format!("tokenizer.ggml.pre: {e}")))?;
    Ok(Sequence::new(vec![first.into(), bytes(false)]).into())
}

/// The merges in order of priority, each checked against the vocabulary.
fn merges(
    metadata: &Metadata,
    vocabulary: &Vocabulary<'_>,
) -> Result<Vec<(String, String)>, Error> {
    let key = "tokenizer.ggml.merges";
    let lines = strings(metadata, key)?.ok_or_else(|| wrong(key, "is missing"))?;
    let mut merges = Vec::with_capacity(lines.len());
    for (index, line) in lines.into_iter().enumerate() {
        let Some((left, right)) = line.split_once(' ').filter(|(_, right)| !right.contains(' '))
        else {
            return Err(wrong(
                key,
                &format!("entry {index} is {line:?}, not two tokens with a space between"),
            ));
        };
        check_merge(left, right, "", |token| vocabulary.ids.contains_key(token))
            .map_err(|message| wrong(key, &format!("entry {index}: {message}")))?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}
