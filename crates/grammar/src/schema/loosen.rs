//! Schemas of tools that cannot be guaranteed, without what keeps them from it.

use serde_json::{Value, json};

use crate::GrammarError;

/// Keywords that are taken out at most; beyond it, any object will do.
const MOST: usize = 64;

/// The schema without what `compile` refuses, and what that was: JSON pointers and keywords.
pub(crate) fn loosened(
    schema: &Value,
    compile: impl Fn(&Value) -> Result<(), GrammarError>,
) -> (Value, Vec<(String, String)>) {
    let mut loose = schema.clone();
    let mut removed = Vec::new();
    while removed.len() < MOST {
        let Err(error) = compile(&loose) else { return (loose, removed) };
        let GrammarError::Schema { pointer, keyword, .. } = error else { break };
        if !remove(&mut loose, &pointer, &keyword) {
            break;
        }
        removed.push((pointer, keyword));
    }
    removed.push((String::new(), String::new()));
    (json!({"type": "object", "additionalProperties": true}), removed)
}

/// Takes a keyword out, or replaces the sub-schema at a pointer by any value; whether something changed.
fn remove(schema: &mut Value, pointer: &str, keyword: &str) -> bool {
    let Some(part) = schema.pointer_mut(pointer) else { return false };
    if let Some(object) = part.as_object_mut() {
        if let Some(value) = object.shift_remove(keyword) {
            // Of options that may overlap, any will do.
            if keyword == "oneOf" && !object.contains_key("anyOf") {
                object.insert("anyOf".to_owned(), value);
            }
            return true;
        }
        if pointer.is_empty() {
            return false;
        }
    }
    let (parent, last) = pointer.rsplit_once('/').unwrap_or_default();
    if parent.ends_with("/patternProperties") {
        let parent = schema.pointer_mut(parent).and_then(Value::as_object_mut);
        let name = last.replace("~1", "/").replace("~0", "~");
        return parent.is_some_and(|parent| parent.shift_remove(&name).is_some());
    }
    let Some(part) = schema.pointer_mut(pointer) else { return false };
    let changed = *part != json!({});
    *part = json!({});
    changed
}
