//! Regular expressions of JSON Schema (ECMA-262) in the syntax of the `regex` crate.

/// Characters of a class between brackets.
const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
/// `WhiteSpace` and `LineTerminator` of ECMA-262.
const SPACE: &str = r"\t\n\x0B\x0C\r\x20\u{A0}\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";
const NOT_LINE_END: &str = r"[^\n\r\u{2028}\u{2029}]";

/// Translates an expression, so that the result matches the same texts.
///
/// # Errors
/// What the expression asks for that automata cannot do, or that the two syntaxes understand differently.
pub(crate) fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    let mut class = false;
    while let Some(first) = rest.chars().next() {
        let after = rest.get(first.len_utf8()..).unwrap_or_default();
        rest = after;
        match first {
            '\\' => rest = escape(after, class, &mut out)?,
            '[' if class => out.push_str("\\["),
            '[' => {
                class = true;
                out.push('[');
                if let Some(after) = after.strip_prefix('^') {
                    out.push('^');
                    rest = after;
                }
                if rest.starts_with(']') {
                    return Err("an empty class ([] or [^]) is not supported".to_owned());
                }
            }
            ']' if class => {
                class = false;
                out.push(']');
            }
            '&' | '~' | '-' if class && after.starts_with(first) => {
                return Err(format!("{first}{first} inside a class is not supported; escape it"));
            }
            '.' if !class => out.push_str(NOT_LINE_END),
            '(' if !class => {
                group(after)?;
                out.push('(');
            }
            '{' if !class && after.starts_with(',') => {
                return Err("{, has no meaning as a repetition; write {0,".to_owned());
            }
            other => out.push(other),
        }
    }
    check(&out)?;
    Ok(out)
}

/// Checks the syntax of an expression of the `regex` crate.
///
/// # Errors
/// What is wrong, in one line.
pub(crate) fn check(expression: &str) -> Result<(), String> {
    let line = |error: regex_syntax::Error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("{:?}: {}", shortened(expression), last.trim_start_matches("error: "))
    };
    regex_syntax::Parser::new().parse(expression).map(|_| ()).map_err(line)
}

fn shortened(expression: &str) -> &str {
    expression
        .char_indices()
        .nth(60)
        .and_then(|(end, _)| expression.get(..end))
        .unwrap_or(expression)
}

/// Groups that exist in both syntaxes: plain, `(?:` and named.
fn group(after: &str) -> Result<(), String> {
    let Some(kind) = after.strip_prefix('?') else { return Ok(()) };
    if ["=", "!", "<=", "<!"].iter().any(|look| kind.starts_with(look)) {
        return Err("look-ahead and look-behind are not supported".to_owned());
    }
    match kind.starts_with([':', '<']) {
        true => Ok(()),
        false => Err(format!("(?{} is not supported", kind.chars().next().unwrap_or_default())),
    }
}

/// Translates what follows a backslash, and returns what follows that.
fn escape<'a>(after: &'a str, class: bool, out: &mut String) -> Result<&'a str, String> {
    let Some(letter) = after.chars().next() else {
        return Err("a backslash at the end escapes nothing".to_owned());
    };
    let rest = after.get(letter.len_utf8()..).unwrap_or_default();
    let set = match letter.to_ascii_lowercase() {
        'd' => Some(DIGIT),
        'w' => Some(WORD),
        's' => Some(SPACE),
        _ => None,
    };
    match (letter, set) {
        (_, Some(set)) => {
            let not = if letter.is_ascii_uppercase() { "^" } else { "" };
            out.push_str(&format!("[{not}{set}]"));
        }
        ('b' | 'B', _) => return Err("\\b and \\B are not supported".to_owned()),
        ('0', _) if !rest.starts_with(|next: char| next.is_ascii_digit()) => out.push_str("\\x00"),
        ('0'..='9' | 'k', _) => return Err("references to groups are not supported".to_owned()),
        ('c', _) => return Err("\\c is not supported; write \\x and two digits".to_owned()),
        ('n' | 'r' | 't' | 'f' | 'v' | 'x' | 'u' | 'p' | 'P', _) => {
            out.push('\\');
            out.push(letter);
        }
        (letter, _) if letter.is_ascii_alphanumeric() => {
            return Err(format!("\\{letter} is not supported"));
        }
        // Everything else stands for itself, which the other syntax allows for punctuation only.
        (letter, _) if class || letter.is_ascii_punctuation() => {
            out.push_str(&regex_syntax::escape(&letter.to_string()));
        }
        (letter, _) => out.push(letter),
    }
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_understand_stays() {
        for same in
            ["^[a-z]+$", "(a|b){2,3}?", "[^a-z]", "(?:x)", "(?<name>x)", r"\u0041\x41\t", r"\p{L}"]
        {
            assert_eq!(translate(same).unwrap(), same);
        }
    }

    #[test]
    fn what_they_understand_differently_is_translated() {
        for (pattern, expected) in [
            (r"\d\D", "[0-9][^0-9]"),
            (r"[\w-]", "[[0-9A-Za-z_]-]"),
            ("[[]", r"[\[]"),
            (".", NOT_LINE_END),
            ("[.]", "[.]"),
            (r"\/\-\_\@\é", r"/\-_@é"),
            (r"\0", r"\x00"),
        ] {
            assert_eq!(translate(pattern).unwrap(), expected, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for pattern in [
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            "(?i)a",
            r"(a)\1",
            r"\k<a>",
            r"\bword\b",
            "a\\",
            "[",
            "(",
            "[a&&b]",
            "[a--b]",
            "[]",
            "[^]",
            "a{,3}",
            r"\cA",
            r"\Aabc",
            r"\z",
            "*",
        ] {
            assert!(translate(pattern).is_err(), "{pattern}");
        }
    }
}
