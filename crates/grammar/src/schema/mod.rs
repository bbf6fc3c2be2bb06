//! JSON schemas: what they may ask for, checked before llguidance sees them.
//!
//! llguidance ignores keywords that it does not know, resolves references by plain splitting, lets keys of additional
//! properties be spelled with `\u` escapes (and so repeat a declared one with any value), and takes options from the
//! schema itself. So a schema is first written anew with only the keywords that it honours exactly, in an order that
//! keeps the related ones together. What it has no keyword for is written with others where that is possible, at times
//! for fewer values than the schema accepts and never for more; what remains is an error with its place.
//!
//! Two things are decided here, where schemas leave them open. White space is one space after a comma or a colon, or
//! none: a model could write it without an end. And an object has the properties that its schema speaks of, unless that
//! says `additionalProperties` or the like: models write others only by mistake.

mod conditions;
mod declared;
mod exclusive;
mod explain;
mod formats;
mod keywords;
mod loosen;
mod numbers;
mod productive;
mod references;
mod values;
mod walk;

use serde_json::{Map, Value, json};

use crate::GrammarError;

pub(crate) use explain::{explain, is_limit};
pub(crate) use loosen::loosened;
use walk::Walk;

/// A schema as llguidance may read it.
///
/// # Errors
/// [`GrammarError::Schema`] and [`GrammarError::TooLarge`].
pub(crate) fn prepare(schema: &Value) -> Result<Value, GrammarError> {
    prepare_at(schema, "", true).map(|(prepared, _)| prepared)
}

/// The same, but a keyword that could be honoured only by writing few of the values is an error.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn prepare_widely(schema: &Value) -> Result<Value, GrammarError> {
    prepare_at(schema, "", false).map(|(prepared, _)| prepared)
}

/// The sub-schema at a pointer, with the definitions that it refers to, and the pointers of all sub-schemas of both,
/// the inner ones first.
fn prepare_at(
    schema: &Value,
    pointer: &str,
    narrows: bool,
) -> Result<(Value, Vec<String>), GrammarError> {
    let mut walk = Walk::new(schema, narrows);
    let mut prepared = walk.start(pointer)?;
    let (definitions, pointers) = walk.finish(&mut prepared)?;
    let Value::Object(object) = &mut prepared else {
        // `true` is any value; `false` stays what it is, and is refused as unsatisfiable.
        return Ok((if prepared == true { with_options(Map::new()) } else { prepared }, pointers));
    };
    if !definitions.is_empty() {
        object.insert("$defs".to_owned(), Value::Object(definitions));
    }
    Ok((with_options(std::mem::take(object)), pointers))
}

/// A schema with llguidance's options. Without `\u` escapes, a property has one spelling.
fn with_options(mut object: Map<String, Value>) -> Value {
    let options = json!({
        "json_allowed_escapes": "nrbtf\\\"",
        "whitespace_flexible": false,
        "item_separator": r",\x20?",
        "key_separator": r":\x20?",
    });
    object.insert("x-guidance".to_owned(), options);
    Value::Object(object)
}

/// An error about a keyword.
fn wrong(pointer: &str, keyword: &str, message: impl Into<String>) -> GrammarError {
    GrammarError::Schema {
        pointer: pointer.to_owned(),
        keyword: keyword.to_owned(),
        message: message.into(),
    }
}
