//! `oneOf`: which of its options no other one accepts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::declared::{Declared, REFERENCES};
use super::keywords::TYPES;
use super::references::References;

const DEEPEST: usize = 16;

/// What is known of all values that a schema accepts.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    types: BTreeSet<String>,
    /// The values there are, if they are listed.
    values: Option<Vec<Value>>,
    required: BTreeSet<String>,
    /// What is known of properties, where they are there.
    properties: BTreeMap<String, Summary>,
    /// The only properties that are accepted, if others are excluded.
    only: Option<BTreeSet<String>>,
    /// Whether no value at all is accepted.
    never: bool,
    /// Whether strings have a form or a greatest length.
    formed: bool,
}

impl Default for Summary {
    fn default() -> Self {
        let types = TYPES.iter().filter(|name| **name != "integer").map(|name| (*name).to_owned());
        Self {
            types: types.chain(["integer".to_owned()]).collect(),
            values: None,
            required: BTreeSet::new(),
            properties: BTreeMap::new(),
            only: None,
            never: false,
            formed: false,
        }
    }
}

impl Summary {
    pub(super) fn of(references: &References<'_>, schema: &Value, pointer: &str) -> Summary {
        let mut summary = Summary::default();
        summary.add(references, schema, pointer, 0);
        summary
    }

    fn add(&mut self, references: &References<'_>, schema: &Value, pointer: &str, depth: usize) {
        let Some(object) = schema.as_object() else {
            self.never |= *schema == false;
            return;
        };
        if depth > DEEPEST {
            return;
        }
        if let Some(types) = object.get("type") {
            let names = types.as_array().map_or(std::slice::from_ref(types), Vec::as_slice);
            let mut named: BTreeSet<String> =
                names.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            // Every integer is a number.
            if named.contains("number") {
                named.insert("integer".to_owned());
            }
            self.types.retain(|name| named.contains(name));
        }
        let listed = object.get("enum").and_then(Value::as_array).cloned();
        let constant = object.get("const").map(|value| vec![value.clone()]);
        for values in [listed, constant].into_iter().flatten() {
            self.values = Some(match self.values.take() {
                Some(known) => known.into_iter().filter(|value| values.contains(value)).collect(),
                None => values,
            });
        }
        let formed = ["pattern", "format", "maxLength"].into_iter();
        self.formed |= formed.into_iter().any(|keyword| object.contains_key(keyword));
        let required = object.get("required").and_then(Value::as_array).into_iter().flatten();
        self.required.extend(required.filter_map(Value::as_str).map(str::to_owned));
        let properties = object.get("properties").and_then(Value::as_object);
        for (name, part) in properties.into_iter().flatten() {
            let place = format!("{pointer}/properties/{name}");
            self.properties.entry(name.clone()).or_default().add(
                references,
                part,
                &place,
                depth + 1,
            );
        }
        let patterns = object.contains_key("patternProperties");
        if object.get("additionalProperties").is_some_and(|value| *value == false) && !patterns {
            let names = properties.into_iter().flatten().map(|(name, _)| name.clone()).collect();
            self.only = Some(match self.only.take() {
                Some(only) => only.intersection(&names).cloned().collect(),
                None => names,
            });
        }
        let all = object.get("allOf").and_then(Value::as_array).into_iter().flatten();
        for (index, part) in all.enumerate() {
            self.add(references, part, &format!("{pointer}/allOf/{index}"), depth + 1);
        }
        for keyword in REFERENCES {
            let Some(reference) = object.get(keyword) else { continue };
            if let Ok((target, part)) = references.resolve(reference, keyword, pointer) {
                self.add(references, part, &target, depth + 1);
            }
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(list) = object.get(keyword).and_then(Value::as_array) else { continue };
            let mut any = Vec::with_capacity(list.len());
            for (index, part) in list.iter().enumerate() {
                let mut summary = Summary::default();
                let place = format!("{pointer}/{keyword}/{index}");
                summary.add(references, part, &place, depth + 4);
                any.push(summary);
            }
            self.one_of(&any);
        }
    }

