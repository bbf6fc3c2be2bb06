//! Writes a schema anew, keyword by keyword.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::declared::{Declared, REFERENCES, is_alone};
use super::keywords::TYPES;
use super::numbers::{Steps, bounds, count};
use super::productive;
use super::references::{References, child, shortened};
use super::wrong;
use crate::GrammarError;

/// Sub-schemas and constants of a schema, with those of its definitions.
const MOST_NODES: usize = 60_000;

/// Levels of a schema or a constant.
const DEEPEST: usize = 64;

/// Levels of all definitions together: llguidance recurses through them.
const DEEPEST_CHAIN: usize = 4_000;

/// What becomes of properties that a schema does not name, where it does not say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    /// They may be there: another part for the same value closes it.
    Open,
    /// They are not written; those of other parts for the same value are.
    Closed(Declared),
}

impl Mode {
    pub(super) fn closed() -> Mode {
        Mode::Closed(Declared::default())
    }
}

/// Keywords written anew.
pub(super) type Written = Map<String, Value>;

pub(super) struct Walk<'a> {
    pub(super) references: References<'a>,
    /// Whether much fewer values may be written than are accepted, rather than none.
    pub(super) narrows: bool,
    root: &'a Value,
    /// Schemas that hold for the same value as the one that is being written: what it rules out is looked for there.
    pub(super) beside: Vec<&'a Map<String, Value>>,
    nodes: usize,
    chain: usize,
    /// New names of definitions by their pointers.
    names: BTreeMap<(String, Mode), String>,
    /// Definitions that are named, but not written yet.
    waiting: Vec<(String, Mode, &'a Value)>,
    steps: Steps,
    pointers: Vec<String>,
    deepest: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Value, narrows: bool) -> Walk<'a> {
        Walk {
            references: References::new(root),
            narrows,
            root,
            beside: Vec::new(),
            nodes: 0,
            chain: 0,
            names: BTreeMap::new(),
            waiting: Vec::new(),
            steps: Steps::default(),
            pointers: Vec::new(),
            deepest: 0,
        }
    }

    /// Writes the sub-schema at a pointer.
    pub(super) fn start(&mut self, pointer: &str) -> Result<Value, GrammarError> {
        let root = self.root;
        let schema = root.pointer(pointer).ok_or_else(|| wrong(pointer, "", "is not there"))?;
        self.schema(schema, pointer, &Mode::closed(), 0)
    }

    /// Writes the definitions, and returns them with the pointers of all sub-schemas.
    pub(super) fn finish(
        mut self,
        start: &mut Value,
    ) -> Result<(Map<String, Value>, Vec<String>), GrammarError> {
        let mut definitions = Map::new();
        let mut places = BTreeMap::new();
        while let Some((pointer, mode, schema)) = self.waiting.pop() {
            let key = (pointer.clone(), mode);
            let name = self.names.get(&key).cloned().unwrap_or_default();
            self.deepest = 0;
            let written = self.schema(schema, &pointer, &key.1, 0)?;
            self.chain = self.chain.saturating_add(self.deepest);
            if self.chain > DEEPEST_CHAIN {
                let message = format!(
                    "the definitions of the schema have more than {DEEPEST_CHAIN} levels together"
                );
                return Err(wrong(&pointer, "", message));
            }
            places.insert(name.clone(), pointer);
            definitions.insert(name, written);
        }
        let known = productive::productive(&definitions);
        let endless = definitions.keys().find(|name| !known.contains(*name));
        // Without definitions, llguidance finds out by itself that there is no value.
        if let Some(endless) = endless.filter(|_| !productive::ends(start, &known)) {
            let pointer = places.get(endless).cloned().unwrap_or_default();
            let message = "every value of it needs another one of its own kind, without an end";
            return Err(wrong(&pointer, "$ref", message));
        }
        definitions.retain(|name, _| known.contains(name));
        productive::forbid(start, &known);
        definitions.values_mut().for_each(|written| productive::forbid(written, &known));
        Ok((definitions, self.pointers))
    }

    /// Counts one more node.
    pub(super) fn node(&mut self, pointer: &str, depth: usize) -> Result<(), GrammarError> {
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

    /// Writes a schema. What is certain with `Mode::Closed` is certain with the parts of the same value beside it.
    pub(super) fn schema(
        &mut self,
        schema: &'a Value,
        pointer: &str,
        mode: &Mode,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        self.node(pointer, depth)?;
        // What is closed is another value, or stands alone.
        let outer = match mode {
            Mode::Closed(_) => Some(std::mem::take(&mut self.beside)),
            Mode::Open => None,
        };
        let written = self.schema_beside(schema, pointer, mode, depth);
        if let Some(outer) = outer {
            self.beside = outer;
        }
        written
    }

    fn schema_beside(
        &mut self,
        schema: &'a Value,
        pointer: &str,
        mode: &Mode,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        let object = match schema {
            Value::Bool(_) => return Ok(schema.clone()),
            Value::Object(object) => object,
            other => {
                let message =
                    format!("a schema is an object, true or false, not {}", shortened(other));
                return Err(wrong(pointer, "", message));
            }
        };
        // llguidance reads keywords in order: those without sub-schemas in place first, then the others.
        let mut written = Map::new();
        self.plain(object, pointer, &mut written)?;
        self.object(object, pointer, depth, &mut written)?;
        self.array(object, pointer, depth, &mut written)?;
        self.constants(object, pointer, depth, &mut written)?;
        let mut all = self.string(object, pointer, &mut written)?;
        self.conditions(object, pointer, depth, &mut all, &mut written)?;
        let declared = self.declared(schema, pointer, mode);
        self.branches(object, pointer, (mode, &declared), depth, &mut written)?;
        let members = self.members(object, pointer, mode, depth)?;
        all.extend(members);
        self.close(object, mode, &declared, &mut written);
        if !all.is_empty() {
            written.insert("allOf".to_owned(), Value::Array(all));
        }
        self.reference(object, pointer, mode, &mut written)?;
        self.pointers.push(pointer.to_owned());
        let never = written.get("not") == Some(&Value::Bool(true));
        Ok(if never { Value::Bool(false) } else { Value::Object(written) })
    }

    /// The properties that a schema, the parts that hold with it, and the parts beside it speak of.
    fn declared(&self, schema: &Value, pointer: &str, mode: &Mode) -> Declared {
        let mut declared = Declared::default();
        declared.add(&self.references, schema, pointer, false);
        if let Mode::Closed(outer) = mode {
            declared.join(outer);
        }
        declared
    }

    /// `allOf`.
    fn members(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        mode: &Mode,
        depth: usize,
    ) -> Result<Vec<Value>, GrammarError> {
        let Some(list) = object.get("allOf") else { return Ok(Vec::new()) };
        let list = items(list, pointer, "allOf")?;
        let alone = list.len() == 1 && is_alone(object, "allOf");
        let mode = if alone { mode.clone() } else { Mode::Open };
        let mut written = Vec::with_capacity(list.len());
        let before = self.beside.len();
        self.beside.push(object);
        self.beside.extend(list.iter().filter_map(Value::as_object));
        for (index, item) in list.iter().enumerate() {
            let place = child(&child(pointer, "allOf"), &index.to_string());
            let item = self.schema(item, &place, &mode, depth.saturating_add(1));
            written.push(item);
        }
        self.beside.truncate(before);
        written.into_iter().collect()
    }

    fn reference(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        mode: &Mode,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        for keyword in REFERENCES {
            let Some(reference) = object.get(keyword) else { continue };
            let (target, schema) = self.references.resolve(reference, keyword, pointer)?;
            let mode = if is_alone(object, keyword) { mode.clone() } else { Mode::Open };
            let name = self.definition(target, mode, schema);
            written.insert("$ref".to_owned(), Value::from(format!("#/$defs/{name}")));
        }
        Ok(())
    }

    /// The new name of a definition.
    fn definition(&mut self, pointer: String, mode: Mode, schema: &'a Value) -> String {
        let key = (pointer, mode);
        if let Some(name) = self.names.get(&key) {
            return name.clone();
        }
        let name = format!("d{}", self.names.len());
        self.names.insert(key.clone(), name.clone());
        self.waiting.push((key.0, key.1, schema));
        name
    }

    /// Lets an object have the properties alone that it and the parts beside it speak of, unless it asks for more.
    /// Where there are branches, they do that, each with its own.
    fn close(
        &mut self,
        object: &Map<String, Value>,
        mode: &Mode,
        declared: &Declared,
        written: &mut Written,
    ) {
        let own_end = object.get("unevaluatedProperties").is_some_and(|value| *value == false);
        if declared.more || (*mode == Mode::Open && !own_end) {
            return;
        }
        let parts = ["anyOf", "oneOf"].into_iter().any(|keyword| object.contains_key(keyword));
        let single = REFERENCES.into_iter().any(|keyword| is_alone(object, keyword))
            || (is_alone(object, "allOf")
                && object
                    .get("allOf")
                    .is_some_and(|list| list.as_array().is_some_and(|list| list.len() == 1)));
        let is_object = written.get("type").is_some_and(|types| {
            *types == "object" || {
                types.as_array().is_some_and(|types| types.contains(&json!("object")))
            }
        });
        let untyped = !written.contains_key("type");
        if parts || single || written.contains_key("additionalProperties") {
            return;
        }
        if !(is_object || (untyped && !declared.is_empty())) {
            return;
        }
        let mut properties = take_map(written, "properties");
        for name in &declared.names {
            let covered = |pattern: &String| is_match(pattern, name);
            if !declared.patterns.iter().any(covered) || properties.contains_key(name) {
                properties.entry(name.clone()).or_insert(Value::Bool(true));
            }
        }
        if !properties.is_empty() {
            written.insert("properties".to_owned(), Value::Object(properties));
        }
        let mut patterns = take_map(written, "patternProperties");
        for pattern in &declared.patterns {
            // One that cannot be translated has been left out before.
            if let Ok(pattern) = crate::pattern::translate(pattern) {
                patterns.entry(pattern).or_insert(Value::Bool(true));
            }
        }
        if !patterns.is_empty() {
            written.insert("patternProperties".to_owned(), Value::Object(patterns));
        }
        written.insert("additionalProperties".to_owned(), Value::Bool(false));
    }

    /// Keywords with plain values.
    fn plain(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Written,
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
            if let Some(value) = object.get(keyword)
                && let Some(count) = count(pointer, keyword, value)?
            {
                written.insert(keyword.to_owned(), count.into());
            }
        }
        Ok(())
    }
}

/// A list of schemas, at least one.
pub(super) fn items<'v>(
    list: &'v Value,
    pointer: &str,
    keyword: &str,
) -> Result<&'v [Value], GrammarError> {
    let items = list.as_array().filter(|items| !items.is_empty());
    items.map(Vec::as_slice).ok_or_else(|| {
        wrong(pointer, keyword, format!("{} is not a list of schemas", shortened(list)))
    })
}

/// Takes a map out of what is written.
pub(super) fn take_map(written: &mut Written, keyword: &str) -> Map<String, Value> {
    match written.shift_remove(keyword) {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// Whether a pattern of names, in the syntax of schemas, matches a name.
pub(super) fn is_match(pattern: &str, name: &str) -> bool {
    let pattern = crate::pattern::translate(pattern).ok();
    pattern.and_then(|pattern| regex::Regex::new(&pattern).ok()).is_some_and(|p| p.is_match(name))
}
