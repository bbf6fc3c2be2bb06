//! What templates can do beyond the fixture, and what they are kept from.

use serde_json::{Value, json};
use stablemate_text::{ChatInput, ChatTemplate, Error, LocalTime};
use std::time::{Duration, SystemTime};

fn input(messages: Value) -> ChatInput {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_869_503);
    ChatInput::new(messages, LocalTime { time, utc_offset_seconds: 0 })
}

fn render(source: &str) -> Result<String, Error> {
    let mut input = input(json!([{"role": "user", "content": ""}]));
    input.extra =
        json!({"items": {"items": 1, "b": [1.5, null]}, "s": "  The quick fox ", "none": null})
            .as_object()
            .unwrap()
            .clone();
    ChatTemplate::new(source, Some("<s>"), None)?.render(&input)
}

/// Expected values are Python's, by Jinja2 3.1.6 in the environment of transformers.
#[test]
fn expressions_have_python_s_values() {
    let cases = [
        ("{{ s.strip().removeprefix('The ').removesuffix('fox') }}|", "quick |"),
        (
            "{{ s.rsplit(' ', 2) }}{{ s.rsplit() }}",
            "['  The quick', 'fox', '']['The', 'quick', 'fox']",
        ),
        ("{{ 'a b c'.rsplit(none, 1) }}{{ 'aXbX'.rsplit('X') }}", "['a b', 'c']['a', 'b', '']"),
        (
            "{{ s.partition('quick') }}{{ s.rpartition('zz') }}",
            "('  The ', 'quick', ' fox ')('', '', '  The quick fox ')",
        ),
        ("{{ s.index('q') }}{{ 'aba'.rindex('a') }}{{ [4, 5].index(5) }}", "621"),
        (
            "{{ '-7'.zfill(4) }}{{ 'a'.ljust(3, '.') }}{{ 'a'.rjust(3) }}{{ 'a'.center(4) }}|",
            "-007a..  a a  |",
        ),
        ("{{ ''[::-1] }}{{ [][::-1] }}{{ 'abc'[::-1] }}{{ (1, 2)[::-1] }}", "[]cba(2, 1)"),
        ("[{{ 'ab'[0:1:-1] }}{{ ''[1::-1] }}]", "[]"),
        ("{{ items.items() | list | length }}{{ items['items'] }}{{ items.get('items') }}", "211"),
        (
            "{{ none | default('d') }}{{ none | default('d', true) }}{{ x | default('d', boolean=true) }}",
            "Nonedd",
        ),
        (
            "{{ x | length }}[{{ x | first }}]{{ 'x' | int }}{{ '4.7' | int }}{{ 'x' | float(1.5) }}",
            "0[]041.5",
        ),
        ("{{ 'aaa' | replace('a', 'b', 2) }}{{ '<\"&\\'>' | e }}", "bba&lt;&#34;&amp;&#39;&gt;"),
        (
            "{{ 'one two three' | truncate(9, leeway=0) }}{{ 'abcdef' | truncate(4, true, '.', 0) }}",
            "one...abc.",
        ),
        (
            "{{ items ~ '' }}{{ items | string }}",
            "{'items': 1, 'b': [1.5, None]}{'items': 1, 'b': [1.5, None]}",
        ),
        (
            "{{ s is sequence }}{{ items is sequence }}{{ 5 is sequence }}{{ s is iterable }}",
            "TrueTrueFalseTrue",
        ),
        ("{{ raise_exception is callable }}{{ s is callable }}", "TrueFalse"),
        ("{{ items | tojson(none, 1) }}", "{\n \"items\": 1,\n \"b\": [\n  1.5,\n  null\n ]\n}"),
        (
            "{{ items | tojson(indent='-', separators=('', '=')) }}",
            "{\n-\"items\"=1\n-\"b\"=[\n--1.5\n--null\n-]\n}",
        ),
        ("{{ 'é\\x7f' | tojson(ensure_ascii=true) }}", "\"\\u00e9\\u007f\""),
        (
            "{{ strftime_now('%c|%x|%X|%Z%z|%%Z') }}",
            "Thu Nov  5 09:05:03 2026|11/05/26|09:05:03||%Z",
        ),
        ("{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}", "1False"),
        ("a\r\n{% if true %}\r\nb\r\n{% endif %}\r\n", "a\nb\n"),
        (
            "{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}{{ documents is none }}",
            "<s>FalseTrueTrue",
        ),
    ];
    for (source, expected) in cases {
        assert_eq!(render(source).unwrap(), expected, "{source}");
    }
}

