//! The code of a tag, cut into tokens and changed where the engine and Jinja2 differ.

use super::escapes;

/// The method that stands for a slice with a step, which the engine takes wrongly.
pub(super) const SLICE: &str = "__slice__";

/// The filter that stands for Python's formatting with `%`.
pub(super) const PERCENT: &str = "__percent__";

/// The filter that lets a loop go through what Python can go through, and nothing else.
pub(super) const ITERABLE: &str = "__iterable__";

/// The filter that adds as Python does, where text marked as safe is among what is added.
pub(super) const ADD: &str = "__add__";

/// Filters whose result Python escapes what is added to.
const SAFE: [&str; 4] = ["safe", "escape", "e", "forceescape"];

/// A token: a string with its quotes, a word or a number, white space, or one other character.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    String,
    Word,
    Space,
    Sign,
}

type Token<'c> = (Kind, &'c str);

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let word = |character: char| character.is_alphanumeric() || character == '_';
        let end = |same: &dyn Fn(char) -> bool| {
            rest.find(|character| !same(character)).unwrap_or(rest.len())
        };
        let (kind, length) = match first {
            '\'' | '"' => (Kind::String, string_length(rest)),
            _ if word(first) => (Kind::Word, end(&word)),
            _ if first.is_whitespace() => (Kind::Space, end(&char::is_whitespace)),
            _ => (Kind::Sign, first.len_utf8()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push((kind, token));
        rest = after;
    }
    tokens
}

/// The length of the string at the beginning, with its quotes; all of it if it does not end.
pub(super) fn string_length(code: &str) -> usize {
    let mut characters = code.char_indices();
    let Some((_, quote)) = characters.next() else { return 0 };
    let mut escaped = false;
    for (at, character) in characters {
        if character == quote && !escaped {
            return at + quote.len_utf8();
        }
        escaped = character == '\\' && !escaped;
    }
    code.len()
}

/// `code`, from `{{` or `{%` to its end, as the engine can run it.
///
/// # Errors
/// What Jinja2 does and the engine cannot do.
pub(super) fn rewrite(code: &str) -> Result<String, String> {
    let tokens = tokens(code);
    let mut output: Vec<String> = Vec::with_capacity(tokens.len());
    for (kind, token) in &tokens {
        output.push(match kind {
            Kind::String => escapes::translate(token)?,
            _ => (*token).to_owned(),
        });
    }
    safe_sums(&tokens, &mut output)?;
    slices(&tokens, &mut output);
    percents(&tokens, &mut output);
    loops(&tokens, &mut output);
    Ok(output.concat())
}

/// Where the bracket that opens at `open` closes.
fn close(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    tokens.iter().enumerate().skip(open).find_map(|(at, (kind, token))| {
        match *token {
            "(" | "[" | "{" if *kind == Kind::Sign => depth += 1,
            ")" | "]" | "}" if *kind == Kind::Sign => {
                depth = depth.saturating_sub(1);
                return (depth == 0).then_some(at);
            }
            _ => {}
        }
        None
    })
}

/// The next token that is no space, from `at`.
fn next(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let rest = tokens.get(at..)?;
    rest.iter().position(|(kind, _)| *kind != Kind::Space).map(|offset| at + offset)
}

fn previous<'c>(tokens: &[Token<'c>], at: usize) -> Option<Token<'c>> {
    tokens.get(..at)?.iter().rev().find(|(kind, _)| *kind != Kind::Space).copied()
}

