//! What a model may write, token by token.

mod common;

use common::{HERMES, LLAMA, MISTRAL, NAMED, PLAIN, conversation, question, tokenizer, tools};
use serde_json::json;
use stablemate_conversation::{
    Conversation, ConversationError, Exchange, Output, Part, Thinking, ToolChoice,
};
use stablemate_engine::{Continuation, TokenMask};
use stablemate_grammar::{Grammar, Grammars};

/// The end of a text in this vocabulary.
const END: &str = "<|im_end|>";

fn grammars() -> Grammars {
    let tokenizer = tokenizer("qwen2");
    let end = tokenizer.id(END).unwrap();
    Grammars::new(&tokenizer, tokenizer.vocabulary_size(), &[end]).unwrap()
}

/// A grammar of the two functions.
fn grammar(
    conversation: &Conversation,
    thinking: Thinking,
    choice: &ToolChoice,
    parallel: bool,
    content: Option<&Grammar>,
) -> Result<Option<Grammar>, ConversationError> {
    let tools = tools();
    let output = Output { tools: &tools, choice, parallel, content, thinking };
    conversation.grammar(&output, &grammars()).map(|written| written.grammar)
}

/// Whether a grammar takes a text, tokenised as the vocabulary does it, from beginning to end.
fn takes(grammar: &Grammar, text: &str) -> bool {
    let tokenizer = tokenizer("qwen2");
    let mut constraint = grammars().compile(grammar).unwrap();
    let mut ids = tokenizer.encode(text, false).unwrap();
    ids.push(tokenizer.id(END).unwrap());
    let mut mask = TokenMask::none(tokenizer.vocabulary_size());
    for (index, id) in ids.iter().enumerate() {
        mask.clear();
        let state = constraint.mask(&mut mask).unwrap();
        if state == Continuation::Complete {
            return index + 1 == ids.len();
        }
        if !mask.allows(*id) {
            return false;
        }
        constraint.accept(*id).unwrap();
    }
    true
}

fn call(name: &str, key: &str, arguments: &str) -> String {
    format!("{{\"name\": \"{name}\", \"{key}\": {arguments}}}")
}

fn tagged(name: &str, arguments: &str) -> String {
    format!("<tool_call>\n{}\n</tool_call>", call(name, "arguments", arguments))
}

fn check(grammar: &Grammar, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(takes(grammar, text), "{text:?} should fit {grammar:?}");
    }
    for text in bad {
        assert!(!takes(grammar, text), "{text:?} should not fit {grammar:?}");
    }
}

#[test]
fn calls_may_come_amid_text() {
    let good = tagged("weather", "{\"city\": \"Bern\"}");
    let two = format!("Let me see.\n{good}\n{}", tagged("time", "{}"));
    let wrong_name = tagged("wether", "{}");
    let wrong_arguments = tagged("weather", "{\"city\": 1}");
    let extra = tagged("time", "{\"zone\": 1}");
    for template in [HERMES, PLAIN] {
        let conversation = conversation(template);
        let auto = |parallel| {
            grammar(&conversation, Thinking::Never, &ToolChoice::Auto, parallel, None)
                .unwrap()
                .unwrap()
        };
        let bad =
            [wrong_name.as_str(), &wrong_arguments, &extra, "<tool_call>", "a <tool_call>\n{}"];
        check(&auto(true), &["", "Hello.\n{}", &good, &two], &bad);
        check(&auto(false), &["", "Hello.\n{}", &good], &[&two, bad[0], bad[1]]);
    }
}

#[test]
fn calls_can_be_required() {
    let hermes = conversation(HERMES);
    let (time, weather) = (tagged("time", "{}"), tagged("weather", "{\"city\": \"Bern\"}"));
    let two = format!("{time}\n{weather}");
    let required = |choice, parallel| {
        grammar(&hermes, Thinking::Never, &choice, parallel, None).unwrap().unwrap()
    };
    check(
        &required(ToolChoice::Required, true),
        &[&time, &two],
        &["", "Hello", &format!("So {time}")],
    );
    check(&required(ToolChoice::Required, false), &[&time, &weather], &[&two]);
    let named = ToolChoice::Named("weather".into());
    check(&required(named, true), &[&weather], &[&time, &two, ""]);
}

#[test]
fn reasoning_is_free_and_first() {
    let hermes = conversation(HERMES);
    let time = tagged("time", "{}");
    let with = |thinking, choice| grammar(&hermes, thinking, &choice, true, None).unwrap().unwrap();
    let thought = format!("<think>\n{{ maybe }}\n</think>\n\n{time}");
    let broken = format!("<think>\nHm.\n</think>\n\n{}", tagged("time", "1"));
    check(
        &with(Thinking::May, ToolChoice::Required),
        &[&time, &thought],
        &["Hello", "<think>a</think>", &broken],
    );
    check(
        &with(Thinking::May, ToolChoice::Auto),
        &[&time, &thought, "Hello", "<think>\nHm.\n</think>\n\nHello"],
        &[&broken],
    );
    check(
        &with(Thinking::Open, ToolChoice::Required),
        &[&format!("Hm.</think>\n{time}")],
        &[&time, "Hm."],
    );
}

