//! Strings of a template: Python's escapes as the engine's.

/// `literal`, a string with its quotes, with the same value for the engine as for Python.
///
/// # Errors
/// Escapes that Python does not accept, and names and halves of characters.
pub(super) fn translate(literal: &str) -> Result<String, String> {
    if !literal.contains('\\') {
        return Ok(literal.to_owned());
    }
    let Some(quote) = literal.chars().next() else { return Ok(String::new()) };
    let inside = literal.get(1..).and_then(|rest| rest.strip_suffix(quote));
    // A string that does not end: the engine says so.
    let Some(inside) = inside else { return Ok(literal.to_owned()) };
    let mut result = String::from(quote);
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        let (text, escape) = rest.split_at(at);
        result.push_str(text);
        let (value, length) = escaped(escape)?;
        for character in value.chars() {
            match character {
                '\\' => result.push_str("\\\\"),
                '\n' => result.push_str("\\n"),
                '\r' => result.push_str("\\r"),
                _ if character == quote => {
                    result.push('\\');
                    result.push(quote);
                }
                _ => result.push(character),
            }
        }
        rest = escape.get(length..).unwrap_or_default();
    }
    result.push_str(rest);
    result.push(quote);
    Ok(result)
}

/// The value of the escape at the beginning, and its length.
fn escaped(escape: &str) -> Result<(String, usize), String> {
    let Some(kind) = escape.chars().nth(1) else { return Ok(("\\".to_owned(), 1)) };
    let simple = match kind {
        // The line goes on.
        '\n' => Some(""),
        '\\' => Some("\\"),
        '\'' => Some("'"),
        '"' => Some("\""),
        'a' => Some("\u{7}"),
        'b' => Some("\u{8}"),
        'f' => Some("\u{c}"),
        'n' => Some("\n"),
        'r' => Some("\r"),
        't' => Some("\t"),
        'v' => Some("\u{b}"),
        _ => None,
    };
    if let Some(simple) = simple {
        return Ok((simple.to_owned(), 1 + kind.len_utf8()));
    }
    match kind {
        'x' => coded(escape, 2),
        'u' => coded(escape, 4),
        'U' => coded(escape, 8),
        'N' => Err("`\\N`, a character by its name, is not supported".to_owned()),
        '0'..='7' => {
            let digits = escape.get(1..).unwrap_or_default();
            let count = digits.chars().take(3).take_while(|digit| digit.is_digit(8)).count();
            let number = u32::from_str_radix(digits.get(..count).unwrap_or_default(), 8);
            let value = number.ok().and_then(char::from_u32).unwrap_or_default();
            Ok((value.to_string(), 1 + count))
        }
        // Python keeps what it does not know.
        _ => Ok((format!("\\{kind}"), 1 + kind.len_utf8())),
    }
}

/// A character by so many hexadecimal digits.
fn coded(escape: &str, count: usize) -> Result<(String, usize), String> {
    let shown: String = escape.chars().take(2 + count).collect();
    let digits =
        escape.get(2..2 + count).filter(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
    let number = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let character = number.and_then(char::from_u32);
    let character = character.ok_or_else(|| {
        format!("`{shown}` is no character: \\x, \\u and \\U take 2, 4 and 8 digits")
    })?;
    Ok((character.to_string(), 2 + count))
}

#[cfg(test)]
mod tests {
    use super::translate;

    #[test]
    fn escapes_are_python_s() {
        for (literal, expected) in [
            (r"'\U0001F600\x41\101\u00e9'", "'😀AAé'"),
            (r"'a\/b\q\8'", r"'a\\/b\\q\\8'"),
            (r"'it\'s \n\\n'", r"'it\'s \n\\n'"),
            ("\"a\\\nb\\\"\"", "\"ab\\\"\""),
            (r"'\12'", r"'\n'"),
            ("'plain'", "'plain'"),
            (r"'unclosed\", r"'unclosed\"),
        ] {
            assert_eq!(translate(literal).unwrap(), expected, "{literal}");
        }
        for literal in [r"'\xg1'", r"'\ud83d'", r"'\N{BULLET}'", r"'\u12'"] {
            assert!(translate(literal).is_err(), "{literal}");
        }
    }
}
