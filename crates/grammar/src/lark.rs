//! Grammars in llguidance's dialect of Lark: what they may not ask for, and the schemas inside them.

use serde_json::{Deserializer, Value};

use crate::{GrammarError, schema};

/// Settings of rules that would have no effect here, and what to write instead.
const REFUSED: [(&str, &str); 3] = [
    ("temperature", "the request's temperature holds for the whole text"),
    ("stop", "a text cannot be taken back; write suffix= for one that stays"),
    ("stop_capture", "a text cannot be taken back; write suffix= for one that stays"),
];

/// A text as a string of Lark.
pub(crate) fn string(text: &str) -> String {
    // Strings of Lark are written as in JSON, except that DEL is escaped.
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The grammar as llguidance may read it: every `%json` schema checked and prepared like one of its own.
pub(crate) fn prepare(grammar: &str) -> Result<String, GrammarError> {
    let mut prepared = String::with_capacity(grammar.len());
    let mut rest = grammar;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("%json") {
            let (value, bytes) = json(after)?;
            prepared.push_str("%json ");
            prepared.push_str(&schema::prepare(&value)?.to_string());
            prepared.push(' ');
            rest = after.get(bytes..).unwrap_or_default();
            continue;
        }
        let length = match directive(rest)? {
            Some(length) => length,
            None => token(rest).max(first.len_utf8()),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        refuse(token, after)?;
        prepared.push_str(token);
        rest = after;
    }
    Ok(prepared)
}

fn wrong(message: String) -> GrammarError {
    GrammarError::Grammar { format: "Lark", message }
}

/// The JSON value that a text begins with, and its length in bytes.
fn json(text: &str) -> Result<(Value, usize), GrammarError> {
    let mut values = Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset())),
        Some(Err(error)) => Err(wrong(format!("what follows %json is no JSON: {error}"))),
        None => Err(wrong("%json must be followed by a schema".to_owned())),
    }
}

/// The length of a directive with the JSON that belongs to it.
fn directive(text: &str) -> Result<Option<usize>, GrammarError> {
    for name in ["%llguidance", "%regex"] {
        if let Some(after) = text.strip_prefix(name) {
            return Ok(Some(name.len().saturating_add(json(after)?.1)));
        }
    }
    Ok(None)
}

/// The length of a comment, string, regular expression, special token or name that a text begins with; 0 if none.
fn token(text: &str) -> usize {
    let line = |text: &str| text.find('\n').unwrap_or(text.len());
    match text.as_bytes() {
        [b'#', ..] | [b'/', b'/', ..] => line(text),
        [b'"', ..] => quoted(text, b'"'),
        [b'/', ..] => quoted(text, b'/'),
        [b'<', after @ ..] => {
            let end = after
                .iter()
                .position(|byte| matches!(byte, b'<' | b'>') || byte.is_ascii_whitespace());
            match end.map(|at| (at, after.get(at))) {
                Some((at, Some(b'>'))) => at.saturating_add(2),
                _ => 0,
            }
        }
        bytes => {
            let name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            bytes.iter().take_while(|byte| name(byte)).count()
        }
    }
}

/// The length of a text up to the next `mark` after its first byte that no backslash precedes.
fn quoted(text: &str, mark: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        if !escaped && byte == mark {
            return at.saturating_add(1);
        }
        escaped = byte == b'\\' && !escaped;
    }
    text.len()
}

/// Refuses a setting of a rule (`name=`) that would be ignored.
fn refuse(token: &str, after: &str) -> Result<(), GrammarError> {
    let setting = after.trim_start().starts_with('=');
    match REFUSED.iter().find(|(name, _)| setting && *name == token) {
        Some((name, instead)) => Err(wrong(format!("{name}= is not supported: {instead}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_schemas_change() {
        let grammar = "// %json {\nstart: \"%json {\" /[\"%json]\\/x/ <%json> | a # stop=\na: %regex {\"substring_chars\": \"%json\"} \"é\"";
        assert_eq!(prepare(grammar).unwrap(), grammar);
        let prepared =
            prepare("start: %json {\"type\": \"integer\", \"title\": \"n\"} \"x\"").unwrap();
        assert!(prepared.contains("\"type\":\"integer\""), "{prepared}");
        assert!(!prepared.contains("title") && prepared.ends_with("  \"x\""), "{prepared}");
    }

    #[test]
    fn schemas_inside_are_checked() {
        for inner in ["{\"not\": {\"pattern\": \"a\"}}", "{\"$ref\": \"other.json\"}"] {
            let error = prepare(&format!("start: \"a\" %json{inner}")).unwrap_err();
            assert!(matches!(error, GrammarError::Schema { .. }), "{error}");
        }
        for broken in ["start: %json", "start: %json {", "start: %json rule"] {
            assert!(matches!(prepare(broken), Err(GrammarError::Grammar { .. })), "{broken}");
        }
    }

    #[test]
    fn settings_without_effect_are_refused() {
        for setting in ["temperature=0.5", "stop = \"x\"", "stop_capture=\"y\""] {
            let error = prepare(&format!("start[{setting}]: /a*/")).unwrap_err().to_string();
            assert!(error.contains("is not supported"), "{error}");
        }
        assert!(prepare("start[suffix=\"x\", max_tokens=3]: /a*/\nstop: \"=\"").is_ok());
    }

    #[test]
    fn unfinished_texts_end() {
        for text in ["\"", "/", "<", "<a", "%", "\"\\", "é", "//", "#", "a\\"] {
            assert_eq!(prepare(text).unwrap(), text);
        }
    }
}
