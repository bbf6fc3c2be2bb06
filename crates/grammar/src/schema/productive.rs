//! Whether a schema has a value that ends: a reference to itself, of which every value needs another one, has none.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// The definitions of a written schema that have values which end.
pub(super) fn productive(definitions: &Map<String, Value>) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    // Each round adds at least one, or is the last.
    loop {
        let found: Vec<&String> = definitions
            .iter()
            .filter(|(name, schema)| !known.contains(*name) && ends(schema, &known))
            .map(|(name, _)| name)
            .collect();
        if found.is_empty() {
            return known;
        }
        known.extend(found.into_iter().cloned());
    }
}

/// Whether a written schema has a value that ends, if the definitions `known` have.
pub(super) fn ends(schema: &Value, known: &BTreeSet<String>) -> bool {
    let Some(object) = schema.as_object() else { return *schema != false };
    let list = |keyword: &str| object.get(keyword).and_then(Value::as_array);
    let all = list("allOf").is_none_or(|parts| parts.iter().all(|part| ends(part, known)));
    let any = list("anyOf").is_none_or(|parts| parts.iter().any(|part| ends(part, known)));
    let reference = object.get("$ref").and_then(Value::as_str);
    let reference = reference.and_then(|name| name.strip_prefix("#/$defs/"));
    let referred = reference.is_none_or(|name| known.contains(name));
    all && any && referred && own(object, known)
}

/// Puts `false` in the place of references to other definitions than those `known`.
pub(super) fn forbid(schema: &mut Value, known: &BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            let reference = object.get("$ref").and_then(Value::as_str);
            let name = reference.and_then(|name| name.strip_prefix("#/$defs/"));
            if name.is_some_and(|name| !known.contains(name)) {
                *schema = Value::Bool(false);
                return;
            }
            // What stands in constants is no schema.
            let parts = object.iter_mut().filter(|(key, _)| *key != "const" && *key != "enum");
            parts.for_each(|(_, part)| forbid(part, known));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| forbid(item, known)),
        _ => {}
    }
}

/// The same of a schema's own keywords.
fn own(object: &Map<String, Value>, known: &BTreeSet<String>) -> bool {
    if object.contains_key("const") || object.contains_key("enum") {
        return true;
    }
    let types: Vec<&str> = match object.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => return true,
    };
    types.into_iter().any(|name| match name {
        "object" => {
            let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
            let part = |name: &Value| object.get("properties")?.get(name.as_str()?);
            required.into_iter().all(|name| part(name).is_none_or(|part| ends(part, known)))
        }
        "array" => {
            let least = object.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let least = usize::try_from(least).unwrap_or(usize::MAX);
            let first = object.get("prefixItems").and_then(Value::as_array);
            let first = first.map_or(&[][..], Vec::as_slice);
            let needed = first.iter().take(least).all(|part| ends(part, known));
            let rest =
                least <= first.len() || object.get("items").is_none_or(|part| ends(part, known));
            needed && rest
        }
        _ => true,
    })
}
