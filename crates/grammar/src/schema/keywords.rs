//! Which keywords are honoured.

use serde_json::Value;

use super::references::shortened;
use super::wrong;
use crate::{GrammarError, pattern};

/// Names of types.
pub(super) const TYPES: [&str; 7] =
    ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords that say nothing about which values are valid.
pub(super) const ANNOTATIONS: [&str; 17] = [
    "$anchor",
    "$comment",
    "$defs",
    "$schema",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "deprecated",
    "description",
    "discriminator",
    "example",
    "examples",
    "readOnly",
    "title",
    "writeOnly",
];

/// Keywords that are honoured.
const HONOURED: [&str; 27] = [
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "required",
    "type",
];

/// Keywords that are honoured with the one value that asks for nothing.
const ONLY: [(&str, bool); 4] = [
    ("uniqueItems", false),
    ("nullable", false),
    ("unevaluatedItems", true),
    ("unevaluatedProperties", true),
];

/// Keywords that mean something, but cannot be honoured.
const NOT_HONOURED: [&str; 18] = [
    "$dynamicAnchor",
    "$dynamicRef",
    "$recursiveAnchor",
    "$recursiveRef",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "if",
    "maxContains",
    "minContains",
    "not",
    "propertyNames",
    "then",
    "x-guidance",
    "$vocabulary",
    "extends",
];

/// A regular expression in the syntax of the `regex` crate; `value` is what stands in its place if it is no string.
pub(super) fn translated(
    text: Option<&str>,
    value: &Value,
    pointer: &str,
    keyword: &str,
) -> Result<String, GrammarError> {
    let text = text
        .ok_or_else(|| wrong(pointer, keyword, format!("{} is not a string", shortened(value))))?;
    pattern::translate(text).map_err(|message| wrong(pointer, keyword, message))
}

/// Refuses keywords that cannot be honoured.
pub(super) fn check_keyword(
    pointer: &str,
    keyword: &str,
    value: &Value,
) -> Result<(), GrammarError> {
    let error = |message: String| Err(wrong(pointer, keyword, message));
    match keyword {
        _ if HONOURED.contains(&keyword) => Ok(()),
        "$schema" if !pointer.is_empty() => {
            error("is supported at the root of the schema only".to_owned())
        }
        _ if ANNOTATIONS.contains(&keyword) => Ok(()),
        // The root's own address matters to references from outside alone.
        "$id" | "id" if pointer.is_empty() => Ok(()),
        "$id" | "id" => error("is supported at the root of the schema only".to_owned()),
        _ if NOT_HONOURED.contains(&keyword) => error("this keyword is not supported".to_owned()),
        _ if keyword.starts_with("x-") => Ok(()),
        _ => match ONLY.iter().find(|(name, _)| *name == keyword) {
            Some((_, only)) if value == only => Ok(()),
            Some((_, only)) => error(format!("{} is not supported, only {only}", shortened(value))),
            None => error("this keyword is not known".to_owned()),
        },
    }
}