fn is_sign(tokens: &[Token<'_>], at: usize, sign: &str) -> bool {
    tokens.get(at) == Some(&(Kind::Sign, sign))
}

/// `x[a:b:c]` becomes `x.__slice__(a,b,c)`.
fn slices(tokens: &[Token<'_>], output: &mut [String]) {
    const OPERATORS: [&str; 8] = ["in", "and", "or", "not", "if", "else", "is", "set"];
    for open in (0..tokens.len()).filter(|at| is_sign(tokens, *at, "[")) {
        let subscript = match previous(tokens, open) {
            Some((Kind::String, _)) | Some((Kind::Sign, ")" | "]" | "}")) => true,
            Some((Kind::Word, word)) => !OPERATORS.contains(&word),
            _ => false,
        };
        let Some(end) = close(tokens, open).filter(|_| subscript) else { continue };
        let mut depth = 0usize;
        let mut colons = Vec::new();
        for at in open..end {
            match tokens.get(at) {
                Some((Kind::Sign, "(" | "[" | "{")) => depth += 1,
                Some((Kind::Sign, ")" | "]" | "}")) => depth = depth.saturating_sub(1),
                Some((Kind::Sign, ":")) if depth == 1 => colons.push(at),
                _ => {}
            }
        }
        let [first, second] = colons[..] else { continue };
        for (from, to, sign) in [(open, first, "("), (first, second, ","), (second, end, ",")] {
            let empty = next(tokens, from + 1) == Some(to);
            if let Some(place) = output.get_mut(from) {
                let start = if from == open { format!(".{SLICE}(") } else { sign.to_owned() };
                *place = if empty { start + "none" } else { start };
            }
        }
        if let Some(place) = output.get_mut(end) {
            ")".clone_into(place);
        }
    }
}

/// Where an operand that begins at `at` ends: a sign, a name, a literal or brackets, and what
/// follows them with a point, brackets or a filter.
fn operand(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    let mut at = next(tokens, at)?;
    while is_sign(tokens, at, "-") || is_sign(tokens, at, "+") {
        at = next(tokens, at + 1)?;
    }
    let mut end = match tokens.get(at)? {
        (Kind::Sign, "(" | "[" | "{") => close(tokens, at)? + 1,
        (Kind::Word | Kind::String, _) => at + 1,
        _ => return None,
    };
    while let Some(at) = next(tokens, end) {
        end = match tokens.get(at) {
            Some((Kind::Sign, "." | "|")) => next(tokens, at + 1)? + 1,
            Some((Kind::Sign, "(" | "[")) => close(tokens, at)? + 1,
            _ => break,
        };
    }
    Some(end)
}

/// `'text' % x` becomes `('text'|__percent__(x))`.
fn percents(tokens: &[Token<'_>], output: &mut [String]) {
    for (text, _) in tokens.iter().enumerate().filter(|(_, (kind, _))| *kind == Kind::String) {
        let Some(sign) = next(tokens, text + 1).filter(|at| is_sign(tokens, *at, "%")) else {
            continue;
        };
        let Some(end) = operand(tokens, sign + 1) else { continue };
        change(output, text, |old| format!("({old}"));
        change(output, sign, |_| format!("|{PERCENT}("));
        change(output, end - 1, |old| format!("{old}))"));
    }
}

/// `{% for x in y %}` becomes `{% for x in (y)|__iterable__ %}`.
fn loops(tokens: &[Token<'_>], output: &mut [String]) {
    let words: Vec<usize> =
        (0..tokens.len()).filter(|at| tokens.get(*at).is_some_and(|t| t.0 == Kind::Word)).collect();
    let word = |at: &usize| tokens.get(*at).map(|token| token.1);
    let is_for = tokens.first() == Some(&(Kind::Sign, "{"))
        && is_sign(tokens, 1, "%")
        && words.first().and_then(word) == Some("for");
    if !is_for {
        return;
    }
    let mut depth = 0usize;
    let (mut start, mut end) = (None, None);
    for (at, (kind, token)) in tokens.iter().enumerate().skip(2) {
        match (kind, *token) {
            (Kind::Sign, "(" | "[" | "{") => depth += 1,
            (Kind::Sign, ")" | "]") => depth = depth.saturating_sub(1),
            (Kind::Sign, "}") if depth > 0 => depth -= 1,
            (Kind::Word, "in") if depth == 0 && start.is_none() => start = Some(at + 1),
            (Kind::Word, "if" | "recursive") if depth == 0 && start.is_some() => {
                end = end.or(Some(at));
            }
            // The end of the tag: `%}`, perhaps with a sign before.
            (Kind::Sign, "%") if tokens.get(at + 1) == Some(&(Kind::Sign, "}")) => {
                let signed = is_sign(tokens, at - 1, "-") || is_sign(tokens, at - 1, "+");
                end = end.or(Some(if signed { at - 1 } else { at }));
            }
            _ => {}
        }
    }
    if let (Some(start), Some(end)) = (start, end)
        && start < end
    {
        if let Some(place) = output.get_mut(start) {
            *place = format!(" ({}", place.trim_start());
        }
        if let Some(place) = output.get_mut(end - 1) {
            *place = format!("{})|{ITERABLE} ", place.trim_end());
        }
    }
}

/// `'a'|safe + b` becomes `(('a'|safe)|__add__(b))`: Python escapes what is added to text marked as
/// safe.
///
/// # Errors
/// Sums with such text whose operands are more than names, literals, brackets, and what follows
/// them.
fn safe_sums(tokens: &[Token<'_>], output: &mut [String]) -> Result<(), String> {
    let mut done = Vec::new();
    for start in 0..tokens.len() {
        let operands = if begins_sum(tokens, start) { sum(tokens, start) } else { Vec::new() };
        let safe = operands.iter().any(|(from, to)| is_safe(tokens, *from, *to));
        if operands.len() < 2 || !safe {
            continue;
        }
        let last = operands.len() - 1;
        for (index, (from, to)) in operands.into_iter().enumerate() {
            if index == 0 {
                change(output, from, |old| format!("(({old}"));
            } else {
                let plus = (0..from).rev().find(|at| is_sign(tokens, *at, "+")).unwrap_or(from);
                done.push(plus);
                change(output, plus, |_| format!("|{ADD}("));
            }
            let close = if index == last { "))" } else { ")" };
            change(output, to - 1, |old| format!("{old}{close}"));
        }
    }
    for plus in (0..tokens.len()).filter(|at| is_sign(tokens, *at, "+") && !done.contains(at)) {
        let after = operand(tokens, plus + 1).is_some_and(|end| is_safe(tokens, plus + 1, end));
        let before = (0..plus).rev().find(|at| tokens.get(*at).is_some_and(|t| t.0 != Kind::Space));
        let filter = before.is_some_and(|at| {
            tokens.get(at).is_some_and(|(_, word)| SAFE.contains(word))
                && previous(tokens, at) == Some((Kind::Sign, "|"))
        });
        if after || filter {
            let message = "`+` beside text marked as safe, which Jinja2 escapes, is not supported \
                           here; `~` is";
            return Err(message.to_owned());
        }
    }
    Ok(())
}

/// Whether the token may begin a sum, by the one before it.
fn begins_sum(tokens: &[Token<'_>], at: usize) -> bool {
    let begins = |(kind, token): Token<'_>| match kind {
        Kind::Sign => matches!(token, "{" | "(" | "[" | "," | "=" | "~" | ":" | "-"),
        Kind::Word => ["if", "else", "and", "or", "not", "in"].contains(&token),
        _ => false,
    };
    tokens.get(at).is_some_and(|token| token.0 != Kind::Space)
        && previous(tokens, at).is_none_or(begins)
}

/// The operands of a sum that begins at `start`: one where there is no sum.
fn sum(tokens: &[Token<'_>], start: usize) -> Vec<(usize, usize)> {
    let mut operands = Vec::new();
    let mut from = start;
    while let Some(to) = operand(tokens, from) {
        operands.push((from, to));
        let plus = next(tokens, to).filter(|at| is_sign(tokens, *at, "+"));
        let Some(at) = plus.and_then(|at| next(tokens, at + 1)) else { break };
        from = at;
    }
    operands
}

/// Whether any of these tokens apply a filter that marks text as safe.
fn is_safe(tokens: &[Token<'_>], from: usize, to: usize) -> bool {
    (from..to).any(|at| {
        let filter = next(tokens, at + 1).and_then(|at| tokens.get(at));
        is_sign(tokens, at, "|")
            && matches!(filter, Some((Kind::Word, word)) if SAFE.contains(word))
    })
}

fn change(output: &mut [String], at: usize, new: impl FnOnce(&str) -> String) {
    if let Some(place) = output.get_mut(at) {
        *place = new(place);
    }
}

/// The names of the filters that the code applies.
pub(super) fn filters(code: &str) -> Vec<&str> {
    let tokens = tokens(code);
    let name = |at: usize| match next(&tokens, at + 1).and_then(|at| tokens.get(at)) {
        Some((Kind::Word, name)) => Some(*name),
        _ => None,
    };
    let mut names: Vec<&str> =
        (0..tokens.len()).filter(|at| is_sign(&tokens, *at, "|")).filter_map(name).collect();
    // `{% filter upper %}`
    let first = tokens.iter().position(|(kind, _)| *kind == Kind::Word);
    if let Some(first) = first
        && is_sign(&tokens, 1, "%")
        && tokens.get(first) == Some(&(Kind::Word, "filter"))
    {
        names.extend(name(first));
    }
    names
}

/// Whether the code uses this name as a variable.
pub(super) fn uses(code: &str, name: &str) -> bool {
    let tokens = tokens(code);
    (0..tokens.len()).any(|at| {
        tokens.get(at) == Some(&(Kind::Word, name))
            && previous(&tokens, at) != Some((Kind::Sign, "."))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_rewritten() {
        for (code, expected) in [
            ("{{ x[::-1][0] }}", "{{ x.__slice__(none,none,-1)[0] }}"),
            (
                "{{ x[1:] + y[a[0]:{'b': 1}['b']:2] }}",
                "{{ x[1:] + y.__slice__(a[0],{'b': 1}['b'],2) }}",
            ),
            ("{% set x = [1, 2][::2] %}", "{% set x = [1, 2].__slice__(none,none,2) %}"),
            ("{{ '%s' % a.b[0]|upper + 'x' }}", "{{ ('%s' |__percent__( a.b[0]|upper)) + 'x' }}"),
            ("{{ n % 3 }}{{ '%' }}", "{{ n % 3 }}{{ '%' }}"),
            ("{% for x in y %}", "{% for x in (y)|__iterable__ %}"),
            (
                "{%- for a, b in d.items() if a -%}",
                "{%- for a, b in (d.items())|__iterable__ if a -%}",
            ),
            (
                "{% for x in [y if z else w] recursive %}",
                "{% for x in ([y if z else w])|__iterable__ recursive %}",
            ),
            ("{{ x in y }}", "{{ x in y }}"),
        ] {
            assert_eq!(rewrite(code).unwrap(), expected);
        }
        for (code, expected) in [
            ("{{ a|safe + b }}", "{{ ((a|safe) |__add__( b)) }}"),
            ("{{ x ~ a + (b | e) + 'c' }}", "{{ x ~ ((a) |__add__( (b | e)) |__add__( 'c')) }}"),
        ] {
            assert_eq!(rewrite(code).unwrap(), expected);
        }
        assert!(rewrite("{{ 2 * a + b|safe }}").is_err());
        for code in ["{{ a|safe ~ b + c }}", "{{ (a + b)|safe }}", "{{ safe + b }}"] {
            assert!(rewrite(code).is_ok(), "{code}");
        }
    }
}
