//! `$ref`: JSON pointers, anchors and names within the schema.

use std::collections::BTreeMap;

use serde_json::Value;

use super::wrong;
use crate::GrammarError;

/// Adds a token to a pointer (RFC 6901).
pub(super) fn child(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The places in a schema that have names: `$id`, `$anchor`.
pub(super) struct References<'a> {
    root: &'a Value,
    /// Pointers by their names: whole addresses, and addresses with `#anchor`.
    names: BTreeMap<String, String>,
    /// The addresses of sub-schemas with an `$id` of their own, by their pointers; the root's is first.
    bases: Vec<(String, String)>,
}

/// Deepest level that is searched for names.
const DEEPEST: usize = 128;

impl<'a> References<'a> {
    pub(super) fn new(root: &'a Value) -> References<'a> {
        let mut references = References {
            root,
            names: BTreeMap::new(),
            bases: vec![(String::new(), String::new())],
        };
        references.collect(root, "", "", 0);
        references
    }

    /// Notes the names of a schema and of all inside of it.
    fn collect(&mut self, schema: &Value, pointer: &str, base: &str, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let mut base = base.to_owned();
        match schema {
            Value::Object(fields) => {
                let text = |name: &str| fields.get(name).and_then(Value::as_str);
                if let Some(id) = text("$id").or_else(|| text("id")) {
                    match id.strip_prefix('#') {
                        // Draft 6 and older name anchors so.
                        Some(anchor) if !anchor.is_empty() => self.name(&base, anchor, pointer),
                        _ => {
                            base = joined(&base, id.trim_end_matches('#'));
                            self.names.entry(base.clone()).or_insert_with(|| pointer.to_owned());
                            self.bases.push((pointer.to_owned(), base.clone()));
                        }
                    }
                }
                for anchor in ["$anchor", "$dynamicAnchor"].into_iter().filter_map(text) {
                    self.name(&base, anchor, pointer);
                }
                for (key, value) in fields {
                    if !["const", "enum", "default", "examples", "example"].contains(&key.as_str())
                    {
                        self.collect(value, &child(pointer, key), &base, depth + 1);
                    }
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, &child(pointer, &index.to_string()), &base, depth + 1);
                }
            }
            _ => {}
        }
    }

    fn name(&mut self, base: &str, anchor: &str, pointer: &str) {
        self.names.entry(format!("{base}#{anchor}")).or_insert_with(|| pointer.to_owned());
    }

    /// The innermost sub-schema with an address that a place is in: its pointer and its address.
    fn base(&self, place: &str) -> (&str, &str) {
        let inside = |pointer: &str| {
            place.strip_prefix(pointer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let found = self.bases.iter().filter(|(pointer, _)| inside(pointer));
        let found = found.max_by_key(|(pointer, base)| (pointer.len(), base.len()));
        found.map_or(("", ""), |(pointer, base)| (pointer, base))
    }

    /// The sub-schema that a reference names, and its pointer.
    pub(super) fn resolve(
        &self,
        reference: &Value,
        keyword: &str,
        place: &str,
    ) -> Result<(String, &'a Value), GrammarError> {
        let error = |message: String| wrong(place, keyword, message);
        let Some(reference) = reference.as_str() else {
            return Err(error(format!("{} is not a string", shortened(reference))));
        };
        let (address, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let (base, own) = self.base(place);
        let base = match address.is_empty() {
            true => base.to_owned(),
            false => self.names.get(&joined(own, address)).cloned().ok_or_else(|| {
                error(format!("{reference:?} points outside of the schema, which is not fetched"))
            })?,
        };
        let fragment = percent_decoded(fragment)
            .ok_or_else(|| error(format!("{reference:?} is not percent-encoded UTF-8")))?;
        // Frequent, and only one meaning is possible where no property has the empty name.
        let fragment = if fragment == "/" { String::new() } else { fragment };
        let pointer = if fragment.is_empty() || fragment.starts_with('/') {
            format!("{base}{fragment}")
        } else {
            let name = format!(
                "{}#{fragment}",
                if address.is_empty() { own.to_owned() } else { joined(own, address) }
            );
            self.names
                .get(&name)
                .cloned()
                .ok_or_else(|| error(format!("{reference:?} names an anchor that is not there")))?
        };
        // Pointers are usually meant from the root, also where a part has an address of its own.
        let found = self.root.pointer(&pointer).map(|target| (pointer, target));
        let found = found.or_else(|| self.root.pointer(&fragment).map(|target| (fragment, target)));
        found.ok_or_else(|| error(format!("{reference:?} points to nothing")))
    }
}

/// An address, relative to another one.
fn joined(base: &str, address: &str) -> String {
    let scheme = address.split_once(':').is_some_and(|(scheme, _)| {
        !scheme.is_empty()
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+')
    });
    if scheme || base.is_empty() {
        return address.to_owned();
    }
    if address.starts_with('/') {
        let host = base.split_once("://").map(|(scheme, rest)| {
            format!("{scheme}://{}", rest.split('/').next().unwrap_or_default())
        });
        return format!("{}{address}", host.unwrap_or_default());
    }
    let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{}", address.trim_start_matches("./"))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (*first, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                bytes.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
                rest = after;
            }
            (b'%', _) => return None,
            (byte, _) => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// A value in an error message.
pub(super) fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
