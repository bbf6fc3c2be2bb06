//! Python's formatting with `%`.

use super::{python, refusal};
use minijinja::value::ValueKind;
use minijinja::{Error, Value};

/// `format % value`.
pub(super) fn format(format: &str, value: &Value) -> Result<String, Error> {
    let tuple = value.is_tuple();
    let mut arguments: Vec<Value> =
        if tuple { value.try_iter()?.collect() } else { vec![value.clone()] };
    arguments.reverse();
    let mut used_names = false;
    let mut result = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        result.push_str(rest.get(..at).unwrap_or_default());
        let (specifier, after) = Specifier::read(rest.get(at + 1..).unwrap_or_default())?;
        rest = after;
        if specifier.conversion == '%' {
            result.push('%');
            continue;
        }
        let argument = match specifier.name {
            Some(name) if value.kind() == ValueKind::Map => {
                used_names = true;
                let found = value.get_attr(name).ok().filter(|found| !found.is_undefined());
                found.ok_or_else(|| refusal(format!("%: no key {name:?}")))?
            }
            Some(_) => return Err(refusal("%: a name needs a mapping")),
            None => arguments
                .pop()
                .ok_or_else(|| refusal("%: not enough arguments for format string"))?,
        };
        result.push_str(&specifier.print(&argument)?);
    }
    result.push_str(rest);
    let unused = !arguments.is_empty() && !used_names && value.kind() != ValueKind::Map;
    if unused {
        return Err(refusal("%: not all arguments converted during string formatting"));
    }
    Ok(result)
}

/// `%(name)-05.2d`.
struct Specifier<'f> {
    name: Option<&'f str>,
    flags: &'f str,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl<'f> Specifier<'f> {
    /// What stands behind a `%`, and the text after it.
    fn read(text: &'f str) -> Result<(Self, &'f str), Error> {
        let incomplete = || refusal("%: incomplete format");
        let (name, text) = match text.strip_prefix('(') {
            Some(rest) => rest
                .split_once(')')
                .map(|(name, rest)| (Some(name), rest))
                .ok_or_else(incomplete)?,
            None => (None, text),
        };
        let span = |text: &'f str, of: &dyn Fn(char) -> bool| {
            text.split_at(text.find(|character| !of(character)).unwrap_or(text.len()))
        };
        let (flags, text) = span(text, &|character| "-+ 0#".contains(character));
        let (width, text) = span(text, &|character| character.is_ascii_digit());
        let (precision, text) = match text.strip_prefix('.') {
            Some(rest) => {
                let (digits, rest) = span(rest, &|character| character.is_ascii_digit());
                (Some(digits.parse().unwrap_or(0)), rest)
            }
            None => (None, text),
        };
        let width: usize = if width.is_empty() { 0 } else { width.parse().unwrap_or(usize::MAX) };
        if width > 1 << 16 || precision.is_some_and(|precision: usize| precision > 1 << 10) {
            return Err(refusal("%: the width or the precision is too much"));
        }
        let text = text.trim_start_matches(['l', 'h', 'L']);
        let conversion = text.chars().next().ok_or_else(incomplete)?;
        let after = text.get(conversion.len_utf8()..).unwrap_or_default();
        Ok((Self { name, flags, width, precision, conversion }, after))
    }

    fn print(&self, value: &Value) -> Result<String, Error> {
        let text = |text: String| match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        };
        let (text, number) = match self.conversion {
            's' => (text(python::text(value)?), false),
            'r' | 'a' => (text(python::representation(value)?), false),
            'c' => (character(value)?, false),
            'd' | 'i' | 'u' => (integer(value, true)?.to_string(), true),
            'x' => (radix(integer(value, false)?, |n| format!("{n:x}")), true),
            'X' => (radix(integer(value, false)?, |n| format!("{n:X}")), true),
            'o' => (radix(integer(value, false)?, |n| format!("{n:o}")), true),
            'f' | 'F' => (format!("{:.*}", self.precision.unwrap_or(6), real(value)?), true),
            'e' => (exponent(real(value)?, self.precision.unwrap_or(6)), true),
            'g' => (general(real(value)?, self.precision.unwrap_or(6)), true),
            other => return Err(refusal(format!("%: unsupported format character {other:?}"))),
        };
        if self.flags.contains('#') {
            return Err(refusal("%: the flag # is not supported"));
        }
        Ok(self.padded(&text, number))
    }

    fn padded(&self, text: &str, number: bool) -> String {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) if number => ("-", digits),
            _ if number && self.flags.contains('+') => ("+", text),
            _ if number && self.flags.contains(' ') => (" ", text),
            _ => ("", text),
        };
        let missing = self.width.saturating_sub(sign.chars().count() + digits.chars().count());
        if self.flags.contains('-') {
            format!("{sign}{digits}{}", " ".repeat(missing))
        } else if number && self.flags.contains('0') {
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            format!("{}{sign}{digits}", " ".repeat(missing))
        }
    }
}

fn real(value: &Value) -> Result<f64, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(if value.is_true() { 1.0 } else { 0.0 }),
        ValueKind::Number => f64::try_from(value.clone()),
        kind => Err(refusal(format!("%: a number is needed, not {kind}"))),
    }
}

/// An integer; with `truncated`, of a float its whole part.
fn integer(value: &Value, truncated: bool) -> Result<i128, Error> {
    match value.kind() {
        ValueKind::Bool => Ok(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()),
        ValueKind::Number if truncated => {
            let number = real(value)?.trunc();
            if number.abs() < 1e30 {
                return Ok(number as i128);
            }
            Err(refusal("%d: the number is too large"))
        }
        kind => Err(refusal(format!("%: an integer is needed, not {kind}"))),
    }
}

fn radix(number: i128, digits: impl Fn(u128) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", digits(number.unsigned_abs()))
}

fn character(value: &Value) -> Result<String, Error> {
    let text = match value.as_str() {
        Some(text) => Some(text.to_owned()),
        None => {
            let code = u32::try_from(integer(value, false)?).ok();
            code.and_then(char::from_u32).map(String::from)
        }
    };
    text.filter(|text| text.chars().count() == 1)
        .ok_or_else(|| refusal("%c: one character or its number is needed"))
}

/// `1.5e+04`.
fn exponent(number: f64, precision: usize) -> String {
    let shown = format!("{number:.precision$e}");
    match shown.split_once('e') {
        None => shown,
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
    }
}

/// The shorter of both forms, without zeros at the end.
fn general(number: f64, precision: usize) -> String {
    let precision = precision.max(1);
    if number == 0.0 || !number.is_finite() {
        return if number == 0.0 { "0".to_owned() } else { python::float(number) };
    }
    let scientific = exponent(number, precision - 1);
    let power: i32 = scientific.rsplit_once('e').and_then(|(_, p)| p.parse().ok()).unwrap_or(0);
    let without_zeros = |digits: &str| match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => digits.to_owned(),
    };
    let most = i32::try_from(precision).unwrap_or(i32::MAX);
    if power < -4 || power >= most {
        let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{power}", without_zeros(digits));
    }
    let decimals = usize::try_from(most - 1 - power).unwrap_or(0);
    without_zeros(&format!("{number:.decimals$}"))
}
