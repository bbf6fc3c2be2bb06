//! What the compiler says about a text, tidied.

use std::fmt;

/// The longest message kept, in characters: IREE prints whole operations, and those can be long.
const MESSAGE_LIMIT: usize = 600;

/// The longest part of a source line kept, in characters.
const SOURCE_LIMIT: usize = 200;

/// One error of the compiler's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Line and column in the text, from 1; none for errors about no place in particular.
    pub place: Option<(usize, usize)>,
    /// What is wrong, in the compiler's words.
    pub message: String,
    /// The line of the text. Its SSA names tell which part of the model it is.
    pub source: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "  {line}:{column}: {}", self.message)?,
            None => write!(f, "  {}", self.message)?,
        }
        match &self.source {
            Some(source) => write!(f, "\n    | {source}"),
            None => Ok(()),
        }
    }
}

/// The first `limit` errors in what the compiler said about `text`; when none is recognised, the last
/// words as they are.
pub(crate) fn parse(said: &str, text: &str, limit: usize) -> Vec<Diagnostic> {
    let mut found: Vec<Diagnostic> = Vec::new();
    for line in said.lines() {
        let Some(diagnostic) = error_in(line, text) else {
            continue;
        };
        if !found.contains(&diagnostic) {
            found.push(diagnostic);
        }
        if found.len() == limit {
            break;
        }
    }
    if found.is_empty() && !said.trim().is_empty() {
        let lines: Vec<_> = said.trim().lines().collect();
        let last = lines.get(lines.len().saturating_sub(limit)..);
        found.push(Diagnostic {
            place: None,
            message: shorten(&last.unwrap_or_default().join("\n  "), MESSAGE_LIMIT),
            source: None,
        });
    }
    found
}

/// The error that a line reports: `file:line:column: error: message`, or one without a place.
fn error_in(line: &str, text: &str) -> Option<Diagnostic> {
    let unplaced = |message: &str| Diagnostic {
        place: None,
        message: shorten(message, MESSAGE_LIMIT),
        source: None,
    };
    if line.starts_with("LLVM ERROR:") {
        return Some(unplaced(line));
    }
    let (place, message) = line.split_once("error: ")?;
    let Some((row, column)) = place.strip_suffix(": ").and_then(position) else {
        // `<unknown>:0: error:`, `iree-lld: error:` and the like; not a message about "error: …".
        let plain = place.is_empty() || place.ends_with(": ");
        return plain.then(|| unplaced(message));
    };
    let source =
        row.checked_sub(1).and_then(|row| text.lines().nth(row)).map(|line| excerpt(line, column));
    Some(Diagnostic {
        place: Some((row, column)),
        message: shorten(message, MESSAGE_LIMIT),
        source,
    })
}

/// Line and column at the end of `file:line:column`.
fn position(place: &str) -> Option<(usize, usize)> {
    let mut fields = place.rsplitn(3, ':');
    let column = fields.next()?.parse().ok()?;
    let line = fields.next()?.parse().ok()?;
    fields.next()?;
    Some((line, column))
}

/// A source line without its indentation; of a long one, the beginning (which names what the
/// operation defines) and the part around the column.
fn excerpt(line: &str, column: usize) -> String {
    let trimmed = line.trim();
    if trimmed.chars().count() <= SOURCE_LIMIT {
        return trimmed.to_owned();
    }
    let indentation = line.chars().take_while(|c| c.is_whitespace()).count();
    let column = column.saturating_sub(1).saturating_sub(indentation);
    if column < SOURCE_LIMIT / 2 {
        return shorten(trimmed, SOURCE_LIMIT);
    }
    let head: String = trimmed.chars().take(SOURCE_LIMIT / 4).collect();
    let around = trimmed.chars().skip(column.saturating_sub(SOURCE_LIMIT / 4));
    let around: String = around.take(SOURCE_LIMIT / 2).collect();
    format!("{head} … {around} …")
}

fn shorten(text: &str, limit: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let start: String = text.chars().take(limit).collect();
    format!("{start} …")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "module {\n  func.func @main() {\n    %layer_0_q = stablehlo.foo %x\n";

    #[test]
    fn places_and_source_lines() {
        let said = "module.mlir:3:18: error: custom op 'stablehlo.foo' is unknown\n    %layer_0_q = stablehlo.foo %x\n                 ^\nmodule.mlir:3:18: note: see current operation\n";
        assert_eq!(
            parse(said, TEXT, 5),
            [Diagnostic {
                place: Some((3, 18)),
                message: "custom op 'stablehlo.foo' is unknown".to_owned(),
                source: Some("%layer_0_q = stablehlo.foo %x".to_owned()),
            }]
        );
        assert_eq!(
            parse(said, TEXT, 5)[0].to_string(),
            "  3:18: custom op 'stablehlo.foo' is unknown\n    | %layer_0_q = stablehlo.foo %x"
        );
    }

    #[test]
    fn errors_without_a_place() {
        let said = "Unknown CPU\n<unknown>:0: error: failed to legalize operation 'vector.bitcast': %3\niree-lld: error: undefined symbol: cos\nLLVM ERROR: 64-bit code requested\n";
        let messages: Vec<_> = parse(said, TEXT, 5)
            .into_iter()
            .map(|diagnostic| (diagnostic.place, diagnostic.message))
            .collect();
        assert_eq!(
            messages,
            [
                (None, "failed to legalize operation 'vector.bitcast': %3".to_owned()),
                (None, "undefined symbol: cos".to_owned()),
                (None, "LLVM ERROR: 64-bit code requested".to_owned()),
            ]
        );
    }

    #[test]
    fn repeated_errors_once_and_no_more_than_asked() {
        let said = "a:1:1: error: one\na:1:1: error: one\na:2:1: error: two\na:3:1: error: three\n";
        assert_eq!(parse(said, TEXT, 2).len(), 2);
    }

    #[test]
    fn last_words_when_nothing_is_recognised() {
        let said = "1\n2\n3\n4\n5\n6\nStack dump:\n";
        let found = parse(said, TEXT, 3);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "5\n  6\n  Stack dump:");
        assert!(parse("", TEXT, 3).is_empty());
    }

    #[test]
    fn long_lines_keep_their_name_and_the_place() {
        let text = format!("  %name = {} here {}", "x".repeat(900), "y".repeat(900));
        let said = "a:1:914: error: no\n";
        let source = parse(said, &text, 1)[0].source.clone().unwrap();
        assert!(source.starts_with("%name") && source.contains("here"));
        assert!(source.chars().count() < 2 * SOURCE_LIMIT);
    }

    proptest! {
        #[test]
        fn any_words_are_tidied(said in "(.|\n|error: |:[0-9]{1,20}:[0-9]{1,20}: ){0,40}", text in "(.|\n){0,40}") {
            prop_assert!(parse(&said, &text, 3).len() <= 3);
        }
    }
}
