//! Keywords about strings, constants, objects and arrays.

use serde_json::{Map, Value, json};

use super::formats::{Format, format};
use super::keywords::translated;
use super::numbers::inexact;
use super::references::{child, shortened};
use super::walk::{Mode, Walk, Written, items, take_map};
use super::wrong;
use crate::GrammarError;

/// Listed items of an array without duplicates of which all combinations are written.
const MOST_UNIQUE: usize = 6;
/// Items of the longest list that is written where there are more.
const MOST_BEGUN: usize = 8;

impl<'a> Walk<'a> {
    /// `pattern` and `format`; returns schemas that hold besides. Formats that are not known, and those of numbers, are
    /// annotations.
    pub(super) fn string(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Written,
    ) -> Result<Vec<Value>, GrammarError> {
        let mut patterns = Vec::new();
        if let Some(value) = object.get("pattern") {
            patterns.push(translated(value.as_str(), value, pointer, "pattern")?);
        }
        match object.get("format").and_then(Value::as_str).and_then(format) {
            Some(Format::BuiltIn) => {
                written
                    .extend(object.get("format").map(|name| ("format".to_owned(), name.clone())));
            }
            Some(Format::Patterns(more)) => patterns.extend(more),
            None => {}
        }
        let mut patterns = patterns.into_iter();
        if let Some(first) = patterns.next() {
            written.insert("pattern".to_owned(), first.into());
        }
        Ok(patterns.map(|pattern| json!({"pattern": pattern})).collect())
    }

    pub(super) fn constants(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        if let Some(value) = object.get("const") {
            self.constant(value, pointer, "const", depth)?;
            written.insert("const".to_owned(), value.clone());
        }
        let Some(values) = object.get("enum") else { return Ok(()) };
        let Some(list) = values.as_array().filter(|list| !list.is_empty()) else {
            let message = format!("{} is not a list of values", shortened(values));
            return Err(wrong(pointer, "enum", message));
        };
        // A value that cannot be written exactly is not chosen.
        let (mut kept, mut refused) = (Vec::with_capacity(list.len()), None);
        for value in list {
            match self.constant(value, pointer, "enum", depth) {
                Ok(()) => kept.push(value.clone()),
                Err(error @ GrammarError::TooLarge { .. }) => return Err(error),
                Err(error) => refused = Some(error),
            }
        }
        match (kept.is_empty(), refused) {
            (true, Some(error)) => Err(error),
            _ => {
                written.insert("enum".to_owned(), Value::Array(kept));
                Ok(())
            }
        }
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
        match value {
            Value::Null | Value::Bool(_) => Ok(()),
            Value::Number(_) => match inexact(value) {
                Some(message) => Err(wrong(pointer, keyword, message)),
                None => Ok(()),
            },
            Value::String(text) if !is_writable(text) => {
                let message =
                    format!("{} has a control character, which is never written", shortened(value));
                Err(wrong(pointer, keyword, message))
            }
            Value::String(_) => Ok(()),
            Value::Array(items) => {
                items.iter().try_for_each(|item| self.constant(item, pointer, keyword, depth))
            }
            Value::Object(entries) => entries.iter().try_for_each(|(name, entry)| {
                if !is_writable(name) {
                    let message = format!("the name {name:?} has a control character");
                    return Err(wrong(pointer, keyword, message));
                }
                self.constant(entry, pointer, keyword, depth)
            }),
        }
    }

