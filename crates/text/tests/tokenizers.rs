//! Every vocabulary of `fixtures/tokenizers`, from `tokenizer.json` and from GGUF metadata, gives the ids and the text
//! that Hugging Face and SentencePiece give.

// Each test file uses its own part of it.
#[allow(dead_code)]
mod common;

use common::{BYTE_FALLBACK, KINDS, both, ids, metadata, path, read};
use proptest::prelude::*;
use stablemate_checkpoint::gguf;
use stablemate_text::Tokenizer;
use std::collections::HashMap;
use std::sync::OnceLock;

#[test]
fn ids_and_texts_are_the_reference_s() {
    for kind in KINDS {
        let expected = read(kind, "expected.json");
        for (source, tokenizer) in both(kind) {
            for row in expected.as_array().unwrap() {
                let text = row["text"].as_str().unwrap();
                let place = format!("{kind}, {source}, {text:?}");
                let encoded = tokenizer.encode(text, false).unwrap();
                assert_eq!(encoded, ids(&row["ids"]), "{place}");
                let special = tokenizer.encode(text, true).unwrap();
                assert_eq!(special, ids(&row["ids_with_special"]), "{place}, with special tokens");
                assert_eq!(tokenizer.decode(&encoded, false), row["decoded"], "{place}");
                assert_eq!(
                    tokenizer.decode(&special, true),
                    row["decoded_skipping"],
                    "{place}, skipping"
                );
                let has_special = encoded.iter().any(|id| tokenizer.special_ids().contains(id));
                let plain = tokenizer.encode_plain(text).unwrap();
                assert_eq!(plain == encoded, !has_special, "{place}, plain");
                assert!(
                    !plain.iter().any(|id| tokenizer.special_ids().contains(id)),
                    "{place}, plain"
                );
            }
        }
    }
}

/// What SentencePiece makes of bytes: every whole character, and U+FFFD for every byte that belongs to none.
fn sentencepiece_bytes(mut bytes: &[u8]) -> String {
    let mut text = String::new();
    while !bytes.is_empty() {
        let character =
            (1..=4.min(bytes.len())).find_map(|n| std::str::from_utf8(&bytes[..n]).ok());
        text.push_str(character.unwrap_or("\u{fffd}"));
        bytes = &bytes[character.map_or(1, str::len)..];
    }
    text
}

#[test]
fn parts_of_characters_decode_as_in_the_reference() {
    for kind in KINDS {
        for row in read(kind, "decode.json").as_array().unwrap() {
            let (ids, reference) = (ids(&row["ids"]), row["decoded"].as_str().unwrap());
            for (source, tokenizer) in both(kind) {
                let byte = |id: &u32| {
                    u8::from_str_radix(&tokenizer.token(*id).unwrap()[3..5], 16).unwrap()
                };
                // The fixture has what `tokenizers` makes of a run of byte tokens with one wrong byte: nothing but
                // U+FFFD. SentencePiece, which made these vocabularies, keeps the whole characters.
                let expected = match BYTE_FALLBACK.contains(&kind) {
                    true => sentencepiece_bytes(&ids.iter().map(byte).collect::<Vec<_>>()),
                    false => reference.to_owned(),
                };
                assert_eq!(tokenizer.decode(&ids, false), expected, "{kind}, {source}, {ids:?}");
                assert!(
                    reference.contains('\u{fffd}') || expected == reference,
                    "{kind}, {ids:?}: no byte is wrong"
                );
            }
        }
    }
}

/// All tokenizers, with the library's own reading of the same file.
fn all() -> &'static [(&'static str, Tokenizer, tokenizers::Tokenizer)] {
    static ALL: OnceLock<Vec<(&str, Tokenizer, tokenizers::Tokenizer)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let read = |kind| tokenizers::Tokenizer::from_file(path(kind, "tokenizer.json")).unwrap();
        let each =
            |kind: &'static str| both(kind).map(|(_, tokenizer)| (kind, tokenizer, read(kind)));
        KINDS.into_iter().flat_map(each).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_ids_add_up_to_the_whole(
        which in 0..all().len(),
        // Many bytes, some tokens, some ids that are none.
        ids in proptest::collection::vec(prop_oneof![3 => 0u32..300, 2 => 0u32..620], 0..40),
        skip_special: bool,
    ) {
        let (kind, tokenizer, library) = &all()[which];
        let mut stream = tokenizer.stream(skip_special);
        let pieces: String = ids.iter().map(|id| stream.push(*id)).collect();
        let streamed = pieces + &stream.finish();
        prop_assert_eq!(&streamed, &tokenizer.decode(&ids, skip_special));
        let reference = library.decode(&ids, skip_special).unwrap();
        if !BYTE_FALLBACK.contains(kind) || !reference.contains('\u{fffd}') {
            prop_assert_eq!(streamed, reference);
        }
    }

    #[test]
    fn bytes_of_tokens_are_the_bytes_of_the_text(
        which in 0..all().len(),
        ids in proptest::collection::vec(prop_oneof![2 => 0u32..300, 3 => 0u32..620], 0..30),
    ) {
        let (_, tokenizer, _) = &all()[which];
        let mut stream = tokenizer.stream(false);
        stream.skip(&tokenizer.encode_plain("a").unwrap());
        let text: String = ids.iter().map(|id| stream.push(*id)).collect::<String>() + &stream.finish();
        let bytes: Vec<u8> = ids.iter().filter_map(|id| tokenizer.token_bytes(*id)).flatten().collect();
        match std::str::from_utf8(&bytes) {
            Ok(whole) => prop_assert_eq!(whole, text),
            // What is no text is U+FFFD, in numbers that differ; what is text is the same.
            Err(_) => {
                let lossy = String::from_utf8_lossy(&bytes).replace('\u{fffd}', "");
                prop_assert_eq!(lossy, text.replace('\u{fffd}', ""));
            }
        }
        for id in ids {
            prop_assert_eq!(tokenizer.token_bytes(id).is_some(), tokenizer.token(id).is_some());
            prop_assert_eq!(tokenizer.is_special(id), tokenizer.special_ids().contains(&id));
            prop_assert!(!tokenizer.is_special(id) || tokenizer.is_added(id));
        }
    }

    #[test]
    fn bytes_of_a_text_are_its_own(which in 0..all().len(), text in "(\\PC|[ \\n]|the|東){0,30}") {
        let (_, tokenizer, library) = &all()[which];
        let ids = tokenizer.encode_plain(&text).unwrap();
        let bytes: Vec<u8> = ids.iter().filter_map(|id| tokenizer.token_bytes(*id)).flatten().collect();
        // Only the space that SentencePiece puts before a text is more than the text.
        let decoded = library.decode(&ids, false).unwrap();
        prop_assume!(!decoded.contains('\u{fffd}'));
        let bytes = String::from_utf8(bytes).unwrap();
        prop_assert!(bytes == decoded || bytes.strip_prefix(' ') == Some(&decoded), "{:?} {:?}", bytes, decoded);
    }

    #[test]
    fn text_comes_out_as_soon_as_it_is_certain(which in 0..all().len(), text in "(\\PC|[ \\n]|the){0,30}") {
        // A text may hold what stands for half a character elsewhere.
        prop_assume!(!text.contains('\u{fffd}'));
        let (_, tokenizer, _) = &all()[which];
        let ids = tokenizer.encode_plain(&text).unwrap();
        let mut stream = tokenizer.stream(false);
        let mut streamed = String::new();
        for length in 1..=ids.len() {
            streamed.push_str(&stream.push(ids[length - 1]));
            let so_far = tokenizer.decode(&ids[..length], false);
            prop_assert_eq!(&streamed, so_far.trim_end_matches('\u{fffd}'));
        }
        prop_assert_eq!(stream.finish(), "");
    }
}

