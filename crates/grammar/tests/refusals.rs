//! What cannot be honoured exactly is refused, with its place.

// Each test file uses its own part of it.
#[allow(dead_code)]
mod common;

use std::time::{Duration, Instant};

use common::vocabulary;
use serde_json::{Value, json};
use stablemate_grammar::{Grammar, GrammarError};

#[test]
fn schemas_name_the_place_and_the_keyword() {
    let vocabulary = vocabulary("smollm");
    for (schema, pointer, keyword) in [
        (json!({"not": {"pattern": "a"}}), "", "not"),
        (json!({"properties": {"a/b": {"not": {"minimum": 3}}}}), "/properties/a~1b", "not"),
        (json!({"items": {"minItems": -1}}), "/items", "minItems"),
        (json!({"type": "text"}), "", "type"),
        (json!({"type": []}), "", "type"),
        (json!({"uniqueItems": true, "minItems": 2}), "", "uniqueItems"),
        (json!({"contains": {}, "maxContains": 2}), "", "maxContains"),
        (json!({"$ref": "https://example.com/schema.json"}), "", "$ref"),
        (json!({"items": {"$ref": "other.json#/a"}}), "/items", "$ref"),
        (json!({"$ref": "#anchor"}), "", "$ref"),
        (json!({"$ref": "#/$defs/none"}), "", "$ref"),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "/$defs/a", "$ref"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/a"}}, "required": ["b"]}}}),
            "/$defs/a",
            "$ref",
        ),
        (json!({"pattern": "(?=a)"}), "", "pattern"),
        (json!({"pattern": "["}), "", "pattern"),
        (json!({"pattern": "x\\b"}), "", "pattern"),
        (
            json!({"anyOf": [true, {"items": {"patternProperties": {"^a": {}, "b$": {}}}}]}),
            "/anyOf/1/items",
            "patternProperties",
        ),
        (json!({"anyOf": []}), "", "anyOf"),
        (json!({"enum": []}), "", "enum"),
        (json!({"const": 9007199254740993u64}), "", "const"),
        (json!({"enum": ["a\u{1}"]}), "", "enum"),
        (json!({"minimum": "3"}), "", "minimum"),
        (json!({"exclusiveMinimum": true}), "", "exclusiveMinimum"),
        (json!({"multipleOf": 0}), "", "multipleOf"),
        (json!({"multipleOf": 1e-12}), "", "multipleOf"),
        (
            json!({"allOf": [{"multipleOf": 99991}, {"multipleOf": 99989}]}),
            "/allOf/1",
            "multipleOf",
        ),
        (json!({"required": "a"}), "", "required"),
        (json!({"properties": []}), "", "properties"),
        (json!({"properties": {"a": 3}}), "/properties/a", ""),
        (json!({"minProperties": 2, "required": []}), "", "minProperties"),
        (
            json!({"properties": {"p": {"oneOf": [{"type": "integer"}, {"type": "number"}]}}}),
            "/properties/p",
            "oneOf",
        ),
        (
            json!({"properties": {"q": false, "p": {"oneOf": [{"minimum": 1}, {"maximum": 5}]}}}),
            "/properties/p",
            "oneOf",
        ),
        (json!(false), "", ""),
        (json!({"type": "integer", "minimum": 5, "maximum": 4}), "", "minimum"),
        (json!({"type": "array", "minItems": 5, "maxItems": 4}), "", "minItems"),
        (
            json!({"properties": {"s": {"type": "string", "minLength": 5, "maxLength": 4}}, "required": ["s"], "type": "object"}),
            "/properties/s",
            "minLength",
        ),
        (json!([]), "", ""),
        (json!("x"), "", ""),
    ] {
        match vocabulary.compile(&Grammar::JsonSchema(schema.clone())).map(|_| ()) {
            Err(GrammarError::Schema { pointer: place, keyword: name, message }) => {
                assert_eq!(
                    (place.as_str(), name.as_str()),
                    (pointer, keyword),
                    "{schema}: {message}"
                );
                assert!(!message.is_empty() && !message.contains('\n'), "{schema}: {message}");
            }
            other => panic!("{schema}: {other:?}"),
        }
    }
}

fn nested(depth: usize, wrap: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(json!({"type": "integer"}), |inner, _| wrap(inner))
}

#[test]
fn what_is_too_large_is_refused_in_time() {
    let vocabulary = vocabulary("smollm");
    let chain: serde_json::Map<String, Value> = (0..5000)
        .map(|at| (format!("d{at}"), json!({"items": {"$ref": format!("#/$defs/d{}", at + 1)}})))
        .chain([("d5000".to_owned(), json!(true))])
        .collect();
    let options: Vec<Value> = (0..12)
        .map(|at| json!({"type": "object", "properties": {format!("p{at}"): {"type": "string"}}}))
        .collect();
    let products: Vec<Value> = (0..8).map(|_| json!({"anyOf": options})).collect();
    for schema in [
        json!({"$defs": chain, "$ref": "#/$defs/d0"}),
        nested(100, |inner| json!({"items": inner})),
        nested(100, |inner| json!({"allOf": [inner]})),
        json!({"enum": (0..30_000).collect::<Vec<_>>()}),
        json!({"allOf": products}),
        json!({"type": "string", "pattern": "(a|b)*a(a|b){20}c(a|b){0,9000}"}),
    ] {
        let start = Instant::now();
        let result = vocabulary.compile(&Grammar::JsonSchema(schema)).map(|_| ());
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{result:?} after {:?}",
            start.elapsed()
        );
        if let Err(error) = result {
            assert!(
                matches!(error, GrammarError::TooLarge { .. } | GrammarError::Schema { .. }),
                "{error}"
            );
        }
    }
}

#[test]
fn wrong_grammars_are_refused() {
    let vocabulary = vocabulary("smollm");
    for text in ["(", "a\\", "(?=a)", "a{3,1}", r"\bx", "(a)\\1", "\\", "[z-a]"] {
        let error = vocabulary.compile(&Grammar::Regex(text.to_owned())).map(|_| ()).unwrap_err();
        assert!(matches!(error, GrammarError::Regex { .. }), "{text}: {error}");
    }
    for text in [
        "",
        "start: other",
        "a: \"x\"",
        "start: <no_such_token>",
        "start: %json {\"not\": {\"pattern\": \"a\"}}",
        "start: <[99999]>",
    ] {
        let error =
            vocabulary.compile(&Grammar::Lark(text.to_owned())).map(|_| ()).expect_err(text);
        assert!(
            matches!(error, GrammarError::Grammar { .. } | GrammarError::Schema { .. }),
            "{text}: {error}"
        );
    }
    let error =
        vocabulary.compile(&Grammar::Gbnf("root ::= \"a\"".to_owned())).map(|_| ()).unwrap_err();
    assert!(error.to_string().starts_with("GBNF grammar"), "{error}");
    assert!(vocabulary.compile(&Grammar::Choice(Vec::new())).is_err());
    let long = "a".repeat(1 << 20);
    for grammar in
        [Grammar::Regex(long.clone()), Grammar::Lark(long.clone()), Grammar::Choice(vec![long])]
    {
        let error = vocabulary.compile(&grammar).map(|_| ()).unwrap_err();
        assert!(matches!(error, GrammarError::TooLarge { .. }), "{error}");
    }
}
