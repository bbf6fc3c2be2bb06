//! A template's source, changed before it is compiled: only inside its tags.

use super::code;

/// A template that the engine cannot run as Jinja2 does.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) line: usize,
    pub(super) message: String,
}

/// `source` as the engine can compile it.
///
/// `has_filter` says which filters there are. Line ends become `\n`, as in Jinja2. The tags
/// `{% generation %}` and `{% endgeneration %}`, which transformers adds to mark what the assistant
/// wrote, become scopes without effect. Code is changed by [`code::rewrite`].
///
/// # Errors
/// What Jinja2 does and the engine cannot do.
pub(super) fn prepare(
    source: &str,
    mut has_filter: impl FnMut(&str) -> bool,
) -> Result<String, Refused> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = String::with_capacity(source.len());
    let mut rest = source.as_str();
    let (mut macros, mut branches) = (0usize, 0usize);
    while let Some((text, tag)) = next_tag(rest) {
        result.push_str(text);
        let end = match tag.get(..2) {
            Some("{#") => tag.find("#}").map_or(tag.len(), |at| at + 2),
            Some("{%") => code_length(tag, "%}"),
            _ => code_length(tag, "}}"),
        };
        let (inside, after) = tag.split_at(end);
        rest = after;
        match tag_name(inside) {
            _ if inside.starts_with("{#") => result.push_str(inside),
            Some("raw") => {
                // What follows is text, whatever it looks like. Jinja2 keeps the line end after the
                // tag, which the engine takes away.
                result.push_str(inside);
                if rest.starts_with('\n') && !inside.ends_with("-%}") {
                    result.push('\n');
                }
                let (raw, after) = rest.split_at(endraw(rest));
                result.push_str(raw);
                rest = after;
            }
            Some("generation") => result.push_str(&inside.replacen("generation", "with", 1)),
            Some("endgeneration") => {
                result.push_str(&inside.replacen("endgeneration", "endwith", 1))
            }
            name => {
                match name {
                    Some("macro") => macros += 1,
                    Some("endmacro") => macros = macros.saturating_sub(1),
                    Some("if") => branches += 1,
                    Some("endif") => branches = branches.saturating_sub(1),
                    _ => {}
                }
                let line = source.len() - rest.len() - inside.len();
                let line = source.get(..line).unwrap_or_default().matches('\n').count() + 1;
                let refuse = |message: String| Refused { line, message };
                let unknown =
                    ["varargs", "kwargs"].into_iter().find(|name| code::uses(inside, name));
                if let Some(name) = unknown.filter(|_| macros > 0) {
                    return Err(refuse(format!("`{name}` in a macro is not supported")));
                }
                // As in Jinja2, what may not be reached may be wrong.
                let certain = branches == 0 && !code::uses(inside, "if");
                let unknown = code::filters(inside).into_iter().find(|name| !has_filter(name));
                if let Some(name) = unknown.filter(|_| certain) {
                    return Err(refuse(format!("there is no filter `{name}`")));
                }
                result.push_str(&code::rewrite(inside).map_err(refuse)?);
            }
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// The text before the next tag, and everything from that tag on.
fn next_tag(source: &str) -> Option<(&str, &str)> {
    let at = ["{{", "{%", "{#"].iter().filter_map(|open| source.find(open)).min()?;
    Some(source.split_at(at))
}

/// The length of a tag up to and with its `close`, which does not count inside a string.
fn code_length(tag: &str, close: &str) -> usize {
    let mut at = 0;
    while let Some(rest) = tag.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(close) {
            return at + close.len();
        }
        at += match rest.chars().next() {
            Some('\'' | '"') => code::string_length(rest),
            first => first.map_or(1, char::len_utf8),
        };
    }
    tag.len()
}

/// The name of a `{% name … %}` tag.
fn tag_name(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    inside.split(|character: char| !character.is_alphanumeric() && character != '_').next()
}

/// Where the tag that ends a raw text begins.
fn endraw(source: &str) -> usize {
    let mut from = 0;
    while let Some(at) = source.get(from..).and_then(|rest| rest.find("{%")) {
        let at = from + at;
        if tag_name(source.get(at..).unwrap_or_default()) == Some("endraw") {
            return at;
        }
        from = at + 2;
    }
    source.len()
}

#[cfg(test)]
mod tests {
    use super::prepare;
    use proptest::prelude::*;

    #[test]
    fn only_code_is_changed() {
        let cases = [
            ("a\r\nb\rc", "a\nb\nc"),
            ("[::-1] {{ x[::-1][0] }}", "[::-1] {{ x.__slice__(none,none,-1)[0] }}"),
            (
                "{{ '[::-1]' ~ \"it's \\\"}}[::-1]\" ~ x[::-1] }}",
                "{{ '[::-1]' ~ \"it's \\\"}}[::-1]\" ~ x.__slice__(none,none,-1) }}",
            ),
            (
                "{# it's x[::-1] #}{{ x[::-1] }}",
                "{# it's x[::-1] #}{{ x.__slice__(none,none,-1) }}",
            ),
            ("{%- generation -%}x{%+ endgeneration %}", "{%- with -%}x{%+ endwith %}"),
            (
                "{% raw %}{% generation %}{{ x[::-1] }}{%- endraw %}",
                "{% raw %}{% generation %}{{ x[::-1] }}{%- endraw %}",
            ),
            ("{% set generation = 1 %}", "{% set generation = 1 %}"),
            ("{{ 'unclosed", "{{ 'unclosed"),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source, |_| true).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|raw|endraw|'|\"|é| ){0,30}") {
            // But for a sign between a string and something else, which is formatting.
            prop_assume!(!source.contains("% ") && !source.contains("%'"));
            prop_assert_eq!(prepare(&source, |_| true).unwrap(), source);
        }

        #[test]
        fn nothing_panics(source in "(\\{\\{|\\}\\}|\\{%|%\\}|for|in|if|\\[|\\]|:|::-1|%|\\+|\\||safe|\\(|\\)|'|\"|\\\\|x|é| ){0,40}") {
            let _ = prepare(&source, |_| true);
        }
    }
}
