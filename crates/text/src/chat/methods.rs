//! Python methods that templates call on strings, lists and dictionaries.
//!
//! Most are in `minijinja-contrib`; here are the others that chat templates use.

use super::{refusal, source};
use minijinja::value::{Tuple, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat::unknown_method_callback;

/// Calls `value.method(*args)`.
pub(super) fn call(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if method == source::REVERSED {
        return reversed(value);
    }
    if method == "split"
        && value.as_str().is_some()
        && args.first().and_then(Value::as_str) == Some("")
    {
        return Err(refusal("empty separator"));
    }
    match unknown_method_callback(state, value, method, args) {
        Err(error) if error.kind() == ErrorKind::UnknownMethod => match value.as_str() {
            Some(text) => string(text, method, args),
            None if method == "copy" && matches!(value.kind(), ValueKind::Map | ValueKind::Seq) => {
                let () = from_args(args)?;
                Ok(value.clone())
            }
            None if method == "index" && value.kind() == ValueKind::Seq => index(value, args),
            None => Err(error),
        },
        result => result,
    }
}

/// `value[::-1]`.
fn reversed(value: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => {
            Ok(Value::from(value.as_str().unwrap_or_default().chars().rev().collect::<String>()))
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let mut items: Vec<Value> = value.try_iter()?.collect();
            items.reverse();
            Ok(if value.is_tuple() { Value::from(Tuple::from(items)) } else { Value::from(items) })
        }
        kind => Err(refusal(format!("value of type {kind} cannot be sliced"))),
    }
}

fn string(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_prefix(prefix).unwrap_or(text)))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(Value::from(text.strip_suffix(suffix).unwrap_or(text)))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            partition(text, separator, method == "rpartition")
        }
        "rsplit" => {
            let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
            Ok(rsplit(text, separator, most.and_then(|most| usize::try_from(most).ok())))
        }
        "index" | "rindex" => {
            let (needle,): (&str,) = from_args(args)?;
            let at = if method == "index" { text.find(needle) } else { text.rfind(needle) };
            let before =
                at.and_then(|at| text.get(..at)).ok_or_else(|| refusal("substring not found"))?;
            Ok(Value::from(before.chars().count()))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Ok(Value::from(!text.is_empty() && text.chars().all(char::is_numeric)))
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<&str>) = from_args(args)?;
            justify(text, method, width, fill.unwrap_or(if method == "zfill" { "0" } else { " " }))
        }
        "casefold" => {
            let () = from_args(args)?;
            Ok(Value::from(text.to_lowercase()))
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

/// What comes before, the separator, and what comes after; without it, the text and two empty strings.
fn partition(text: &str, separator: &str, last: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(refusal("empty separator"));
    }
    let parts = if last { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match parts {
        Some((before, after)) => [before, separator, after],
        None if last => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from).to_vec())))
}

fn rsplit(text: &str, separator: Option<&str>, most: Option<usize>) -> Value {
    let most = most.map_or(usize::MAX, |most| most.saturating_add(1));
    let mut parts: Vec<&str> = match separator {
        Some(separator) => text.rsplitn(most, separator).collect(),
        None => {
            let mut parts = Vec::new();
            let mut rest = text.trim();
            while !rest.is_empty() {
                match rest.rfind(char::is_whitespace).filter(|_| parts.len() + 1 < most) {
                    Some(at) => {
                        let (before, after) = rest.split_at(at);
                        parts.push(after.trim_start());
                        rest = before.trim_end();
                    }
                    None => parts.push(std::mem::take(&mut rest)),
                }
            }
            parts
        }
    };
    parts.reverse();
    parts.into_iter().map(Value::from).collect()
}

fn justify(text: &str, method: &str, width: usize, fill: &str) -> Result<Value, Error> {
    let missing = width.saturating_sub(text.chars().count());
    if missing > 1 << 16 {
        return Err(refusal(format!("{method}: a width of {width} is too much")));
    }
    let filling = fill.repeat(missing);
    // The sign stays in front of the zeros.
    let sign = usize::from(method == "zfill" && text.starts_with(['+', '-']));
    let (sign, digits) = text.split_at(sign);
    Ok(Value::from(match method {
        "ljust" => [text, &filling].concat(),
        "center" => {
            // Where the two sides cannot be equal, Python makes the left one longer if the width is odd.
            let left = missing / 2 + (missing & width & 1);
            [&fill.repeat(left), text, &fill.repeat(missing - left)].concat()
        }
        _ => [sign, &filling, digits].concat(),
    }))
}

fn index(list: &Value, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (&Value,) = from_args(args)?;
    let found = list.try_iter()?.position(|item| item == *wanted);
    found.map(Value::from).ok_or_else(|| refusal(format!("{wanted} is not in the list")))
}
