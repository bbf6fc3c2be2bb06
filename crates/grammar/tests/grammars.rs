//! Regular expressions, choices, Lark, end tokens and special tokens.

// Each test file uses its own part of it.
#[allow(dead_code)]
mod common;

use common::{Outcome, vocabulary};
use serde_json::json;
use stablemate_engine::{Constraint, Continuation, TokenMask};
use stablemate_grammar::{Grammar, GrammarError, Grammars};

fn regex(text: &str) -> Grammar {
    Grammar::Regex(text.to_owned())
}

fn choice(texts: &[&str]) -> Grammar {
    Grammar::Choice(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[test]
fn a_text_may_end_exactly_where_the_grammar_may() {
    let vocabulary = vocabulary("smollm");
    let (open, complete) = (Continuation::Open, Continuation::Complete);
    for (grammar, text, expected) in [
        (regex("ab*"), "a", Ok((open, true))),
        (regex("ab*"), "abbb", Ok((open, true))),
        (regex("ab"), "a", Ok((open, false))),
        (regex("ab"), "ab", Ok((complete, true))),
        (regex("^ab$"), "ab", Ok((complete, true))),
        (regex("a?"), "", Ok((open, true))),
        (regex("a{3}"), "aaa", Ok((complete, true))),
        (choice(&["yes", "no", "none"]), "no", Ok((open, true))),
        (choice(&["yes", "no", "none"]), "none", Ok((complete, true))),
        (choice(&["a.c", "é\n\""]), "é\n\"", Ok((complete, true))),
        (choice(&["", "a"]), "", Ok((open, true))),
        (choice(&[""]), "", Ok((complete, true))),
        (Grammar::JsonSchema(json!({"type": "boolean"})), "true", Ok((complete, true))),
        (Grammar::JsonObject, "{}", Ok((complete, true))),
        (Grammar::JsonObject, "{", Ok((open, false))),
        (Grammar::JsonSchema(json!({"type": "integer"})), "12", Ok((open, true))),
    ] {
        assert_eq!(vocabulary.follow(&grammar, text), expected, "{grammar:?} {text:?}");
    }
    for (grammar, text) in [
        (regex("ab"), "b"),
        (choice(&["a.c"]), "abc"),
        (choice(&["yes"]), "yesno"),
        (Grammar::JsonObject, "[1]"),
    ] {
        assert!(vocabulary.follow(&grammar, text).is_err(), "{grammar:?} {text:?}");
    }
}

#[test]
fn tokens_that_may_not_follow_are_refused() {
    let vocabulary = vocabulary("smollm");
    let grammar = regex("[a-f]{4}");
    for id in 0..vocabulary.size as u32 + 3 {
        let mut constraint = vocabulary.compile(&grammar).unwrap();
        let (_, allowed) = vocabulary.allowed(&mut constraint);
        assert_eq!(constraint.accept(id).is_ok(), allowed.contains(&id), "token {id}");
    }
    // Also without asking for the mask first, and after the end.
    let mut constraint = vocabulary.compile(&regex("a")).unwrap();
    let a = vocabulary.tokenizer.encode("a", false).unwrap()[0];
    assert_eq!(constraint.accept(a), Ok(Continuation::Complete));
    assert!(constraint.accept(a).is_err());
    assert!(constraint.accept(vocabulary.ends[0]).is_err());
}

#[test]
fn a_mask_of_another_size_is_refused() {
    let vocabulary = vocabulary("smollm");
    let mut constraint = vocabulary.compile(&regex("a")).unwrap();
    assert!(constraint.mask(&mut TokenMask::none(3)).unwrap_err().contains("over 3 tokens"));
}

#[test]
fn random_texts_match() {
    for kind in ["smollm", "llama", "gemma"] {
        let vocabulary = vocabulary(kind);
        for seed in 0..8 {
            let mut constraint = vocabulary.compile(&regex("[a-c]+(, [a-c]+){0,3};")).unwrap();
            let Outcome::Complete(text) = vocabulary.draw(&mut constraint, seed) else { continue };
            let words = text.strip_suffix(';').expect(&text);
            assert!(
                words
                    .split(", ")
                    .all(|word| !word.is_empty() && word.bytes().all(|b| b"abc".contains(&b))),
                "{text}"
            );
        }
    }
}

#[test]
fn special_tokens_are_named_and_never_forged() {
    let vocabulary = vocabulary("smollm");
    let mark = *vocabulary.tokenizer.special_ids().iter().nth(2).unwrap();
    let name = vocabulary.tokenizer.token(mark).unwrap();
    for start in [format!("<[{mark}]>"), name.clone(), vocabulary.grammars.lark_text(&name)] {
        let grammar = Grammar::Lark(format!("start: {start} \"x\" {start}"));
        let mut constraint = vocabulary.compile(&grammar).unwrap();
        assert_eq!(vocabulary.allowed(&mut constraint).1, [mark]);
        assert_eq!(constraint.accept(mark), Ok(Continuation::Open));
        let x = vocabulary.tokenizer.encode("x", false).unwrap()[0];
        assert_eq!(constraint.accept(x), Ok(Continuation::Open));
        assert_eq!(constraint.accept(mark), Ok(Continuation::Complete));
    }
    // Where any text is allowed, no special token is.
    for grammar in [regex("(?s:.*)"), Grammar::Lark(format!("start: {name:?}"))] {
        let mut constraint = vocabulary.compile(&grammar).unwrap();
        let (_, allowed) = vocabulary.allowed(&mut constraint);
        let special =
            |id: &&u32| vocabulary.tokenizer.is_special(**id) && !vocabulary.ends.contains(id);
        assert_eq!(allowed.iter().find(special), None, "{grammar:?}");
    }
    assert_eq!(vocabulary.grammars.lark_text("a\"\n"), "\"a\\\"\\n\"");
}

#[test]
fn schemas_inside_lark_are_followed() {
    let vocabulary = vocabulary("smollm");
    let grammar = Grammar::Lark(
        "start: \"call \" %json {\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\"}}, \
         \"required\": [\"n\"], \"additionalProperties\": false} \"!\""
            .to_owned(),
    );
    assert_eq!(vocabulary.follow(&grammar, "call {\"n\": 3}!"), Ok((Continuation::Complete, true)));
    assert!(vocabulary.follow(&grammar, "call {\"m\": 3}!").is_err());
}

#[test]
fn a_vocabulary_without_end_tokens_completes() {
    let full = vocabulary("smollm");
    let grammars = Grammars::new(&full.tokenizer, full.size, &[]).unwrap();
    let mut constraint = grammars.compile(&choice(&["", "a"])).unwrap();
    let mut mask = TokenMask::none(full.size);
    assert_eq!(constraint.mask(&mut mask), Ok(Continuation::Open));
    assert!(full.ends.iter().all(|id| !mask.allows(*id)));
    let a = full.tokenizer.encode("a", false).unwrap()[0];
    assert_eq!(constraint.accept(a), Ok(Continuation::Complete));
}

#[test]
fn wrong_vocabularies_are_refused() {
    let full = vocabulary("smollm");
    for (size, ends) in [(full.size, vec![full.size as u32 - 1]), (0, vec![]), (5, vec![9])] {
        let error = Grammars::new(&full.tokenizer, size, &ends).unwrap_err();
        assert!(matches!(error, GrammarError::Tokenizer { .. }), "{error}");
    }
    // A model with fewer logits than tokens never chooses the others.
    assert!(Grammars::new(&full.tokenizer, 300, &full.ends).is_ok());
}

#[test]
fn everything_moves_between_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<Grammars>();
    fn sent<T: Send + ?Sized>() {}
    sent::<dyn Constraint>();
}

/// A grammar whose masks grow without an end is given up before they take long.
#[test]
fn ambiguous_grammars_are_given_up() {
    let vocabulary = vocabulary("smollm");
    let grammar = Grammar::Lark("start: s\ns: s s s | s s | \"a\" | \"\"".to_owned());
    let mut constraint = vocabulary.compile(&grammar).unwrap();
    let letter = vocabulary.tokenizer.id("a").unwrap();
    let mut mask = stablemate_engine::TokenMask::none(vocabulary.size);
    let mut longest = std::time::Duration::ZERO;
    for _ in 0..2000 {
        let begun = std::time::Instant::now();
        let result = constraint.mask(&mut mask);
        longest = longest.max(begun.elapsed());
        if result.is_err() || constraint.accept(letter).is_err() {
            assert!(longest < std::time::Duration::from_secs(2), "{longest:?}");
            return;
        }
    }
    panic!("it was followed to the end, with masks of up to {longest:?}");
}
