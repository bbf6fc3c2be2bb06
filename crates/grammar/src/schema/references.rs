//! `$ref`: JSON pointers within the schema.

use serde_json::Value;

use super::wrong;
use crate::GrammarError;

/// Adds a token to a pointer (RFC 6901).
pub(super) fn child(pointer: &str, token: &str) -> String {
    format!("{pointer}/{}", token.replace('~', "~0").replace('/', "~1"))
}

/// The sub-schema that a reference names, and its pointer.
pub(super) fn resolve<'a>(
    root: &'a Value,
    reference: &Value,
    place: &str,
) -> Result<(String, &'a Value), GrammarError> {
    let error = |message: String| wrong(place, "$ref", message);
    let Some(reference) = reference.as_str() else {
        return Err(error(format!("{} is not a string", shortened(reference))));
    };
    let Some(fragment) = reference.strip_prefix('#') else {
        return Err(error(format!(
            "{reference:?} points outside of the schema; only # and #/… are supported"
        )));
    };
    let pointer = percent_decoded(fragment)
        .ok_or_else(|| error(format!("{reference:?} is not percent-encoded UTF-8")))?;
    // Frequent, and only one meaning is possible where no property has the empty name.
    let pointer = if pointer == "/" { String::new() } else { pointer };
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(error(format!("{reference:?} names an anchor; only # and #/… are supported")));
    }
    match root.pointer(&pointer) {
        Some(target) => Ok((pointer, target)),
        None => Err(error(format!("{reference:?} points to nothing"))),
    }
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