#[test]
fn the_clock_is_the_caller_s() {
    let template = ChatTemplate::new("{{ strftime_now('%d %b %Y %H:%M') }}", None, None).unwrap();
    let mut input = input(json!([]));
    input.now.utc_offset_seconds = 16 * 3600;
    assert_eq!(template.render(&input).unwrap(), "06 Nov 2026 01:05");
    input.now.utc_offset_seconds = i32::MAX;
    assert!(template.render(&input).unwrap_err().to_string().contains("utc_offset_seconds"));
}

#[test]
fn reasoning_has_every_name_that_templates_read() {
    let source = "{% for m in messages %}{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}|{% endfor %}";
    let template = ChatTemplate::new(source, None, None).unwrap();
    let messages = json!([
        {"role": "assistant", "reasoning": "r"},
        {"role": "assistant", "reasoning_content": "c", "thinking": null},
        {"role": "assistant", "reasoning_content": null, "content": "x"},
    ]);
    let expected = "thinking=r;role=assistant;reasoning=r;reasoning_content=r;|\
                    thinking=None;role=assistant;reasoning_content=c;|\
                    role=assistant;reasoning_content=None;content=x;|";
    assert_eq!(template.render(&input(messages)).unwrap(), expected);
}

#[test]
fn a_refusal_carries_the_template_s_words() {
    let cases = [
        "{{ raise_exception('no ' ~ 1) }}",
        "{% macro f() %}{{ raise_exception('no 1') }}{% endmacro %}{{ f() }}",
    ];
    for source in cases {
        match render(source) {
            Err(Error::TemplateRaised { message }) => assert_eq!(message, "no 1"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_is_wrong_is_an_error() {
    let rendering = [
        "{{ x.y }}",
        "{{ x() }}",
        "{{ 'a' + 1 }}",
        "{{ s.nope() }}",
        "{{ x | tojson }}",
        "{{ s.split('') }}",
        "{{ [1].append(2) }}",
        "{% include 'x' %}",
        "{{ 1 | tojson(indent=9999) }}",
        "{{ strftime_now('%Q') }}",
        "{{ namespace | tojson }}",
        "{{ 1 | default(1, 2, 3) }}",
    ];
    for source in rendering {
        assert!(
            matches!(render(source), Err(Error::TemplateRender { .. })),
            "{source}: {:?}",
            render(source)
        );
    }
    for source in ["{% if %}", "{{ 'a", "{% endfor %}", "\n\n{% unknown %}"] {
        assert!(
            matches!(render(source), Err(Error::TemplateSyntax { .. })),
            "{source}: {:?}",
            render(source)
        );
    }
    assert_eq!(
        render("\n\n{% unknown %}").unwrap_err().to_string(),
        "chat template, line 3: unknown statement unknown"
    );
    let template = ChatTemplate::new("", None, None).unwrap();
    for messages in [json!({}), json!(["x"])] {
        assert!(template.render(&input(messages)).unwrap_err().to_string().contains("messages"));
    }
    let mut reserved = input(json!([]));
    reserved.extra.insert("messages".to_owned(), json!([]));
    assert!(template.render(&reserved).unwrap_err().to_string().contains("\"messages\""));
}

#[test]
fn templates_that_never_end_are_stopped() {
    let cases = [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i %}{% endfor %}{% endfor %}",
            "instructions",
        ),
        (
            "{% set x = 'abcdefgh' * 9999 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
            "bytes of output",
        ),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion limit"),
        ("{{ range(999999999) | list }}", "too many elements"),
        ("{{ 'a' * 999999999999 }}", "too large"),
        ("{{ 'a'.ljust(999999999999) }}", "too much"),
    ];
    for (source, expected) in cases {
        let error = render(source).unwrap_err().to_string();
        assert!(error.contains(expected), "{source}: {error}");
    }
    let mut nested = json!(1);
    for _ in 0..300 {
        nested = json!([nested]);
    }
    let template = ChatTemplate::new("{{ messages | tojson }}", None, None).unwrap();
    let error = template.render(&input(json!([{"content": nested}]))).unwrap_err().to_string();
    assert!(error.contains("200 levels"), "{error}");
}
