//! JSON schemas: what they may ask for, checked before llguidance sees them.
//!
//! llguidance ignores keywords that it does not know, resolves references by plain splitting, lets keys of additional
//! properties be spelled with `\u` escapes (and so repeat a declared one with any value), and takes options from the
//! schema itself. So a schema is first written anew with only the keywords that it honours exactly, in an order that
//! keeps the related ones together; everything else is an error with its place.

mod explain;
mod formats;
mod keywords;
mod numbers;
mod references;
mod walk;

use serde_json::{Map, Value, json};

use crate::GrammarError;

pub(crate) use explain::{explain, is_limit};
use walk::Walk;

/// A schema as llguidance may read it.
///
/// # Errors
/// [`GrammarError::Schema`] and [`GrammarError::TooLarge`].
pub(crate) fn prepare(schema: &Value) -> Result<Value, GrammarError> {
    prepare_at(schema, "").map(|(prepared, _)| prepared)
}

/// The sub-schema at a pointer, with the definitions that it refers to, and the pointers of all sub-schemas of both,
/// the inner ones first.
fn prepare_at(schema: &Value, pointer: &str) -> Result<(Value, Vec<String>), GrammarError> {
    let mut walk = Walk::new(schema)?;
    let mut prepared = walk.start(pointer)?;
    let (definitions, pointers) = walk.finish()?;
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
    object.insert("x-guidance".to_owned(), json!({"json_allowed_escapes": "nrbtf\\\""}));
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
