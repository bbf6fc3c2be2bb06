//! Whatever is drawn from what a JSON schema's constraint allows is valid by that schema.

// Each test file uses its own part of it.
#[allow(dead_code)]
mod common;

use common::{Outcome, vocabulary};
use serde_json::{Value, json};
use stablemate_grammar::Grammar;

fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object"}),
        json!({"type": "string"}),
        json!({"type": "integer"}),
        json!({"type": ["boolean", "null"]}),
        json!({"enum": ["red", "gr\"een", 3, null, {"a": [1]}, "東\n"]}),
        json!({"const": {"kind": "x", "n": [1, 2.5, true]}}),
        json!({"type": "integer", "minimum": -3, "maximum": 17}),
        json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1000, "multipleOf": 7}),
        json!({"type": "integer", "maximum": -12}),
        json!({"type": "number", "minimum": -1.5, "maximum": 2.25}),
        json!({"type": "number", "exclusiveMinimum": 0}),
        json!({"$schema": "http://json-schema.org/draft-04/schema#", "type": "number", "minimum": 4, "exclusiveMinimum": true}),
        json!({"type": "number", "multipleOf": 0.25, "minimum": 0, "maximum": 50}),
        json!({"type": "string", "minLength": 2, "maxLength": 5}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-\\d+$"}),
        json!({"type": "string", "pattern": "a.c", "maxLength": 9}),
        json!({"type": "string", "pattern": "^\\s\\S\\w$"}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "string", "format": "time"}),
        json!({"type": "string", "format": "date-time"}),
        json!({"type": "string", "format": "email"}),
        json!({"type": "string", "format": "hostname"}),
        json!({"type": "string", "format": "ipv4"}),
        json!({"type": "string", "format": "ipv6"}),
        json!({"type": "string", "format": "uuid"}),
        json!({"type": "string", "format": "uri"}),
        json!({"type": "string", "format": "duration"}),
        json!({"type": "string", "format": "date", "pattern": "^19", "default": "1999-01-01"}),
        json!({"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}),
        json!({"type": "array", "prefixItems": [{"type": "integer"}, {"const": "x"}], "items": false}),
        json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "null"}, "maxItems": 3}),
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
            "required": ["name", "age"], "additionalProperties": false}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "additionalProperties": {"type": "boolean"}}),
        json!({"type": "object", "patternProperties": {"^x": {"type": "integer"}, "^y": {"type": "null"}}, "additionalProperties": false, "maxProperties": 3}),
        json!({"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 2}),
        json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "additionalProperties": false, "minProperties": 1}),
        json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "integer", "minimum": 5}, {"type": "array", "items": {"type": "null"}}]}),
        json!({"oneOf": [
            {"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}}, "required": ["kind", "lives"], "additionalProperties": false},
            {"type": "object", "properties": {"kind": {"const": "dog"}, "name": {"type": "string"}}, "required": ["kind"], "additionalProperties": false}]}),
        json!({"oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}], "discriminator": {"propertyName": "kind"},
            "$defs": {
                "Cat": {"type": "object", "properties": {"kind": {"const": "cat"}}, "required": ["kind"]},
                "Dog": {"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]}}}),
        json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {
            "value": {"type": "integer"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}},
            "required": ["value"], "additionalProperties": false}}}),
        json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"], "additionalProperties": false}),
        json!({"definitions": {"a/b ~": {"type": "integer"}}, "type": "array", "items": {"$ref": "#/definitions/a~1b%20~0"}}),
        json!({"allOf": [{"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]},
            {"properties": {"a": {"maximum": 9}, "b": {"type": "string"}}}], "type": "object"}),
        json!({"anyOf": [{"required": ["b"]}, {"required": ["a"]}], "patternProperties": {"^a": {"type": "integer"}}, "type": "object",
            "additionalProperties": {"type": "string"}}),
        json!({"properties": {"a": {"type": "integer"}}, "minLength": 2, "minItems": 1}),
        json!({"type": "object", "properties": {"a": false, "a\"\\\n": {"type": "integer"}}, "required": ["a\"\\\n"]}),
        json!({"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": true, "minItems": 2}),
        json!({"type": "array", "items": {"type": "string", "maxLength": 3}, "uniqueItems": true}),
        json!({"type": "array", "items": {"enum": (0..12).collect::<Vec<_>>()}, "uniqueItems": true, "maxItems": 5}),
        json!({"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}, "maxItems": 3, "minContains": 2}),
        json!({"type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "x": {"type": "integer"}}, "required": ["kind"],
            "if": {"properties": {"kind": {"const": "a"}}, "required": ["kind"]}, "then": {"required": ["x"]}, "else": {"properties": {"x": false}}}),
        json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}},
            "dependentRequired": {"a": ["b"], "b": ["c"]}}),
        json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "dependentSchemas": {"a": {"required": ["b"]}}}),
        json!({"type": "object", "properties": {"a": {"not": {}}, "b": {"type": "boolean"}}, "required": ["b"]}),
        json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "not": {"required": ["a", "b"]}}),
        json!({"not": {"type": ["string", "array", "object"]}}),
        json!({"allOf": [{"$ref": "#/$defs/base"}, {"properties": {"b": {"type": "boolean"}}, "required": ["b"]}], "unevaluatedProperties": false,
            "$defs": {"base": {"type": "object", "properties": {"a": {"type": "null"}}}}}),
        json!({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
        json!({"oneOf": [{"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": false},
            {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": false}]}),
        json!({"oneOf": [{"type": "string"}, {"enum": ["auto", "none"]}]}),
        json!({"type": "object", "propertyNames": {"pattern": "^[a-c]{1,2}$"}, "additionalProperties": {"type": "null"}, "minProperties": 1}),
        json!({"type": "object", "properties": {"a": {"type": "null"}}, "propertyNames": {"type": "string"}}),
        json!({"type": "integer", "minimum": -9223372036854775808i64, "maximum": 9223372036854775807i64}),
        json!({"type": "number", "exclusiveMinimum": 1e-12, "maximum": 1e300, "multipleOf": 0.5}),
        json!({"type": "object", "properties": {"n": {"type": "integer", "format": "int32", "nullable": true, "title": "N", "x-a": 1, "vendor": {}}}, "required": ["n"]}),
        json!({"$id": "https://example.com/a.json", "$ref": "b.json#/$defs/c",
            "$defs": {"b": {"$id": "b.json", "$defs": {"c": {"$anchor": "c", "type": "boolean"}}}}}),
        json!({"anyOf": [{"$ref": "#/$defs/loop"}, {"type": "null"}], "$defs": {"loop": {"$ref": "#/$defs/loop"}}}),
        json!({"type": "object", "required": ["a"], "minProperties": 3, "properties": {"a": {"type": "null"}, "b": {"type": "null"}, "c": {"type": "null"}}}),
        json!({"type": "string", "format": "json-pointer"}),
        json!({"type": "string", "format": "uri-reference"}),
        json!({"type": "object", "uniqueItems": false, "properties": {"x": {"type": "array", "uniqueItems": false, "maxItems": 1}}, "x-order": 1}),
    ]
}

#[test]
fn whatever_is_drawn_is_valid() {
    let vocabularies = [vocabulary("smollm"), vocabulary("llama")];
    for schema in schemas() {
        let validator =
            jsonschema::options().should_validate_formats(true).build(&schema).expect("a schema");
        let mut finished = 0;
        for (number, vocabulary) in vocabularies.iter().enumerate() {
            for seed in 0..12 {
                let grammar = Grammar::JsonSchema(schema.clone());
                let mut constraint = vocabulary
                    .compile(&grammar)
                    .unwrap_or_else(|error| panic!("{schema}: {error}"));
                let (Outcome::Complete(text) | Outcome::Ended(text)) =
                    vocabulary.draw(&mut constraint, seed + 100 * number as u64)
                else {
                    continue;
                };
                // A number may have more digits or a larger exponent than this reader takes.
                let Ok(value) = serde_json::from_str::<Value>(&text) else {
                    let error = serde_json::from_str::<Value>(&text).unwrap_err().to_string();
                    assert!(error.contains("number out of range"), "{schema}: {text}: {error}");
                    continue;
                };
                let errors: Vec<_> =
                    validator.iter_errors(&value).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{schema}: {text}: {errors:?}");
                finished += 1;
            }
        }
        assert!(finished >= 4, "{schema}: only {finished} texts were finished");
    }
}

#[test]
fn valid_texts_are_allowed() {
    let vocabulary = vocabulary("smollm");
    for (schema, text) in [
        (
            json!({"type": "object", "additionalProperties": true}),
            r#"{"a": [1, {"b": null}], "c":"\n\"é"}"#,
        ),
        (json!({"type": "object", "additionalProperties": true}), "{\"a\": 1.5e3,\"b\":[]}"),
        (json!({"type": "object"}), "{}"),
        (json!(true), "-0.5"),
        (json!({"enum": ["a", "ab"]}), "\"ab\""),
        (json!({"type": "string", "format": "date"}), "\"2024-02-29\""),
        (json!({"type": "string", "format": "email"}), "\"a.b+c@example.co.uk\""),
        (json!({"type": "string", "format": "uri"}), "\"https://example.com:8080/a/b?c=d#e\""),
        (json!({"type": "string", "format": "date-time"}), "\"2024-12-31T23:59:59.123+01:00\""),
        (json!({"type": "string", "format": "hostname"}), "\"a-b.example.com\""),
    ] {
        let follow = vocabulary.follow(&Grammar::JsonSchema(schema.clone()), text);
        assert!(matches!(follow, Ok((_, true))), "{schema}: {text}: {follow:?}");
    }
}

#[test]
fn a_property_cannot_be_forged() {
    let vocabulary = vocabulary("smollm");
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": true});
    let grammar = Grammar::JsonSchema(schema);
    assert!(vocabulary.follow(&grammar, r#"{"a":1,"b":"x"}"#).is_ok());
    for text in [r#"{"a":1,"\u0061":"x"}"#, r#"{"a":1,"a":2}"#, r#"{"a":1,"a":"x"}"#, r#"{"b":1}"#]
    {
        assert!(vocabulary.follow(&grammar, text).is_err(), "{text}");
    }
}

#[test]
fn invalid_dates_are_not_allowed() {
    let vocabulary = vocabulary("smollm");
    for date in ["2023-02-29", "1900-02-29", "2024-04-31", "2024-13-01", "2024-00-10"] {
        let grammar = Grammar::JsonSchema(json!({"type": "string", "format": "date"}));
        assert!(vocabulary.follow(&grammar, &format!("\"{date}\"")).is_err(), "{date}");
    }
    let grammar = Grammar::JsonSchema(json!({"type": "string", "format": "date"}));
    assert!(vocabulary.follow(&grammar, "\"2000-02-29\"").is_ok());
}
