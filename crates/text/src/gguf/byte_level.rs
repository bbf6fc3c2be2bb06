//! `tokenizer.ggml.model` = `gpt2`: byte-level BPE with the merges in the file.

use super::pre::{self, Pre, Step};
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
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

pub(super) fn read(metadata: &Metadata, vocabulary: &Vocabulary<'_>) -> Result<Kind, Error> {
    let pre: &Pre = pre::read(metadata)?;
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
    library.with_pre_tokenizer(Some(pre_tokenizer(pre.steps)?));
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

fn pre_tokenizer(steps: &[Step]) -> Result<PreTokenizerWrapper, Error> {
    // No space is put before the text; the second value concerns offsets only.
    let bytes =
        |expression| PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, true, expression));
    let step = |step: &Step| match step {
        Step::Gpt2 => Ok(bytes(true)),
        Step::Digits => Ok(Digits::new(true).into()),
        Step::DigitRuns => Ok(Digits::new(false).into()),
        Step::Punctuation => Ok(Punctuation::new(SplitDelimiterBehavior::Contiguous).into()),
        Step::Split(expression) => {
            let pattern = SplitPattern::Regex((*expression).to_owned());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            let message = |e| Error::invalid(ORIGIN, format!("tokenizer.ggml.pre: {e}"));
            split.map(PreTokenizerWrapper::Split).map_err(message)
        }
    };
    let mut parts: Vec<PreTokenizerWrapper> = steps.iter().map(step).collect::<Result<_, _>>()?;
    if !steps.iter().any(|step| matches!(step, Step::Gpt2)) {
        parts.push(bytes(false));
    }
    Ok(Sequence::new(parts).into())
}

/// The merges in order of priority, each checked against the vocabulary.
pub(super) fn merges(
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
