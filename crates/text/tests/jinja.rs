//! Small templates: what Jinja2 makes of them in the environment of transformers
//! (`oracle/jinja_expressions.py`), or a refusal.

use serde_json::Value;
use stablemate_text::{ChatInput, ChatTemplate, Error, LocalTime};
use std::path::Path;

/// Templates that Jinja2 renders and that are not compiled: said before there is a conversation.
const NOT_COMPILED: &[&str] = &[
    "{{ n * 'x' + '<b>'|safe }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}",
    "{% macro m() %}{{ kwargs }}{% endmacro %}{{ m(x=1) }}",
    "{{ 'a b'|urlencode }}{{ 'abc'|reverse }}",
    "{{ 'hello world foo'|wordwrap(7) }}",
    "{{ 'x'|center(5) }}|{{ 'a,b'|replace(',', ';') }}",
    "{{ '<p>a</p> b'|striptags }}",
    "{{ 1234567|filesizeformat }}",
    "{{ ['a']|pprint }}",
];

/// Methods that are not there: which they are is not known before the values are.
const NO_METHOD: &[&str] = &["{{ 'a\\tb'.expandtabs(4) }}", "{{ 'abc'.encode() }}"];

/// What the engine does otherwise, and nothing here can change: comparison of unlike values, which
/// Python refuses; how a range prints; names that no chat template asks for.
const OTHERWISE: &[&str] = &[
    "{{ 1 < 'a' }}",
    "{{ range(5, 0, -2)|list }}{{ range(3) }}",
    "{{ lipsum is defined }}",
    "{{ d|attr('items') is defined }}{{ s|string|length }}",
    "{{ loop is defined }}{{ self is defined }}",
];

fn render(source: &str, variables: &Value) -> Result<String, Error> {
    let now = LocalTime { time: std::time::SystemTime::UNIX_EPOCH, utc_offset_seconds: 0 };
    let mut input = ChatInput::new(variables["messages"].clone(), now);
    let mut extra = variables.as_object().unwrap().clone();
    extra.remove("messages");
    input.extra = extra;
    ChatTemplate::new(source, None, None)?.render(&input)
}

#[test]
fn templates_have_jinja2_s_text_or_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/jinja_expressions.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut refused = Vec::new();
    for row in all["rows"].as_array().unwrap() {
        let source = row[0].as_str().unwrap();
        let found = render(source, &all["variables"]);
        match (row[1].as_str(), found) {
            (Some(expected), Ok(found)) if found == expected => {}
            (None, Err(_)) => {}
            (Some(_), Err(Error::TemplateSyntax { .. })) if NOT_COMPILED.contains(&source) => {}
            (Some(_), Err(Error::TemplateRender { .. })) if NO_METHOD.contains(&source) => {}
            (_, Ok(_)) if OTHERWISE.contains(&source) => {}
            (Some(_), Err(error)) => refused.push(format!("{source:?}\n    {error}")),
            (expected, Ok(found)) => {
                wrong.push(format!("{source:?}\n    {found:?}\n    {expected:?} in Jinja2"));
            }
        }
    }
    assert!(
        wrong.is_empty() && refused.is_empty(),
        "{}\nrefused:\n{}",
        wrong.join("\n"),
        refused.join("\n")
    );
}