    /// Adds that one of several others holds.
    fn one_of(&mut self, any: &[Summary]) {
        let any: Vec<&Summary> = any.iter().filter(|summary| !summary.never).collect();
        self.never |= any.is_empty();
        self.types.retain(|name| any.iter().any(|summary| summary.types.contains(name)));
        let listed: Option<Vec<&Vec<Value>>> =
            any.iter().map(|summary| summary.values.as_ref()).collect();
        if let (Some(listed), None) = (listed, &self.values) {
            self.values = Some(listed.into_iter().flatten().cloned().collect());
        }
        let Some((first, rest)) = any.split_first() else { return };
        let all = |name: &&String| rest.iter().all(|summary| summary.required.contains(*name));
        self.required.extend(first.required.iter().filter(all).cloned());
    }

    /// Properties of this schema whose presence makes another one refuse a value; none if there is none.
    pub(super) fn tells_apart(&self, other: &Summary) -> Option<String> {
        let refused = |(name, summary): &(&String, &Summary)| {
            let outside = other.only.as_ref().is_some_and(|only| !only.contains(*name));
            let part = other.properties.get(*name);
            !summary.never && (outside || part.is_some_and(|part| summary.is_disjoint(part)))
        };
        let only_objects = self.types.iter().all(|name| name == "object");
        let found = self.properties.iter().find(refused).filter(|_| only_objects);
        found.map(|(name, _)| name.clone())
    }

    /// A property that another schema requires and this one does not: without it, the other one refuses an object.
    pub(super) fn dispensable(&self, other: &Summary) -> Option<String> {
        let objects = self.types.contains("object");
        let mut names = other.required.iter().filter(|name| !self.required.contains(*name));
        names.next().filter(|_| objects).cloned()
    }

    /// The letters of the longest of listed strings, if all of the other's strings are listed.
    pub(super) fn longest(&self) -> Option<usize> {
        let values = self.values.as_ref()?;
        values.iter().map(|value| value.as_str().map_or(0, |text| text.chars().count())).max()
    }

    /// Whether values are strings alone, of any form and length.
    pub(super) fn is_text(&self) -> bool {
        self.values.is_none() && !self.formed && self.types.iter().all(|name| name == "string")
    }

    /// Whether no value is accepted by both.
    fn is_disjoint(&self, other: &Summary) -> bool {
        if self.never || other.never || self.types.is_disjoint(&other.types) {
            return true;
        }
        // Whether this summary rules a listed value out.
        let refuses = |summary: &Summary, value: &Value| {
            !summary.types.contains(kind(value))
                || summary.values.as_ref().is_some_and(|values| !values.contains(value))
        };
        let all_refused = |listed: &Option<Vec<Value>>, by: &Summary| {
            listed.as_ref().is_some_and(|values| values.iter().all(|value| refuses(by, value)))
        };
        if all_refused(&self.values, other) || all_refused(&other.values, self) {
            return true;
        }
        let objects = |summary: &Summary| summary.types.iter().all(|name| name == "object");
        if !objects(self) && !objects(other) {
            return false;
        }
        let required = self.required.union(&other.required);
        required.into_iter().any(|name| {
            let outside =
                |summary: &Summary| summary.only.as_ref().is_some_and(|only| !only.contains(name));
            let (one, two) = (self.properties.get(name), other.properties.get(name));
            let apart = one.zip(two).is_some_and(|(one, two)| one.is_disjoint(two));
            let never = |summary: Option<&Summary>| summary.is_some_and(|summary| summary.never);
            apart || outside(self) || outside(other) || never(one) || never(two)
        })
    }

    /// Keeps the types that another schema for the same value allows.
    pub(super) fn within(mut self, base: &Summary) -> Summary {
        self.types.retain(|name| base.types.contains(name));
        self
    }

    /// Whether no value that is written by this schema, with the properties `declared` alone, is accepted by another.
    pub(super) fn excludes(&self, declared: &Declared, other: &Summary) -> bool {
        let only_objects = self.types.iter().all(|name| name == "object");
        let lacks = |name: &String| !declared.names.contains(name);
        let closed = !declared.more && declared.patterns.is_empty();
        self.is_disjoint(other) || (closed && only_objects && other.required.iter().any(lacks))
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number)
            if number.is_f64() && number.as_f64().is_some_and(|x| x.fract() != 0.0) =>
        {
            "number"
        }
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
