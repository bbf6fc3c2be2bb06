//! Finds the place in a schema that llguidance objects to.

use llguidance::{GrammarBuilder, JsonCompileOptions};
use serde_json::Value;

use super::{prepare_at, wrong};
use crate::GrammarError;
use crate::grammars::limits;

/// Sub-schemas that are tried; each costs at most what the whole schema cost.
const MOST_TRIALS: usize = 100;

/// What messages of llguidance mean that a limit is exceeded.
const LIMITS: [&str; 9] = [
    "schema too large",
    "grammar too large",
    "too big",
    "too many",
    "too complex",
    "gave up",
    "fuel",
    "stack level exceeded",
    "exceeds the supported",
];

/// What messages of llguidance are about which keyword.
const KEYWORDS: [(&str, &str); 13] = [
    ("oneOf", "oneOf"),
    ("circular references", "$ref"),
    ("patternPropert", "patternProperties"),
    ("in/maxProperties", "minProperties"),
    ("minProperties", "minProperties"),
    ("required property", "required"),
    ("minItems", "minItems"),
    ("required item", "items"),
    ("minLength", "minLength"),
    ("length constraints", "enum"),
    ("multipleOf", "multipleOf"),
    ("minimum", "minimum"),
    ("egex", "pattern"),
];

/// Whether a message of llguidance says that a limit is exceeded.
pub(crate) fn is_limit(message: &str) -> bool {
    let message = message.to_lowercase();
    LIMITS.iter().any(|limit| message.contains(limit))
}

/// The error for a schema that passed every check here, but did not compile.
pub(crate) fn explain(schema: &Value, message: String) -> GrammarError {
    let Ok((whole, pointers)) = prepare_at(schema, "", true) else { return about("", message) };
    let Some(cause) = objection(whole) else { return about("", message) };
    let same = |found: &String| *found == cause || (is_limit(found) && is_limit(&cause));
    for pointer in pointers.iter().take(MOST_TRIALS) {
        let Ok((part, _)) = prepare_at(schema, pointer, true) else { continue };
        if objection(part).as_ref().is_some_and(same) {
            return about(pointer, cause);
        }
    }
    about("", cause)
}

fn about(pointer: &str, message: String) -> GrammarError {
    if is_limit(&message) {
        let message = "this part of the schema allows more than can be followed: give it fewer alternatives, shorter \
                       bounds or a simpler pattern";
        return wrong(pointer, "", message);
    }
    let keyword = KEYWORDS.iter().find(|(mark, _)| message.contains(mark));
    wrong(pointer, keyword.map_or("", |(_, keyword)| keyword), readable(message))
}

/// What llguidance's own options are called is of no use to a client.
fn readable(message: String) -> String {
    match message.contains("coerce_one_of") {
        true => "its options must exclude each other by their types, or by a required property with different \
                 constant strings; otherwise use anyOf"
            .to_owned(),
        false => message.lines().next().unwrap_or_default().to_owned(),
    }
}

/// The root of what llguidance says against a prepared schema.
fn objection(mut schema: Value) -> Option<String> {
    let options = schema.as_object_mut().and_then(|object| object.remove("x-guidance"));
    let escapes =
        options.and_then(|options| Some(options.get("json_allowed_escapes")?.as_str()?.to_owned()));
    let compile =
        JsonCompileOptions { json_allowed_escapes: escapes, ..JsonCompileOptions::default() };
    let builder = GrammarBuilder::new(None, limits());
    let work = || match compile.json_to_llg(builder, schema) {
        Ok(_) => None,
        Err(error) => Some(error.root_cause().to_string()),
    };
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Some("the compiler gave up on it".to_owned()))
}
