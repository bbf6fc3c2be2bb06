//! Texts are taken apart in the same way however they are cut.

mod common;

use common::{HERMES, LLAMA, MISTRAL, NAMED, PLAIN, conversation, prompt, tools};
use proptest::prelude::*;
use stablemate_conversation::{Conversation, Parser, Part, Thinking, ToolChoice};
use std::collections::BTreeMap;
use std::sync::Mutex;

fn parser(template: &'static str, thinking: Thinking, choice: &ToolChoice) -> Parser {
    static KNOWN: Mutex<BTreeMap<&str, Conversation>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    let conversation = known.entry(template).or_insert_with(|| conversation(template));
    conversation.parser(&prompt(thinking), &tools(), choice)
}

/// The parts of a text that comes in pieces, those of a kind joined.
fn parse<'a>(mut parser: Parser, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Part> {
    let mut parts: Vec<Part> = pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
    parts.extend(parser.finish());
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), &part) {
            (Some(Part::Reasoning(last)), Part::Reasoning(text))
            | (Some(Part::Content(last)), Part::Content(text))
            | (Some(Part::CallArguments { text: last, .. }), Part::CallArguments { text, .. }) => {
                last.push_str(text);
            }
            _ => joined.push(part),
        }
    }
    joined
}

/// The parts as one line: `r(…)`, `c(…)`, `name…` with `!` at a call's end.
fn line(parts: &[Part]) -> String {
    let each = |part: &Part| match part {
        Part::Reasoning(text) => format!("r({text})"),
        Part::Content(text) => format!("c({text})"),
        Part::CallBegin { index, name } => format!("{index}:{name}"),
        Part::CallArguments { text, .. } => text.clone(),
        Part::CallEnd { .. } => "!".to_owned(),
    };
    parts.iter().map(each).collect()
}

fn check(template: &'static str, thinking: Thinking, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let start = parser(template, thinking, &ToolChoice::Auto);
        assert_eq!(line(&parse(start.clone(), [*text])), *expected, "{text:?}");
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let parts = parse(start, letters.iter().map(String::as_str));
        assert_eq!(line(&parts), *expected, "letter by letter: {text:?}");
    }
}

const WEATHER: &str = "{\"name\": \"weather\", \"arguments\": {\"city\": \"}\\\"{\"}}";

#[test]
fn calls_in_tags() {
    let call = format!("<tool_call>\n{WEATHER}\n</tool_call>");
    let expected = "0:weather{\"city\": \"}\\\"{\"}!";
    let cases = [
        ("Hello, world", "c(Hello, world)".to_owned()),
        (&call, expected.to_owned()),
        (&format!(" \n{call}\n"), expected.to_owned()),
        (&format!("Let me see. \n{call}"), format!("c(Let me see.){expected}")),
        (&format!("{call}\n{call}"), format!("{expected}{}", expected.replace("0:", "1:"))),
        (&format!("{call} done "), format!("{expected}c( done )")),
        ("a <tool_call", "c(a )".to_owned()),
        ("a <tool", "c(a <tool)".to_owned()),
        ("a < b <tool_cal> c", "c(a < b <tool_cal> c)".to_owned()),
        ("x \n", "c(x \n)".to_owned()),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (*a, b.as_str())).collect();
    check(PLAIN, Thinking::Never, &cases);
    check(HERMES, Thinking::Never, &cases);
}

#[test]
fn what_is_no_call_is_content() {
    let unchanged = [
        "<tool_call>hello</tool_call>",
        "<tool_call>\n{\"name\": \"other\", \"arguments\": {}}\n</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"args\": {}}</tool_call>",
        "<tool_call>{\"name\": \"weather\", \"arguments\": \"{}\"}</tool_call>",
        "<tool_call>{\"arguments\": {}, \"name\": \"weather\"}</tool_call>",
        "  <tool_call>{\"name\": \"\\uD800\", \"arguments\": {}}",
    ];
    for text in unchanged {
        check(HERMES, Thinking::Never, &[(text, &format!("c({text})"))]);
    }
    check(
        HERMES,
        Thinking::Never,
        &[
            (
                "<tool_call><tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>",
                "c(<tool_call>)0:time{}!",
            ),
            ("<tool_call>{\"name\":\"time\",\"arguments\":{\"a\": ]}}", "0:time{\"a\": "),
            (
                "<tool_call>{\"name\":\"time\",\"arguments\":{\"a\": ]}}\n</tool_call> b",
                "0:time{\"a\": c( b)",
            ),
            // Cut off before there is a name.
            ("a <tool_call>{\"name\": \"weather", "c(a)"),
            ("<tool_call>", ""),
            (
                "<tool_call>{\"name\":\"time\",\"arguments\":{}, \"b\": 1}</tool_call>",
                "0:time{}!c(, \"b\": 1}</tool_call>)",
            ),
            // Cut off in the arguments, and in the closing mark.
            ("<tool_call>{\"name\":\"time\",\"arguments\":{\"a\": [1", "0:time{\"a\": [1"),
            ("<tool_call>{\"name\":\"time\",\"arguments\":{}}\n</tool_", "0:time{}!"),
        ],
    );
    let none = parser(HERMES, Thinking::Never, &ToolChoice::None);
    let text = format!("<tool_call>{WEATHER}</tool_call> ");
    assert_eq!(parse(none, [text.as_str()]), [Part::Content(text.clone())]);
}

