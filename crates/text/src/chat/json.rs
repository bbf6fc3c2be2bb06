//! The filter `tojson`: Python's `json.dumps`, without the HTML escaping of Jinja's own.

use super::LARGEST_PROMPT;
use super::environment::check_depth;
use super::filters::arguments;
use super::python::float;
use super::refusal;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, Value};
use std::fmt::Write;

/// Deeper indentation than this serves nobody.
const WIDEST_INDENT: usize = 256;

/// `value | tojson(ensure_ascii=false, indent=none, separators=none, sort_keys=false)`, the parameters of transformers.
pub(super) fn tojson(
    value: &Value,
    positional: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
    let given = arguments(names, &positional, &named)?
        .map(|argument| argument.filter(|value| !value.is_none()));
    let [ensure_ascii, indent, separators, sort_keys] = given;
    let ensure_ascii = ensure_ascii.is_some_and(|flag| flag.is_true());
    let indent = indent.map(|indent| indentation(&indent)).transpose()?;
    let separators = separators.map(|pair| pair_of_separators(&pair)).transpose()?;
    let sort_keys = sort_keys.is_some_and(|flag| flag.is_true());
    let separators = separators.unwrap_or_else(|| {
        let between = if indent.is_some() { "," } else { ", " };
        (between.to_owned(), ": ".to_owned())
    });
    let mut writer = Writer { out: String::new(), ensure_ascii, indent, separators, sort_keys };
    writer.value(value, 0)?;
    Ok(Value::from(writer.out))
}

/// What one level of indentation is: a number of spaces, or a text.
fn indentation(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_owned());
    }
    let width = i64::try_from(indent.clone()).map_err(|_| {
        refusal(format!("tojson: indent must be an integer or a string, not {indent}"))
    })?;
    // Python takes less than nothing for nothing.
    let width = usize::try_from(width.max(0)).unwrap_or(usize::MAX);
    if width > WIDEST_INDENT {
        return Err(refusal(format!(
            "tojson: indent is {width}; at most {WIDEST_INDENT} are possible"
        )));
    }
    Ok(" ".repeat(width))
}

fn pair_of_separators(pair: &Value) -> Result<(String, String), Error> {
    let items: Vec<Value> = pair.try_iter()?.collect();
    match items.as_slice() {
        [item, key] => match (item.as_str(), key.as_str()) {
            (Some(item), Some(key)) => Ok((item.to_owned(), key.to_owned())),
            _ => Err(refusal("tojson: separators must be strings")),
        },
        _ => Err(refusal("tojson: separators must be two strings")),
    }
}

struct Writer {
    out: String,
    ensure_ascii: bool,
    indent: Option<String>,
    separators: (String, String),
    sort_keys: bool,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        if self.out.len() > LARGEST_PROMPT {
            return Err(refusal("tojson: the result is larger than a prompt may be"));
        }
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.object(value, depth)?,
            kind => return Err(refusal(format!("tojson: an {kind} value has no JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, list: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut empty = true;
        for item in list.try_iter()? {
            self.separate(std::mem::replace(&mut empty, false), depth + 1);
            self.value(&item, depth + 1)?;
        }
        self.close(empty, depth, ']');
        Ok(())
    }

    fn object(&mut self, object: &Value, depth: usize) -> Result<(), Error> {
        let mut entries = Vec::new();
        for key in object.try_iter()? {
            entries.push((name(&key)?, object.get_item(&key)?));
        }
        if self.sort_keys {
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.out.push('{');
        let mut empty = true;
        for (name, value) in entries {
            self.separate(std::mem::replace(&mut empty, false), depth + 1);
            self.string(&name);
            self.out.push_str(&self.separators.1);
            self.value(&value, depth + 1)?;
        }
        self.close(empty, depth, '}');
        Ok(())
    }

    /// What stands before an item.
    fn separate(&mut self, first: bool, depth: usize) {
        if !first {
            self.out.push_str(&self.separators.0);
        }
        self.line(depth);
    }

    fn close(&mut self, empty: bool, depth: usize, bracket: char) {
        if !empty {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent.as_str(), depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for character in text.chars() {
            // Writing to a String cannot fail.
            let _ = match character {
                '"' => self.out.write_str("\\\""),
                '\\' => self.out.write_str("\\\\"),
                '\n' => self.out.write_str("\\n"),
                '\r' => self.out.write_str("\\r"),
                '\t' => self.out.write_str("\\t"),
                '\u{8}' => self.out.write_str("\\b"),
                '\u{c}' => self.out.write_str("\\f"),
                _ if character < ' ' || (self.ensure_ascii && character > '~') => {
                    self.escape(character)
                }
                _ => self.out.write_char(character),
            };
        }
        self.out.push('"');
    }

    fn escape(&mut self, character: char) -> std::fmt::Result {
        let mut units = [0; 2];
        character
            .encode_utf16(&mut units)
            .iter()
            .try_for_each(|unit| write!(self.out, "\\u{unit:04x}"))
    }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if !value.is_integer() => match number {
            _ if number.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "Infinity".to_owned(),
            f64::NEG_INFINITY => "-Infinity".to_owned(),
            _ => float(number),
        },
        _ => value.to_string(),
    }
}

/// A key as JSON has it: a string, whatever it was.
fn name(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number => Ok(number(key)),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        kind => Err(refusal(format!("tojson: an object's key must be a string, not a {kind}"))),
    }
}