#[test]
fn everything_can_be_shared_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Tokenizer>();
    shared::<stablemate_text::Detokenizer>();
    shared::<stablemate_text::ChatTemplate>();
    shared::<stablemate_text::StopStrings>();
}

#[test]
fn a_continued_text_keeps_its_space() {
    let [(_, tokenizer), _] = both("llama");
    let ids = tokenizer.encode("river water", false).unwrap();
    let at = (1..ids.len()).find(|at| tokenizer.token(ids[*at]).unwrap().starts_with('▁')).unwrap();
    let (prompt, rest) = ids.split_at(at);
    assert_eq!(tokenizer.decode(rest, false), "water");
    let mut stream = tokenizer.stream(false);
    stream.skip(prompt);
    let continued: String = rest.iter().map(|id| stream.push(*id)).collect();
    assert_eq!(continued, " water");
}

/// SentencePiece's algorithm, written down naively: merge the neighbours whose result has the highest score, the
/// leftmost of several, until none are left; what is no token then is written in bytes.
fn sentencepiece_ids(kind: &str, text: &str) -> Vec<u32> {
    let metadata = metadata(kind);
    let list = |key: &str| metadata.array(&format!("tokenizer.ggml.{key}")).unwrap().to_vec();
    let (tokens, scores, types) = (list("tokens"), list("scores"), list("token_type"));
    let mut pieces = HashMap::new();
    let mut bytes = HashMap::new();
    for (id, ((token, score), kind)) in tokens.iter().zip(&scores).zip(&types).enumerate() {
        let gguf::Value::String(token) = token else { panic!("a token is a string") };
        let score = match score {
            gguf::Value::Float(score) => *score,
            gguf::Value::Signed(score) => *score as f64,
            other => panic!("a score is a number, not {other:?}"),
        };
        let id = id as u32;
        if *kind == gguf::Value::Signed(6) {
            bytes.insert(u8::from_str_radix(&token[3..5], 16).unwrap(), id);
        } else if matches!(kind, gguf::Value::Signed(1 | 4)) {
            pieces.insert(token.clone(), (score, id));
        }
    }
    let space = metadata.bool("tokenizer.ggml.add_space_prefix").unwrap() && !text.is_empty();
    let text = if space { format!(" {text}") } else { text.to_owned() }.replace(' ', "▁");
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let score = |at: usize| {
            pieces.get(&format!("{}{}", symbols[at], symbols[at + 1])).map(|(score, _)| *score)
        };
        let candidates =
            (0..symbols.len().saturating_sub(1)).filter_map(|at| Some((at, score(at)?)));
        let best = candidates.reduce(|best, other| if other.1 > best.1 { other } else { best });
        let Some((at, _)) = best else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    let ids = |symbol: &String| match pieces.get(symbol) {
        Some((_, id)) => vec![*id],
        None => symbol.bytes().map(|byte| bytes[&byte]).collect(),
    };
    symbols.iter().flat_map(ids).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merges_from_scores_give_what_sentencepiece_gives(
        which in 0..BYTE_FALLBACK.len(),
        text in "([a-z]|[ \\n\\t]|the|and|  |ing|▁|é|東|[0-9]|<s|0x41>){0,40}",
    ) {
        let kind = BYTE_FALLBACK[which];
        // Special tokens are not SentencePiece's business.
        prop_assume!(!text.contains("<s>"));
        for (_, tokenizer, _) in all().iter().filter(|(other, _, _)| *other == kind) {
            prop_assert_eq!(tokenizer.encode(&text, false).unwrap(), sentencepiece_ids(kind, &text));
        }
    }
}
