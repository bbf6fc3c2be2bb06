//! `not`, `if`, `anyOf`, `oneOf`, and what depends on the presence of properties.

use serde_json::{Map, Value, json};

use super::declared::{Declared, REFERENCES};
use super::exclusive::Summary;
use super::keywords::{TYPES, is_annotation};
use super::references::{child, shortened};
use super::walk::{Mode, Walk, Written, items};
use super::wrong;
use crate::GrammarError;

/// Alternatives of one value, multiplied, that are written; beyond it, what depends on a property is always there.
const MOST_ALTERNATIVES: usize = 64;

impl<'a> Walk<'a> {
    /// `not`, `if` and what depends on properties: schemas that hold besides.
    pub(super) fn conditions(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        all: &mut Vec<Value>,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        let deeper = depth.saturating_add(1);
        if let Some(unique) = written.shift_remove("unique") {
            all.push(unique);
        }
        if let Some(schema) = object.get("not") {
            match self.negated(schema, pointer, object, deeper)? {
                Some(Value::Bool(true)) => {}
                Some(Value::Bool(false)) => drop(written.insert("not".to_owned(), json!(true))),
                Some(schema) => all.push(schema),
                None => {
                    let message = format!("{} cannot be ruled out in advance", shortened(schema));
                    return Err(wrong(pointer, "not", message));
                }
            }
        }
        if let Some(condition) = object.get("if")
            && (object.contains_key("then") || object.contains_key("else"))
        {
            all.push(self.conditional(condition, object, pointer, deeper)?);
        }
        let mut alternatives = 1_usize;
        for keyword in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let entries = object.get(keyword).and_then(Value::as_object).into_iter().flatten();
            for (name, needed) in entries {
                alternatives = alternatives.saturating_mul(2);
                let place = child(&child(pointer, keyword), name);
                let there = match needed {
                    Value::Array(names) => {
                        let names: Vec<&Value> = names.iter().collect();
                        json!({"required": names})
                    }
                    schema => self.schema(schema, &place, &Mode::Open, deeper)?,
                };
                let absent = json!({"properties": {name: false}});
                all.push(match alternatives <= MOST_ALTERNATIVES {
                    true => json!({"anyOf": [absent, there]}),
                    false => there,
                });
            }
        }
        Ok(())
    }

    /// `if`: what it asks for and `then`, or what it rules out and `else`. Where what it rules out cannot be written,
    /// values that it does not apply to are not written.
    fn conditional(
        &mut self,
        condition: &'a Value,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
    ) -> Result<Value, GrammarError> {
        let place = |keyword: &str| child(pointer, keyword);
        let part = |walk: &mut Self, keyword: &str| match object.get(keyword) {
            Some(schema) => walk.schema(schema, &place(keyword), &Mode::Open, depth),
            None => Ok(Value::Bool(true)),
        };
        let holds = self.schema(condition, &place("if"), &Mode::Open, depth)?;
        let (then, otherwise) = (part(self, "then")?, part(self, "else")?);
        let applies = json!({"allOf": [holds, then]});
        Ok(match self.negated(condition, pointer, object, depth)? {
            Some(Value::Bool(false)) | None => applies,
            Some(not) => json!({"anyOf": [applies, {"allOf": [not, otherwise]}]}),
        })
    }

    /// What a schema rules out, as a schema; `None` if it cannot be written. `base` holds for the same values, and is
    /// made use of.
    fn negated(
        &mut self,
        schema: &'a Value,
        pointer: &str,
        base: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Option<Value>, GrammarError> {
        self.node(pointer, depth)?;
        let depth = depth.saturating_add(1);
        let Some(object) = schema.as_object() else {
            return Ok(Some(Value::Bool(*schema == false)));
        };
        // Something is ruled out by any of the keywords alone.
        let mut options = Vec::new();
        for (keyword, value) in object.iter().filter(|(keyword, _)| !is_annotation(keyword)) {
            let Some(more) = self.negated_keyword(keyword, value, object, pointer, base, depth)?
            else {
                return Ok(None);
            };
            options.extend(more);
        }
        options.retain(|option| *option != false);
        if options.contains(&Value::Bool(true)) {
            return Ok(Some(Value::Bool(true)));
        }
        Ok(Some(match options.len() {
            0 => Value::Bool(false),
            _ => json!({"anyOf": options}),
        }))
    }

    fn negated_keyword(
        &mut self,
        keyword: &str,
        value: &'a Value,
        object: &'a Map<String, Value>,
        pointer: &str,
        base: &'a Map<String, Value>,
        depth: usize,
    ) -> Result<Option<Vec<Value>>, GrammarError> {
        let not_object = || json!({"type": ["null", "boolean", "number", "string", "array"]});
        let options = match keyword {
            "required" => {
                let names = value.as_array().into_iter().flatten().filter_map(Value::as_str);
                let absent = |name: &str| json!({"properties": {name: false}, "type": "object"});
                let mut options: Vec<Value> = names.map(absent).collect();
                options.extend(may_be_other(base, "object").then(not_object));
                options
            }
            "type" => {
                let names = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                let named = |name: &str| names.iter().any(|other| other == name);
                if named("integer") && !named("number") {
                    return Ok(None);
                }
                let rest = TYPES.iter().filter(|name| **name != "integer" && !named(name));
                let rest: Vec<&&str> = rest.collect();
                if rest.is_empty() { Vec::new() } else { vec![json!({"type": rest})] }
            }
            "properties" => {
                let mut options = Vec::new();
                for (name, part) in value.as_object().into_iter().flatten() {
                    let empty = Map::new();
                    let own = self.listed_beside(name, base);
                    let place = child(&child(pointer, "properties"), name);
                    let not = match own {
                        Some(own) => self.negated_beside(part, own, &place, depth)?,
                        None => self.negated_value(part, &empty, &place)?,
                    };
                    let Some(not) = not else { return Ok(None) };
                    if not != false {
                        let properties = json!({name: not});
                        options.push(
                            json!({"type": "object", "properties": properties, "required": [name]}),
                        );
                    }
                }
                options
            }
            "const" | "enum" => match self.negated_beside_constants(object, base) {
                Some(not) => vec![not],
                None => return Ok(None),
            },
            "anyOf" | "oneOf"
                if keyword == "anyOf" || value.as_array().is_some_and(|l| l.len() == 1) =>
            {
                let mut all = Vec::new();
                for part in value.as_array().into_iter().flatten() {
                    let Some(not) = self.negated(part, pointer, base, depth)? else {
                        return Ok(None);
                    };
                    all.push(not);
                }
                vec![json!({"allOf": all})]
            }
            "allOf" => {
                let mut any = Vec::new();
                for part in value.as_array().into_iter().flatten() {
                    let Some(not) = self.negated(part, pointer, base, depth)? else {
                        return Ok(None);
                    };
                    any.push(not);
                }
                any
            }
            "not" => vec![self.schema(value, &child(pointer, "not"), &Mode::Open, depth)?],
            "$ref" => {
                let (target, part) = self.references.resolve(value, "$ref", pointer)?;
                match self.negated(part, &target, base, depth)? {
                    Some(not) => vec![not],
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(options))
    }

    /// The schema of a property in what holds for the same object; one that lists values, if there is one.
    fn listed_beside(
        &self,
        name: &str,
        base: &'a Map<String, Value>,
    ) -> Option<&'a Map<String, Value>> {
        let all = std::iter::once(base).chain(self.beside.iter().rev().copied());
        let own = |object: &'a Map<String, Value>| object.get("properties")?.get(name)?.as_object();
        let found: Vec<_> = all.filter_map(own).collect();
        let lists = |own: &&&Map<String, Value>| {
            ["enum", "const", "$ref"].iter().any(|keyword| own.contains_key(*keyword))
        };
        found.iter().find(lists).or(found.first()).copied()
    }

    /// What a schema of a property rules out of the property's own schema.
    fn negated_beside(
        &mut self,
        schema: &'a Value,
        own: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
    ) -> Result<Option<Value>, GrammarError> {
        let own = match own.get("$ref") {
            Some(reference) => {
                let target = self.references.resolve(reference, "$ref", pointer);
                match target.ok().and_then(|(_, part)| part.as_object()) {
                    Some(part) => part,
                    None => own,
                }
            }
            None => own,
        };
        match self.negated_value(schema, own, pointer)? {
            Some(not) => Ok(Some(not)),
            None => self.negated(schema, pointer, own, depth),
        }
    }

    /// The other values of a schema whose values are listed.
    fn negated_value(
        &mut self,
        schema: &'a Value,
        own: &Map<String, Value>,
        _: &str,
    ) -> Result<Option<Value>, GrammarError> {
        Ok(schema.as_object().and_then(|object| self.negated_beside_constants(object, own)))
    }

    fn negated_beside_constants(
        &self,
        object: &Map<String, Value>,
        own: &Map<String, Value>,
    ) -> Option<Value> {
        let kept = |key: &&String| {
            !is_annotation(key) && !["const", "enum", "type"].contains(&key.as_str())
        };
        if object.keys().any(|key| kept(&key)) {
            return None;
        }
        let mut ruled_out: Vec<&Value> = Vec::new();
        ruled_out.extend(object.get("const"));
        ruled_out.extend(object.get("enum").and_then(Value::as_array).into_iter().flatten());
        if ruled_out.is_empty() {
            return None;
        }
        // Booleans are listed by their type.
        let both = [json!(true), json!(false)];
        let boolean = own.get("type").is_some_and(|kind| *kind == "boolean")
            || ruled_out.iter().all(|value| value.is_boolean()) && !own.contains_key("type");
        let own_values = own.get("enum").and_then(Value::as_array).map(Vec::as_slice);
        let constant = own.get("const").map(std::slice::from_ref);
        let Some(values) = own_values.or(constant).or(boolean.then_some(&both[..])) else {
            // Other types, and strings that are longer than all that is ruled out.
            let lengths = ruled_out.iter().map(|value| Some(value.as_str()?.chars().count()));
            let longest = lengths.collect::<Option<Vec<_>>>()?.into_iter().max()?;
            let others = json!({"type": ["null", "boolean", "number", "array", "object"]});
            let longer = json!({"type": "string", "minLength": longest.saturating_add(1)});
            return Some(json!({"anyOf": [longer, others]}));
        };
        let rest: Vec<&Value> = values.iter().filter(|value| !ruled_out.contains(value)).collect();
        Some(if rest.is_empty() { Value::Bool(false) } else { json!({"enum": rest}) })
    }

    /// `anyOf` and `oneOf`. Each option has the properties of its own and of what holds with it.
    pub(super) fn branches(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        (mode, declared): (&Mode, &Declared),
        depth: usize,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        for (keyword, other) in [("anyOf", "oneOf"), ("oneOf", "anyOf")] {
            let Some(list) = object.get(keyword) else { continue };
            let list = items(list, pointer, keyword)?;
            let mut outer = declared.clone();
            for (index, part) in
                object.get(other).and_then(Value::as_array).into_iter().flatten().enumerate()
            {
                outer.add(&self.references, part, &format!("{pointer}/{other}/{index}"), true);
            }
            let mode = match mode {
                Mode::Open => Mode::Open,
                Mode::Closed(_) => Mode::Closed(outer.clone()),
            };
            let mut options = Vec::with_capacity(list.len());
            for (index, item) in list.iter().enumerate() {
                let place = child(&child(pointer, keyword), &index.to_string());
                options.push(self.schema(item, &place, &mode, depth.saturating_add(1))?);
            }
            if keyword == "oneOf" {
                options = self.exclusive(object, list, pointer, (&mode, &outer), options)?;
            }
            match written.get_mut("anyOf") {
                None => drop(written.insert("anyOf".to_owned(), Value::Array(options))),
                Some(_) => {
                    let first = written.shift_remove("anyOf");
                    let both = json!([{"anyOf": first}, {"anyOf": options}]);
                    written.insert("allOf".to_owned(), both);
                }
            }
        }
        Ok(())
    }

    /// The options of `oneOf` of which no value that is written is accepted by another one.
    fn exclusive(
        &self,
        object: &Map<String, Value>,
        list: &[Value],
        pointer: &str,
        (mode, outer): (&Mode, &Declared),
        options: Vec<Value>,
    ) -> Result<Vec<Value>, GrammarError> {
        let mut base = object.clone();
        for keyword in ["oneOf", "anyOf"].into_iter().chain(REFERENCES) {
            base.shift_remove(keyword);
        }
        let base = Summary::of(&self.references, &Value::Object(base), pointer);
        let place = |index: usize| format!("{pointer}/oneOf/{index}");
        let summaries: Vec<Summary> = list
            .iter()
            .enumerate()
            .map(|(index, option)| {
                Summary::of(&self.references, option, &place(index)).within(&base)
            })
            .collect();
        let mut kept = Vec::with_capacity(options.len());
        for (index, option) in options.into_iter().enumerate() {
            let (Some(summary), Some(source)) = (summaries.get(index), list.get(index)) else {
                continue;
            };
            let mut declared = outer.clone();
            declared.add(&self.references, source, &place(index), true);
            // What is open says nothing about the properties that are not written.
            declared.more |= *mode == Mode::Open;
            let others = summaries.iter().enumerate().filter(|(other, _)| *other != index);
            let others: Vec<&Summary> = others.map(|(_, other)| other).collect();
            if let Some(more) = apart(summary, &declared, &others) {
                let alone = more.as_object().is_none_or(Map::is_empty);
                kept.push(if alone { option } else { json!({"allOf": [option, more]}) });
            }
        }
        if kept.is_empty() {
            let message = "its options must exclude each other by their types, their constants, or by properties \
                           that they require; otherwise use anyOf";
            return Err(wrong(pointer, "oneOf", message));
        }
        Ok(kept)
    }
}

/// What a value of an option must have besides for no other option to accept it; `None` if nothing helps.
fn apart(option: &Summary, declared: &Declared, others: &[&Summary]) -> Option<Value> {
    let (mut required, mut absent, mut longer) = (Vec::new(), Map::new(), 0);
    for other in others {
        if option.excludes(declared, other) {
            continue;
        }
        if let Some(name) = option.tells_apart(other) {
            required.push(name);
        } else if let Some(name) = option.dispensable(other) {
            absent.insert(name, Value::Bool(false));
        } else {
            // A string that is longer than all that another option lists is none of them.
            let length = other.longest().filter(|_| option.is_text())?;
            longer = longer.max(length.saturating_add(1));
        }
    }
    let mut more = Map::new();
    if !required.is_empty() {
        more.insert("required".to_owned(), json!(required));
    }
    if !absent.is_empty() {
        more.insert("type".to_owned(), json!("object"));
        more.insert("properties".to_owned(), Value::Object(absent));
    }
    if longer > 0 {
        more.insert("minLength".to_owned(), json!(longer));
    }
    Some(Value::Object(more))
}

/// Whether a value of a schema may be of another type.
fn may_be_other(base: &Map<String, Value>, kind: &str) -> bool {
    base.get("type").is_none_or(|types| *types != kind)
}
