//! Which keywords say something about values.

use serde_json::Value;

use super::references::shortened;
use super::wrong;
use crate::{GrammarError, pattern};

/// Names of types.
pub(super) const TYPES: [&str; 7] =
    ["null", "boolean", "integer", "number", "string", "array", "object"];

/// Keywords that say something about values. All others are annotations, as the specification has it.
const HONOURED: [&str; 43] = [
    "$dynamicRef",
    "$recursiveRef",
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "else",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "required",
    "then",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Whether a keyword says nothing about which values are valid.
pub(super) fn is_annotation(keyword: &str) -> bool {
    !HONOURED.contains(&keyword)
}

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
