//! Writes a schema anew, keyword by keyword.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::formats::{Format, format};
use super::keywords::{ANNOTATIONS, TYPES, check_keyword, translated};
use super::numbers::{Steps, bounds, count, inexact};
use super::references::{child, resolve, shortened};
use super::wrong;
use crate::GrammarError;

/// Sub-schemas and constants of a schema, with those of its definitions.
const MOST_NODES: usize = 20_000;

/// Levels of a schema or a constant.
const DEEPEST: usize = 64;

/// Levels of all definitions together: llguidance recurses through them.
const DEEPEST_CHAIN: usize = 4_000;

pub(super) struct Walk<'a> {
    root: &'a Value,
    nodes: usize,
    chain: usize,
    /// New names of definitions by their pointers.
    names: BTreeMap<String, String>,
    /// Definitions that are named, but not written yet.
    waiting: Vec<(String, &'a Value)>,
    /// References being replaced by what they name.
    replacing: Vec<String>,
    steps: Steps,
    pointers: Vec<String>,
    deepest: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Value) -> Result<Walk<'a>, GrammarError> {
        let known = |draft: &str| {
            let draft = draft.trim_end_matches('#');
            let name = draft.strip_prefix("https://").or_else(|| draft.strip_prefix("http://"));
            let drafts = ["draft/2020-12", "draft/2019-09", "draft-07", "draft-06", "draft-04"];
            drafts.iter().any(|draft| name == Some(&format!("json-schema.org/{draft}/schema")))
        };
        match root.get("$schema") {
            Some(draft) if !draft.as_str().is_some_and(known) => {
                let message = format!(
                    "{} is no known draft (04, 06, 07, 2019-09, 2020-12)",
                    shortened(draft)
                );
                Err(wrong("", "$schema", message))
            }
            _ => Ok(Walk {
                root,
                nodes: 0,
                chain: 0,
                names: BTreeMap::new(),
                waiting: Vec::new(),
                replacing: Vec::new(),
                steps: Steps::default(),
                pointers: Vec::new(),
                deepest: 0,
            }),
        }
    }

    /// Writes the sub-schema at a pointer.
    pub(super) fn start(&mut self, pointer: &str) -> Result<Value, GrammarError> {
        let root = self.root;
        let schema = root.pointer(pointer).ok_or_else(|| wrong(pointer, "", "is not there"))?;
        self.schema(schema, pointer, 0)
    }

    /// Writes the definitions, and returns them with the pointers of all sub-schemas.
    pub(super) fn finish(mut self) -> Result<(Map<String, Value>, Vec<String>), GrammarError> {
        let mut definitions = Map::new();
        while let Some((pointer, schema)) = self.waiting.pop() {
            let name = self.names.get(&pointer).cloned().unwrap_or_default();
            self.deepest = 0;
            let written = self.schema(schema, &pointer, 0)?;
            self.chain = self.chain.saturating_add(self.deepest);
            if self.chain > DEEPEST_CHAIN {
                let message = format!(
                    "the definitions of the schema have more than {DEEPEST_CHAIN} levels together"
                );
                return Err(GrammarError::TooLarge { message });
            }
            definitions.insert(name, written);
        }
        Ok((definitions, self.pointers))
    }

    /// Counts one more node.
    fn node(&mut self, pointer: &str, depth: usize) -> Result<(), GrammarError> {
        self.nodes = self.nodes.saturating_add(1);
        self.deepest = self.deepest.max(depth);
        if self.nodes > MOST_NODES {
            let message =
                format!("the schema has more than {MOST_NODES} sub-schemas and constants");
            return Err(GrammarError::TooLarge { message });
        }
        if depth > DEEPEST {
            let message = format!("the schema is deeper than {DEEPEST} levels at {pointer:?}");
            return Err(GrammarError::TooLarge { message });
        }
        Ok(())
    }

    fn schema(
        &mut self,
        schema: &'a Value,
        pointer: &str,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        self.node(pointer, depth)?;
        let object = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(object) => object,
            other => {
                let message =
                    format!("a schema is an object, true or false, not {}", shortened(other));
                return Err(wrong(pointer, "", message));
            }
        };
        for (keyword, value) in object {
            check_keyword(pointer, keyword, value)?;
        }
        // llguidance reads keywords in order: those without sub-schemas in place first, then the others.
        let mut written = Map::new();
        self.plain(object, pointer, &mut written)?;
        self.object(object, pointer, depth, &mut written)?;
        self.array(object, pointer, depth, &mut written)?;
        self.constants(object, pointer, depth, &mut written)?;
        let mut both = self.string(object, pointer, &mut written)?;
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let mut list = match object.get(keyword) {
                Some(list) => self.list(list, &child(pointer, keyword), keyword, depth)?,
                None => Vec::new(),
            };
            if keyword == "allOf" {
                list.append(&mut both);
            }
            if !list.is_empty() {
                written.insert(keyword.to_owned(), Value::Array(list));
            }
        }
        if let Some(reference) = object.get("$ref") {
            let (target, schema) = resolve(self.root, reference, pointer)?;
            let name = self.definition(target, schema);
            written.insert("$ref".to_owned(), Value::from(format!("#/$defs/{name}")));
        }
        self.pointers.push(pointer.to_owned());
        Ok(Value::Object(written))
    }

    /// The new name of a definition.
    fn definition(&mut self, pointer: String, schema: &'a Value) -> String {
        if let Some(name) = self.names.get(&pointer) {
            return name.clone();
        }
        let name = format!("d{}", self.names.len());
        self.names.insert(pointer.clone(), name.clone());
        self.waiting.push((pointer, schema));
        name
    }

    /// A list of schemas, at least one.
    fn list(
        &mut self,
        list: &'a Value,
        pointer: &str,
        keyword: &str,
        depth: usize,
    ) -> Result<Vec<Value>, GrammarError> {
        let place = pointer
            .strip_suffix(keyword)
            .and_then(|place| place.strip_suffix('/'))
            .unwrap_or(pointer);
        let Some(items) = list.as_array().filter(|items| !items.is_empty()) else {
            let message = format!("{} is not a list of schemas", shortened(list));
            return Err(wrong(place, keyword, message));
        };
        let mut written = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let place = child(pointer, &index.to_string());
            written.push(match keyword {
                "oneOf" => self.replaced(item, &place, depth.saturating_add(1))?,
                _ => self.schema(item, &place, depth.saturating_add(1))?,
            });
        }
        Ok(written)
    }

    /// An option of `oneOf`: llguidance sees that options exclude each other only if they are no references.
    fn replaced(
        &mut self,
        option: &'a Value,
        pointer: &str,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        let Some(reference) = option.get("$ref") else {
            return self.schema(option, pointer, depth);
        };
        let alone = |keyword: &String| keyword == "$ref" || ANNOTATIONS.contains(&keyword.as_str());
        if !option.as_object().is_some_and(|option| option.keys().all(alone)) {
            return self.schema(option, pointer, depth);
        }
        let (target, schema) = resolve(self.root, reference, pointer)?;
        if self.replacing.contains(&target) {
            return self.schema(option, pointer, depth);
        }
        self.replacing.push(target.clone());
        let written = match schema.get("$ref") {
            Some(_) => self.replaced(schema, &target, depth.saturating_add(1)),
            None => self.schema(schema, &target, depth.saturating_add(1)),
        };
        self.replacing.pop();
        written
    }

    /// Keywords with plain values.
    fn plain(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        if let Some(types) = object.get("type") {
            let list = types.as_array().map_or(std::slice::from_ref(types), Vec::as_slice);
            let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
            if list.is_empty() || !list.iter().all(known) {
                let message =
                    format!("{} is not one or several of {}", shortened(types), TYPES.join(", "));
                return Err(wrong(pointer, "type", message));
            }
            written.insert("type".to_owned(), types.clone());
        }
        bounds(pointer, object, written)?;
        if let Some(step) = object.get("multipleOf") {
            self.steps.add(pointer, step)?;
            written.insert("multipleOf".to_owned(), step.clone());
        }
        let counts =
            ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
        for keyword in counts {
            if let Some(value) = object.get(keyword) {
                written.insert(keyword.to_owned(), count(pointer, keyword, value)?.into());
            }
        }
        Ok(())
    }

    /// `pattern` and `format`; returns schemas that hold besides.
    fn string(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Map<String, Value>,
    ) -> Result<Vec<Value>, GrammarError> {
        let mut patterns = Vec::new();
        if let Some(value) = object.get("pattern") {
            patterns.push(translated(value.as_str(), value, pointer, "pattern")?);
        }
        if let Some(value) = object.get("format") {
            let name = value.as_str().ok_or_else(|| wrong(pointer, "format", "is not a string"))?;
            match format(name)
                .map_err(|message| wrong(pointer, name, format!("is no known format; {message}")))?
            {
                Format::BuiltIn => {
                    written.insert("format".to_owned(), value.clone());
                }
                Format::Patterns(more) => patterns.extend(more),
            }
        }
        let mut patterns = patterns.into_iter();
        if let Some(first) = patterns.next() {
            written.insert("pattern".to_owned(), first.into());
        }
        let besides = |pattern: String| {
            Value::Object(Map::from_iter([("pattern".to_owned(), pattern.into())]))
        };
        Ok(patterns.map(besides).collect())
    }

    fn constants(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        if let Some(value) = object.get("const") {
            self.constant(value, pointer, "const", depth)?;
            written.insert("const".to_owned(), value.clone());
        }
        if let Some(values) = object.get("enum") {
            let Some(list) = values.as_array().filter(|list| !list.is_empty()) else {
                return Err(wrong(
                    pointer,
                    "enum",
                    format!("{} is not a list of values", shortened(values)),
                ));
            };
            for value in list {
                self.constant(value, pointer, "enum", depth)?;
            }
            written.insert("enum".to_owned(), values.clone());
        }
        Ok(())
    }

    fn constant(
        &mut self,
        value: &Value,
        pointer: &str,
        keyword: &str,
        depth: usize,
    ) -> Result<(), GrammarError> {
        self.node(pointer, depth)?;
        let depth = depth.saturating_add(1);
        let needs_escape = |text: &str| {
            let plain = |letter: char| !letter.is_control() || "\n\r\t\u{8}\u{c}".contains(letter);
            !text.chars().filter(char::is_ascii).all(plain)
        };
        match value {
            Value::Null | Value::Bool(_) => Ok(()),
            Value::Number(_) => match inexact(value) {
                Some(message) => Err(wrong(pointer, keyword, message)),
                None => Ok(()),
            },
            Value::String(text) if needs_escape(text) => {
                let message =
                    format!("{} has a control character, which is never written", shortened(value));
                Err(wrong(pointer, keyword, message))
            }
            Value::String(_) => Ok(()),
            Value::Array(items) => {
                items.iter().try_for_each(|item| self.constant(item, pointer, keyword, depth))
            }
            Value::Object(entries) => {
                entries.values().try_for_each(|entry| self.constant(entry, pointer, keyword, depth))
            }
        }
    }

    fn object(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let depth = depth.saturating_add(1);
        for keyword in ["properties", "patternProperties"] {
            let Some(value) = object.get(keyword) else { continue };
            let Some(entries) = value.as_object() else {
                return Err(wrong(
                    pointer,
                    keyword,
                    format!("{} is not an object", shortened(value)),
                ));
            };
            let place = child(pointer, keyword);
            let mut map = Map::new();
            for (name, schema) in entries {
                let key = match keyword {
                    "properties" => name.clone(),
                    _ => translated(Some(name), &Value::Null, &child(&place, name), keyword)?,
                };
                map.insert(key, self.schema(schema, &child(&place, name), depth)?);
            }
            written.insert(keyword.to_owned(), Value::Object(map));
        }
        if let Some(schema) = object.get("additionalProperties") {
            let schema = self.schema(schema, &child(pointer, "additionalProperties"), depth)?;
            written.insert("additionalProperties".to_owned(), schema);
        }
        let required = match object.get("required") {
            None => 0,
            Some(names) => {
                let list = names.as_array().filter(|list| list.iter().all(Value::is_string));
                let Some(list) = list else {
                    let message = format!("{} is not a list of names", shortened(names));
                    return Err(wrong(pointer, "required", message));
                };
                written.insert("required".to_owned(), names.clone());
                list.iter()
                    .enumerate()
                    .filter(|(at, name)| !list.iter().take(*at).any(|other| other == *name))
                    .count()
            }
        };
        // Nothing keeps a model from writing the same additional name twice.
        let least = written.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > u64::try_from(required).unwrap_or(u64::MAX).saturating_add(1) {
            let message = format!(
                "{least} is more than one above the {required} required properties, which cannot be ensured"
            );
            return Err(wrong(pointer, "minProperties", message));
        }
        Ok(())
    }

    /// The keywords of arrays in the spelling of draft 2020-12.
    fn array(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Map<String, Value>,
    ) -> Result<(), GrammarError> {
        let (items, additional) = (object.get("items"), object.get("additionalItems"));
        let old = items.is_some_and(Value::is_array);
        if object.contains_key("prefixItems") && (old || additional.is_some()) {
            let message = "belongs to another draft than items as a list and additionalItems";
            return Err(wrong(pointer, "prefixItems", message));
        }
        let (first, rest) = match old {
            true => (
                items.map(|items| ("items", items)),
                additional.map(|rest| ("additionalItems", rest)),
            ),
            false => (
                object.get("prefixItems").map(|first| ("prefixItems", first)),
                items.map(|rest| ("items", rest)),
            ),
        };
        if let Some((keyword, list)) = first {
            let list = self.list(list, &child(pointer, keyword), keyword, depth)?;
            written.insert("prefixItems".to_owned(), Value::Array(list));
        }
        if let Some((keyword, schema)) = rest {
            let schema = self.schema(schema, &child(pointer, keyword), depth.saturating_add(1))?;
            written.insert("items".to_owned(), schema);
        }
        Ok(())
    }
}