#[test]
fn reasoning_comes_first() {
    check(
        HERMES,
        Thinking::May,
        &[
            ("<think>\nHm.\n\nYes.\n</think>\n\nIt is.\n", "r(Hm.\n\nYes.)c(It is.\n)"),
            ("\n<think>a</think>b", "r(a)c(b)"),
            ("<think>\n\n</think>\n\nb", "c(b)"),
            ("<think>never ends\n", "r(never ends\n)"),
            ("<thin", "c(<thin)"),
            ("a <think>b</think>", "c(a <think>b</think>)"),
            ("<think>a </thin</think> b", "r(a </thin)c( b)"),
            (
                "<think><tool_call></think>\n<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>",
                "r(<tool_call>)0:time{}!",
            ),
        ],
    );
    check(
        HERMES,
        Thinking::Open,
        &[("\nHm.\n</think>\n\nYes.", "r(Hm.)c(Yes.)"), ("</think>Yes.", "c(Yes.)"), ("", "")],
    );
    check(HERMES, Thinking::Never, &[("<think>a</think>", "c(<think>a</think>)")]);
}

#[test]
fn bare_calls_begin_the_text() {
    let call = "{\"name\": \"weather\", \"parameters\": {\"city\": \"Bern\"}}";
    let parts = "0:weather{\"city\": \"Bern\"}!";
    let cases = [
        (call.to_owned(), parts.to_owned()),
        (format!("\n <|python_tag|>{call}"), parts.to_owned()),
        (format!("{call}; {call}"), format!("{parts}{}", parts.replace("0:", "1:"))),
        (format!("So: {call}"), format!("c(So: {call})")),
        (format!("So: <|python_tag|>{call}"), format!("c(So:){parts}")),
        ("{\"a\": 1}".to_owned(), "c({\"a\": 1})".to_owned()),
        ("{".to_owned(), String::new()),
        ("<|python_tag|>print(1)".to_owned(), "c(<|python_tag|>print(1))".to_owned()),
        (format!("{call};"), format!("{parts}c(;)")),
    ];
    let cases: Vec<(&str, &str)> = cases.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    check(LLAMA, Thinking::Never, &cases);
}

#[test]
fn calls_after_marks() {
    check(
        MISTRAL,
        Thinking::Never,
        &[
            (
                "[TOOL_CALLS] [{\"name\": \"time\", \"arguments\": {}}, {\"name\": \"weather\", \"arguments\": {\"city\": \"B\"}}]",
                "0:time{}!1:weather{\"city\": \"B\"}!",
            ),
            (
                "[TOOL_CALLS][{\"name\": \"time\", \"arguments\": {}}, nonsense]",
                "0:time{}!c(}, nonsense])",
            ),
            ("[TOOL_CALLS][]", "c([TOOL_CALLS][])"),
        ],
    );
    check(
        NAMED,
        Thinking::Never,
        &[
            (
                "Yes.[TOOL_CALLS]time[ARGS]{}[TOOL_CALLS]weather[CALL_ID]x[ARGS]{\"city\": 1}",
                "c(Yes.)0:time{}!1:weather{\"city\": 1}!",
            ),
            ("[TOOL_CALLS]other[ARGS]{}", "c([TOOL_CALLS]other[ARGS]{})"),
            ("[TOOL_CALLS]time{}", "c([TOOL_CALLS]time{})"),
        ],
    );
}

#[test]
fn hostile_texts_take_little_time() {
    let begin = std::time::Instant::now();
    for piece in
        ["<tool_call>", " ", "{", "<tool_call>{\"name\": \"", "<", "\n<think>", "}\n</tool_call>;"]
    {
        for template in [HERMES, LLAMA, MISTRAL, NAMED] {
            for thinking in [Thinking::May, Thinking::Open, Thinking::Never] {
                let parser = parser(template, thinking, &ToolChoice::Auto);
                parse(parser, std::iter::repeat_n(piece, 5_000));
            }
        }
    }
    assert!(begin.elapsed().as_secs() < 20, "{:?}", begin.elapsed());
}

const PIECE: &str = "(<tool_call>|</tool_call>|<think>|</think>|<|python_tag\\|>|\\[TOOL_CALLS\\]|\\[ARGS\\]|time|\
    weather|\\{\"name\": \"time\", \"(arguments|parameters)\": |\\{|\\}|\\[|\\]|\"|,|;|\\\\|\n| |é|\u{3000}|a|<){0,16}";

/// A text without white space and marks.
fn bare(text: &str) -> String {
    let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    for mark in ["<think>", "</think>"] {
        text = text.replace(mark, "");
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn cuts_make_no_difference(text in PIECE, space in 0_usize..90, cuts in prop::collection::vec(0_usize..80, 0..12)) {
        let text = text.replacen(' ', &" ".repeat(space), 1);
        let mut cuts: Vec<usize> = cuts.into_iter().filter(|at| text.is_char_boundary(*at)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&str> = cuts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        for template in [HERMES, LLAMA, MISTRAL, NAMED] {
            for thinking in [Thinking::Never, Thinking::May, Thinking::Open] {
                let parser = parser(template, thinking, &ToolChoice::Auto);
                let whole = parse(parser.clone(), [text.as_str()]);
                prop_assert_eq!(parse(parser, pieces.clone()), whole.clone());
                // Without a call, only white space, the marks of reasoning and a call that was cut off may be gone.
                if !whole.iter().any(|part| matches!(part, Part::CallBegin { .. })) {
                    let said: String = whole.iter().map(|part| match part {
                        Part::Reasoning(text) | Part::Content(text) => text.as_str(),
                        _ => "",
                    }).collect();
                    prop_assert!(bare(&text).starts_with(&bare(&said)), "{:?}", whole);
                }
            }
        }
    }
}