#[test]
fn other_formats_are_followed() {
    let auto = |template| {
        let conversation = conversation(template);
        grammar(&conversation, Thinking::Never, &ToolChoice::Auto, true, None).unwrap().unwrap()
    };
    let city = "{\"city\": \"Bern\"}";
    let (bare, bad) = (call("weather", "parameters", city), call("weather", "parameters", "{}"));
    check(
        &auto(LLAMA),
        &[&bare, "Hello {", "", "\n\nHi"],
        &[&bad, "{", &format!("{bare}; {bare}")],
    );
    let item = call("weather", "arguments", city);
    check(
        &auto(MISTRAL),
        &[
            &format!("[TOOL_CALLS][{item}]"),
            &format!("Yes [TOOL_CALLS] [{item}, {item}]"),
            "Hi [x]",
        ],
        &["[TOOL_CALLS][]", &format!("[TOOL_CALLS]{item}"), &format!("[TOOL_CALLS][{item}")],
    );
    let one = format!("[TOOL_CALLS]weather[ARGS]{city}");
    check(
        &auto(NAMED),
        &[&one, &format!("a{one}{one}"), "Hi"],
        &["[TOOL_CALLS]weather[ARGS]{}", "[TOOL_CALLS]"],
    );
}

#[test]
fn content_has_its_form_after_reasoning() {
    let hermes = conversation(HERMES);
    let schema =
        Grammar::JsonSchema(json!({"type": "object", "properties": {"a": {"type": "integer"}},
        "required": ["a"], "additionalProperties": false}));
    let free = |thinking| {
        grammar(&hermes, thinking, &ToolChoice::None, true, Some(&schema)).unwrap().unwrap()
    };
    assert_eq!(free(Thinking::Never), schema);
    check(
        &free(Thinking::May),
        &["{\"a\": 1}", "<think>x</think>\n\n{\"a\": 1}"],
        &["{\"b\": 1}", "<think>x</think>no"],
    );
    check(&free(Thinking::Open), &["x</think>{\"a\": 1}"], &["{\"a\": 1}"]);
    let both =
        grammar(&hermes, Thinking::Never, &ToolChoice::Auto, true, Some(&schema)).unwrap().unwrap();
    check(&both, &["{\"a\": 1}", &tagged("time", "{}")], &["Hello", ""]);
    for (content, good, bad) in [
        (Grammar::Regex("[0-9]+/[0-9]+\\/x".into()), "1/2/x", "1"),
        (Grammar::Choice(vec!["yes".into(), "no \"\\".into()]), "no \"\\", "maybe"),
        (Grammar::JsonObject, "{\"b\": []}", "[]"),
    ] {
        let grammar = grammar(&hermes, Thinking::Open, &ToolChoice::None, true, Some(&content));
        let grammar = grammar.unwrap().unwrap();
        check(&grammar, &[&format!("x</think>{good}")], &[&format!("x</think>{bad}")]);
    }
    let own = Grammar::Lark("start: \"a\"".into());
    assert!(
        grammar(&hermes, Thinking::Never, &ToolChoice::None, true, Some(&own)).unwrap().is_some()
    );
    let error = grammar(&hermes, Thinking::May, &ToolChoice::None, true, Some(&own)).unwrap_err();
    assert!(matches!(error, ConversationError::Unsupported(_)));
}

#[test]
fn errors_name_the_tool() {
    let hermes = conversation(HERMES);
    let refused = |change: &dyn Fn(&mut Exchange), choice: ToolChoice, expected: &[&str]| {
        let mut exchange = question();
        change(&mut exchange);
        let output = Output {
            tools: &exchange.tools,
            choice: &choice,
            parallel: true,
            content: None,
            thinking: Thinking::Never,
        };
        let error = hermes.grammar(&output, &grammars()).unwrap_err().to_string();
        for part in expected {
            assert!(error.contains(part), "{error}");
        }
    };
    let parameters = |value: serde_json::Value| {
        move |e: &mut Exchange| e.tools[1].parameters = Some(value.clone())
    };
    let named = ["tools[1]", "\"time\""];
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}});
    refused(
        &parameters(schema),
        ToolChoice::Auto,
        &[&named[..], &["/properties/a", "pattern"]].concat(),
    );
    refused(
        &parameters(json!({"type": "string"})),
        ToolChoice::Auto,
        &[&named[..], &["\"object\""]].concat(),
    );
    refused(&parameters(json!(3)), ToolChoice::Auto, &named);
    refused(&|e| e.tools[1].name = "weather".into(), ToolChoice::Auto, &["tools[1]", "already"]);
    refused(&|e| e.tools[1].name = "a b".into(), ToolChoice::Auto, &["\"a b\""]);
    refused(&|_| {}, ToolChoice::Named("x".into()), &["x", "weather, time"]);
    refused(&|e| e.tools.clear(), ToolChoice::Required, &["any function"]);
}

/// What a grammar lets through, the parser takes apart into calls.
#[test]
fn grammar_and_parser_agree() {
    let text = format!("So.\n{}", tagged("weather", "{\"city\": \"a\\\"b\"}"));
    let hermes = conversation(HERMES);
    let auto = grammar(&hermes, Thinking::Never, &ToolChoice::Auto, true, None).unwrap().unwrap();
    assert!(takes(&auto, &text));
    let mut parser = hermes.parser(&common::prompt(Thinking::Never), &tools(), &ToolChoice::Auto);
    let mut parts = parser.push(&text);
    parts.extend(parser.finish());
    assert!(parts.contains(&Part::CallEnd { index: 0 }), "{parts:?}");
}