    pub(super) fn object(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        let depth = depth.saturating_add(1);
        let mut only_named = false;
        for keyword in ["properties", "patternProperties"] {
            let Some(value) = object.get(keyword) else { continue };
            let Some(entries) = value.as_object() else {
                let message = format!("{} is not an object", shortened(value));
                return Err(wrong(pointer, keyword, message));
            };
            let place = child(pointer, keyword);
            let mut map = Map::new();
            for (name, schema) in entries {
                let key = match keyword {
                    "properties" => name.clone(),
                    _ => {
                        match translated(Some(name), &Value::Null, &child(&place, name), keyword) {
                            Ok(pattern) => pattern,
                            // Without the names of this pattern, and others that may be of it.
                            Err(_) if self.narrows => {
                                only_named = true;
                                continue;
                            }
                            Err(error) => return Err(error),
                        }
                    }
                };
                map.insert(key, self.schema(schema, &child(&place, name), &Mode::closed(), depth)?);
            }
            written.insert(keyword.to_owned(), Value::Object(map));
        }
        if let Some(schema) = object.get("additionalProperties") {
            let place = child(pointer, "additionalProperties");
            let schema = self.schema(schema, &place, &Mode::closed(), depth)?;
            written.insert("additionalProperties".to_owned(), schema);
        }
        if only_named {
            written.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        self.names(object, pointer, written)?;
        self.required(object, pointer, written)
    }

    fn required(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        // Draft 3 says of a property itself whether it is required; later ones do not know that.
        let names = object.get("required").filter(|names| !names.is_boolean());
        let required = match names {
            None => 0,
            Some(names) => {
                let list = names.as_array().filter(|list| list.iter().all(Value::is_string));
                let Some(list) = list else {
                    let message = format!("{} is not a list of names", shortened(names));
                    return Err(wrong(pointer, "required", message));
                };
                written.insert("required".to_owned(), names.clone());
                let first = |(at, name): &(usize, &Value)| !list[..*at].contains(name);
                list.iter().enumerate().filter(first).count()
            }
        };
        // Nothing keeps a model from writing the same additional name twice.
        let least = written.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least <= u64::try_from(required).unwrap_or(u64::MAX).saturating_add(1) {
            return Ok(());
        }
        self.fill(object, least, written);
        let required = written.get("required").and_then(Value::as_array).map_or(0, Vec::len);
        if least > u64::try_from(required).unwrap_or(u64::MAX).saturating_add(1) {
            let message = format!(
                "{least} is more than one above the {required} required properties, which cannot be ensured"
            );
            return Err(wrong(pointer, "minProperties", message));
        }
        Ok(())
    }

    /// Requires the first of the declared properties that are not required, until there are enough.
    fn fill(&self, object: &Map<String, Value>, least: u64, written: &mut Written) {
        let properties = object.get("properties").and_then(Value::as_object);
        let mut required = match written.shift_remove("required") {
            Some(Value::Array(names)) => names,
            _ => Vec::new(),
        };
        for (name, part) in properties.into_iter().flatten() {
            let enough = u64::try_from(required.len()).unwrap_or(u64::MAX) >= least;
            if !enough && *part != false && !required.iter().any(|known| known == name) {
                required.push(Value::from(name.as_str()));
            }
        }
        written.insert("required".to_owned(), Value::Array(required));
    }

    /// `propertyNames`: as patterns of additional names; declared names are looked at.
    fn names(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        let Some(form) = object.get("propertyNames") else { return Ok(()) };
        let place = child(pointer, "propertyNames");
        let (place, form) = match form.get("$ref") {
            Some(reference) => self.references.resolve(reference, "$ref", &place)?,
            None => (place, form),
        };
        let Some((patterns, listed)) = name_form(form, &place)? else { return Ok(()) };
        let fits = |name: &str| {
            let matches = |pattern: &String| {
                regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
            };
            patterns.iter().all(matches)
                && listed.as_ref().is_none_or(|names| names.iter().any(|known| known == name))
        };
        let mut properties = take_map(written, "properties");
        for (name, part) in &mut properties {
            if !fits(name) {
                *part = Value::Bool(false);
            }
        }
        let rest = written.shift_remove("additionalProperties").unwrap_or(Value::Bool(true));
        if written.contains_key("patternProperties") && rest != false {
            let message = "cannot be ensured beside patternProperties";
            return Err(wrong(pointer, "propertyNames", message));
        }
        if let Some(names) = &listed {
            for name in names.iter().filter(|name| fits(name)) {
                properties.entry(name.clone()).or_insert_with(|| rest.clone());
            }
        } else if rest != false {
            let all = match patterns.as_slice() {
                [one] => one.clone(),
                _ => {
                    let message = "several conditions on names cannot be ensured together";
                    return Err(wrong(pointer, "propertyNames", message));
                }
            };
            written.insert("patternProperties".to_owned(), json!({all: rest}));
        }
        written.insert("properties".to_owned(), Value::Object(properties));
        written.insert("additionalProperties".to_owned(), Value::Bool(false));
        Ok(())
    }

    /// The keywords of arrays in the spelling of draft 2020-12.
    pub(super) fn array(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        let (given, additional) = (object.get("items"), object.get("additionalItems"));
        let old = given.is_some_and(Value::is_array);
        let (first, rest) = match old {
            true if !object.contains_key("prefixItems") => (
                given.map(|list| ("items", list)),
                additional.map(|rest| ("additionalItems", rest)),
            ),
            true => {
                let message = "is a list beside prefixItems, which belong to different drafts";
                return Err(wrong(pointer, "items", message));
            }
            false => (
                object.get("prefixItems").map(|first| ("prefixItems", first)),
                given.map(|rest| ("items", rest)),
            ),
        };
        let deeper = depth.saturating_add(1);
        let empty = |list: &Value| list.as_array().is_some_and(Vec::is_empty);
        if let Some((keyword, list)) = first.filter(|(_, list)| !empty(list)) {
            let mut prefix = Vec::new();
            for (index, item) in items(list, pointer, keyword)?.iter().enumerate() {
                let place = child(&child(pointer, keyword), &index.to_string());
                prefix.push(self.schema(item, &place, &Mode::closed(), deeper)?);
            }
            written.insert("prefixItems".to_owned(), Value::Array(prefix));
        }
        if let Some((keyword, schema)) = rest {
            let schema = self.schema(schema, &child(pointer, keyword), &Mode::closed(), deeper)?;
            written.insert("items".to_owned(), schema);
        }
        if object.get("unevaluatedItems").is_some_and(|value| *value == false) {
            written.entry("items".to_owned()).or_insert(Value::Bool(false));
        }
        self.contains(object, pointer, deeper, written)?;
        self.unique(object, pointer, written)
    }

    /// `contains`: the first items are those that are asked for.
    fn contains(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        depth: usize,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        let Some(schema) = object.get("contains") else { return Ok(()) };
        let least = object.get("minContains").and_then(Value::as_u64).unwrap_or(1);
        if object.contains_key("maxContains") {
            let message = "is only supported without maxContains";
            return Err(wrong(pointer, "maxContains", message));
        }
        let least = usize::try_from(least).unwrap_or(usize::MAX);
        if least > 16 {
            return Err(wrong(
                pointer,
                "minContains",
                "is more than 16, the most that is supported",
            ));
        }
        let wanted = self.schema(schema, &child(pointer, "contains"), &Mode::closed(), depth)?;
        let rest = written.get("items").cloned();
        let mut prefix = match written.shift_remove("prefixItems") {
            Some(Value::Array(prefix)) => prefix,
            _ => Vec::new(),
        };
        while prefix.len() < least {
            prefix.push(rest.clone().unwrap_or(Value::Bool(true)));
        }
        for item in prefix.iter_mut().take(least) {
            *item = match item.take() {
                Value::Bool(true) => wanted.clone(),
                other => json!({"allOf": [other, wanted]}),
            };
        }
        if !prefix.is_empty() {
            written.insert("prefixItems".to_owned(), Value::Array(prefix));
        }
        let items = written.get("minItems").and_then(Value::as_u64).unwrap_or(0);
        let least = items.max(u64::try_from(least).unwrap_or(u64::MAX));
        written.insert("minItems".to_owned(), least.into());
        Ok(())
    }

    /// `uniqueItems`: at most one item, unless the items are listed. Of listed ones, all selections in
    /// their order are written, or, where there are many, selections that begin the list.
    fn unique(
        &mut self,
        object: &'a Map<String, Value>,
        pointer: &str,
        written: &mut Written,
    ) -> Result<(), GrammarError> {
        if object.get("uniqueItems").is_none_or(|value| *value != true) {
            return Ok(());
        }
        let bound = |name: &str| written.get(name).and_then(Value::as_u64);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems"));
        if most.is_some_and(|most| most <= 1) {
            return Ok(());
        }
        let values = match written.contains_key("prefixItems") {
            true => None,
            false => self.listed(object.get("items"), &child(pointer, "items"), 0),
        };
        let Some(values) = values else {
            if self.narrows && least <= 1 {
                written.insert("maxItems".to_owned(), 1.into());
                return Ok(());
            }
            let message = "can be ensured only where items are listed (enum, const or boolean), or maxItems is 1";
            return Err(wrong(pointer, "uniqueItems", message));
        };
        let fits = |count: usize| {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            count >= least && most.is_none_or(|most| count <= most)
        };
        let selections: Vec<Vec<&Value>> = match values.len() {
            count @ 0..=MOST_UNIQUE => (0..1_usize << count)
                .map(|bits| {
                    let chosen = |(index, _): &(usize, &Value)| bits >> index & 1 == 1;
                    values.iter().enumerate().filter(chosen).map(|(_, value)| value).collect()
                })
                .collect(),
            count => {
                let longest = count.min(MOST_BEGUN);
                let begins = (2..=longest).map(|length| values.iter().take(length).collect());
                let alone = values.iter().map(|value| vec![value]);
                std::iter::once(Vec::new()).chain(alone).chain(begins).collect()
            }
        };
        let lists: Vec<Value> = selections
            .into_iter()
            .filter(|list| fits(list.len()))
            .map(|list| json!(list))
            .collect();
        if lists.is_empty() {
            return Err(wrong(pointer, "uniqueItems", "leaves no list that is long enough"));
        }
        for keyword in ["items", "minItems", "maxItems"] {
            written.shift_remove(keyword);
        }
        // Other types than arrays are not concerned.
        let others = ["null", "boolean", "number", "string", "object"];
        let untyped = !written.contains_key("type");
        let besides = untyped.then(|| json!({"type": others}));
        let mixed = written.get("type").and_then(Value::as_array).cloned().map(|types| {
            let types: Vec<Value> = types.into_iter().filter(|name| *name != "array").collect();
            json!({"type": types})
        });
        let besides = besides.or(mixed.filter(|schema| {
            schema.get("type").and_then(Value::as_array).is_some_and(|types| !types.is_empty())
        }));
        let arrays = json!({"enum": lists});
        let form = match besides {
            Some(besides) => json!({"anyOf": [besides, arrays]}),
            None => arrays,
        };
        written.insert("unique".to_owned(), form);
        Ok(())
    }

    /// All values of a schema, if they are listed; duplicates once.
    fn listed(&self, schema: Option<&Value>, pointer: &str, depth: usize) -> Option<Vec<Value>> {
        let object = schema?.as_object().filter(|_| depth < 8)?;
        if let Some(reference) = object.get("$ref") {
            let (target, part) = self.references.resolve(reference, "$ref", pointer).ok()?;
            return self.listed(Some(part), &target, depth + 1);
        }
        let mut values: Vec<Value> = Vec::new();
        let given = match (object.get("const"), object.get("enum"), object.get("type")) {
            (Some(value), _, _) => vec![value.clone()],
            (_, Some(list), _) => list.as_array()?.clone(),
            (_, _, Some(kind)) if *kind == "boolean" => vec![json!(true), json!(false)],
            _ => return None,
        };
        let kinds = object.get("type").map(|types| match types {
            Value::Array(names) => names.clone(),
            name => vec![name.clone()],
        });
        for value in given {
            let scalar = !value.is_array() && !value.is_object();
            let text = value.as_str().is_none_or(is_writable);
            let kind = |name: &Value| match name.as_str() {
                Some("string") => value.is_string(),
                Some("integer") => value.is_i64() || value.is_u64(),
                Some("number") => value.is_number(),
                Some("boolean") => value.is_boolean(),
                Some("null") => value.is_null(),
                _ => false,
            };
            let typed = kinds.as_ref().is_none_or(|kinds| kinds.iter().any(kind));
            if !scalar {
                return None;
            }
            if text
                && typed
                && inexact(&value).is_none_or(|_| !value.is_number())
                && !values.contains(&value)
            {
                values.push(value);
            }
        }
        Some(values)
    }
}

/// Whether a string can be written without `\u`.
fn is_writable(text: &str) -> bool {
    let plain = |letter: char| !letter.is_control() || "\n\r\t\u{8}\u{c}".contains(letter);
    text.chars().filter(char::is_ascii).all(plain)
}

/// Patterns that names must match, and the names there are if they are listed.
type NameForm = (Vec<String>, Option<Vec<String>>);

/// What a schema for names asks for; nothing, if all names fit.
fn name_form(form: &Value, place: &str) -> Result<Option<NameForm>, GrammarError> {
    let Some(object) = form.as_object() else {
        return Ok((*form == false).then(|| (Vec::new(), Some(Vec::new()))));
    };
    let mut patterns = Vec::new();
    let mut listed: Option<Vec<String>> = None;
    for (keyword, value) in object {
        match keyword.as_str() {
            "type" if *value == "string" => {}
            "pattern" => patterns.push(translated(value.as_str(), value, place, keyword)?),
            "format" => match value.as_str().and_then(format) {
                Some(Format::Patterns(more)) => patterns.extend(more),
                Some(Format::BuiltIn) => {
                    return Err(wrong(place, "format", "cannot be ensured of names"));
                }
                None => {}
            },
            "minLength" | "maxLength" => {
                let number = value.as_u64().unwrap_or(0);
                patterns.push(match keyword.as_str() {
                    "minLength" => format!("^(?s:.{{{number},}})$"),
                    _ => format!("^(?s:.{{0,{number}}})$"),
                });
            }
            "enum" => {
                let names = value.as_array().into_iter().flatten();
                listed = Some(names.filter_map(Value::as_str).map(str::to_owned).collect());
            }
            "const" => listed = Some(value.as_str().map(str::to_owned).into_iter().collect()),
            "anyOf" | "oneOf" | "allOf" | "not" | "$ref" | "if" => {
                return Err(wrong(place, keyword, "cannot be ensured of names"));
            }
            _ => {}
        }
    }
    let empty = patterns.is_empty() && listed.is_none();
    Ok((!empty).then_some((patterns, listed)))
}
