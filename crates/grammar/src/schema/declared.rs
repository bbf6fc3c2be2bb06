//! Which properties a schema speaks of, and whether it asks for others.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::keywords::is_annotation;
use super::references::References;

/// Levels of parts in place that are looked through.
const DEEPEST: usize = 32;

/// The keywords that name another schema for the same value.
pub(super) const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// The properties that a schema and its parts in place speak of.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Declared {
    /// Names.
    pub(super) names: BTreeSet<String>,
    /// Patterns of names, as the schema writes them.
    pub(super) patterns: BTreeSet<String>,
    /// Whether the schema asks for properties that it does not name.
    pub(super) more: bool,
}

/// A schema that is given as a reference or `allOf` of one, with nothing beside it.
pub(super) fn is_alone(object: &Map<String, Value>, keyword: &str) -> bool {
    object.keys().all(|key| key == keyword || is_annotation(key))
}

impl Declared {
    /// Adds those of a schema's own keywords and of what holds with it: `allOf`, references, conditions; with
    /// `branches` also of `anyOf` and `oneOf`.
    pub(super) fn add(
        &mut self,
        references: &References<'_>,
        schema: &Value,
        pointer: &str,
        branches: bool,
    ) {
        let mut seen = BTreeSet::new();
        self.collect(references, schema, pointer, branches, 0, &mut seen);
    }

    fn collect(
        &mut self,
        references: &References<'_>,
        schema: &Value,
        pointer: &str,
        branches: bool,
        depth: usize,
        seen: &mut BTreeSet<String>,
    ) {
        let Some(object) = schema.as_object().filter(|_| depth < DEEPEST) else { return };
        self.own(object);
        let mut parts: Vec<(&Value, String)> = Vec::new();
        let list = |keyword: &str| {
            let items = object.get(keyword).and_then(Value::as_array).into_iter().flatten();
            let place = move |index: usize| format!("{pointer}/{keyword}/{index}");
            items.enumerate().map(|(index, item)| (item, place(index))).collect::<Vec<_>>()
        };
        parts.extend(list("allOf"));
        if branches {
            parts.extend(list("anyOf"));
            parts.extend(list("oneOf"));
        }
        for keyword in ["if", "then", "else"] {
            parts.extend(object.get(keyword).map(|part| (part, format!("{pointer}/{keyword}"))));
        }
        for keyword in ["dependentSchemas", "dependencies"] {
            let map = object.get(keyword).and_then(Value::as_object).into_iter().flatten();
            parts.extend(map.map(|(name, part)| (part, format!("{pointer}/{keyword}/{name}"))));
        }
        for (part, place) in parts {
            // Branches of parts are not closed by themselves.
            self.collect(references, part, &place, true, depth + 1, seen);
        }
        for keyword in REFERENCES {
            let Some(reference) = object.get(keyword) else { continue };
            if let Ok((target, part)) = references.resolve(reference, keyword, pointer)
                && seen.insert(target.clone())
            {
                self.collect(references, part, &target, true, depth + 1, seen);
            }
        }
    }

    /// Adds those of a schema's own keywords.
    fn own(&mut self, object: &Map<String, Value>) {
        let map = |keyword: &str| object.get(keyword).and_then(Value::as_object);
        self.names.extend(map("properties").into_iter().flatten().map(|(name, _)| name.clone()));
        self.patterns
            .extend(map("patternProperties").into_iter().flatten().map(|(name, _)| name.clone()));
        for keyword in ["dependentRequired", "dependencies"] {
            for (name, needed) in map(keyword).into_iter().flatten() {
                self.names.insert(name.clone());
                self.strings(Some(needed));
            }
        }
        self.strings(object.get("required"));
        let open = |keyword: &str| object.get(keyword).is_some_and(|value| *value != false);
        self.more |= open("additionalProperties") || open("unevaluatedProperties");
        let named = !(self.names.is_empty() && self.patterns.is_empty());
        // A map with names of a form, and an object that must have something.
        self.more |= object.contains_key("propertyNames") && !named;
        let least = object.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        let known = u64::try_from(self.names.len()).unwrap_or(u64::MAX);
        self.more |= least > known && self.patterns.is_empty();
    }

    fn strings(&mut self, list: Option<&Value>) {
        let list = list.and_then(Value::as_array).into_iter().flatten();
        self.names.extend(list.filter_map(Value::as_str).map(str::to_owned));
    }

    /// Adds what another one has.
    pub(super) fn join(&mut self, other: &Declared) {
        self.names.extend(other.names.iter().cloned());
        self.patterns.extend(other.patterns.iter().cloned());
        self.more |= other.more;
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty() && self.patterns.is_empty()
    }
}
