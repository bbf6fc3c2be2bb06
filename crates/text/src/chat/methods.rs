//! Python methods that templates call on strings, lists and dictionaries.
//!
//! Most are in `minijinja-contrib`; here are the others that chat templates use.

use super::{code, refusal, words};
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
    if method == code::SLICE {
        return slice(value, args);
    }
    if let Some(text) = value.as_str()
        && let Some(result) = own(text, method, args)?
    {
        return Ok(result);
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

/// Methods that the engine's own companion has otherwise than Python.
fn own(text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let none = |value: &Value| value.is_none() || value.is_undefined();
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" if args.iter().all(none) => Value::from(match method {
            "strip" => text.trim_matches(words::is_space),
            "lstrip" => text.trim_start_matches(words::is_space),
            _ => text.trim_end_matches(words::is_space),
        }),
        "split" if args.is_empty() => words::split(text).map(Value::from).collect(),
        "splitlines" => {
            let (keep_ends,): (Option<bool>,) = from_args(args)?;
            words::lines(text, keep_ends.unwrap_or(false)).into_iter().map(Value::from).collect()
        }
        "isspace" => {
            let () = from_args(args)?;
            Value::from(all(words::is_space))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Value::from(all(words::is_decimal))
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(words::title(text))
        }
        "swapcase" => {
            let () = from_args(args)?;
            Value::from(words::swapped(text))
        }
        _ => return Ok(None),
    }))
}

/// `value[start:stop:step]`.
fn slice(value: &Value, args: &[Value]) -> Result<Value, Error> {
    let (start, stop, step): (Option<i64>, Option<i64>, Option<i64>) = from_args(args)?;
    let step = step.unwrap_or(1);
    if step == 0 {
        return Err(refusal("a slice's step cannot be zero"));
    }
    let characters: Vec<char>;
    let items: Vec<Value> = match value.kind() {
        ValueKind::String => {
            characters = value.as_str().unwrap_or_default().chars().collect();
            let taken = places(characters.len(), start, stop, step);
            let text = taken.into_iter().filter_map(|at| characters.get(at)).collect::<String>();
            return Ok(Value::from(text));
        }
        ValueKind::Seq | ValueKind::Iterable => value.try_iter()?.collect(),
        kind => return Err(refusal(format!("value of type {kind} cannot be sliced"))),
    };
    let taken = places(items.len(), start, stop, step);
    let taken: Vec<Value> = taken.into_iter().filter_map(|at| items.get(at).cloned()).collect();
    Ok(if value.is_tuple() { Value::from(Tuple::from(taken)) } else { Value::from(taken) })
}

/// The places that a slice takes of `length` (Python's `slice.indices`).
fn places(length: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    // Backwards, places are counted from -1 before the first to the last.
    let (lowest, highest) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |bound: i64| {
        let bound = if bound < 0 { bound.saturating_add(length) } else { bound };
        bound.clamp(lowest, highest)
    };
    let (first, last) = if step > 0 { (lowest, highest) } else { (highest, lowest) };
    let (mut at, stop) = (start.map_or(first, place), stop.map_or(last, place));
    let mut taken = Vec::new();
    while if step > 0 { at < stop } else { at > stop } {
        taken.extend(usize::try_from(at).ok());
        at = at.saturating_add(step);
    }
    taken
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
            let mut rest = text.trim_matches(words::is_space);
            while !rest.is_empty() {
                match rest.rfind(words::is_space).filter(|_| parts.len() + 1 < most) {
                    Some(at) => {
                        let (before, after) = rest.split_at(at);
                        parts.push(after.trim_start_matches(words::is_space));
                        rest = before.trim_end_matches(words::is_space);
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
