//! A template's source, changed before it is compiled: only inside its tags, outside of strings.

/// The method that stands for the slice `[::-1]`, which the engine cannot take of something empty.
pub(super) const REVERSED: &str = "__reversed__";

/// `source` as the engine can compile it.
///
/// Line ends become `\n`, as in Jinja2. The tags `{% generation %}` and `{% endgeneration %}`, which transformers adds
/// to mark what the assistant wrote, become scopes without effect. `x[::-1]` becomes a method call.
pub(super) fn prepare(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut result = String::with_capacity(source.len());
    let mut rest = source.as_str();
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
                // What follows is text, whatever it looks like.
                result.push_str(inside);
                let (raw, after) = rest.split_at(endraw(rest));
                result.push_str(raw);
                rest = after;
            }
            Some("generation") => result.push_str(&inside.replacen("generation", "with", 1)),
            Some("endgeneration") => {
                result.push_str(&inside.replacen("endgeneration", "endwith", 1))
            }
            _ => outside_strings(inside, &mut result),
        }
    }
    result.push_str(rest);
    result
}

/// The text before the next tag, and everything from that tag on.
fn next_tag(source: &str) -> Option<(&str, &str)> {
    let at = ["{{", "{%", "{#"].iter().filter_map(|open| source.find(open)).min()?;
    Some(source.split_at(at))
}

/// The length of a tag up to and with its `close`, which does not count inside a string.
fn code_length(tag: &str, close: &str) -> usize {
    let mut length = 0;
    for (part, quoted) in parts(tag) {
        if let Some(at) = part.find(close).filter(|_| !quoted) {
            return length + at + close.len();
        }
        length += part.len();
    }
    length
}

/// `code` cut into strings, with their quotes, and what is between.
fn parts(code: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut rest = code;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        let quoted = matches!(first, '\'' | '"');
        let length = if quoted {
            let mut escaped = false;
            let close = rest.char_indices().skip(1).find(|(_, character)| {
                let closes = *character == first && !escaped;
                escaped = *character == '\\' && !escaped;
                closes
            });
            close.map_or(rest.len(), |(at, _)| at + 1)
        } else {
            rest.find(['\'', '"']).unwrap_or(rest.len())
        };
        let (part, after) = rest.split_at(length);
        rest = after;
        Some((part, quoted))
    })
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

fn outside_strings(code: &str, result: &mut String) {
    for (part, quoted) in parts(code) {
        if quoted {
            result.push_str(part);
        } else {
            result.push_str(&part.replace("[::-1]", &format!(".{REVERSED}()")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prepare;
    use proptest::prelude::*;

    #[test]
    fn only_code_is_changed() {
        let cases = [
            ("a\r\nb\rc", "a\nb\nc"),
            ("[::-1] {{ x[::-1][0] }}", "[::-1] {{ x.__reversed__()[0] }}"),
            (
                "{{ '[::-1]' ~ \"it's \\\"}}[::-1]\" ~ x[::-1] }}",
                "{{ '[::-1]' ~ \"it's \\\"}}[::-1]\" ~ x.__reversed__() }}",
            ),
            ("{# it's x[::-1] #}{{ x[::-1] }}", "{# it's x[::-1] #}{{ x.__reversed__() }}"),
            ("{%- generation -%}x{%+ endgeneration %}", "{%- with -%}x{%+ endwith %}"),
            (
                "{% raw %}{% generation %}{{ x[::-1] }}{%- endraw %}",
                "{% raw %}{% generation %}{{ x[::-1] }}{%- endraw %}",
            ),
            ("{% set generation = 1 %}", "{% set generation = 1 %}"),
            ("{{ 'unclosed", "{{ 'unclosed"),
        ];
        for (source, expected) in cases {
            assert_eq!(prepare(source), expected);
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost(source in "(\\{\\{|\\}\\}|\\{%|%\\}|\\{#|#\\}|raw|endraw|'|\"|\\\\|é| ){0,30}") {
            prop_assert_eq!(prepare(&source), source);
        }
    }
}
