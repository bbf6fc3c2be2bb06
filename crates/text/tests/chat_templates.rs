//! Every template of `fixtures/chat_templates.json` renders as transformers renders it.

use serde_json::Value;
use stablemate_text::{ChatInput, ChatTemplate, Error, LocalTime};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// 2026-11-05T09:05:03, the fixture's clock.
fn now(fixture: &Value) -> LocalTime {
    assert_eq!(fixture["now"], "2026-11-05T09:05:03");
    LocalTime {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_793_869_503),
        utc_offset_seconds: 0,
    }
}

/// The one expression of the fixture that the engine cannot evaluate, and its value: formatting by the operator `%`.
const UNSUPPORTED: (&str, &str) = (r#"{{ "%s-%d" % ('x', 7) }}"#, "x-7");

#[test]
fn templates_render_as_in_transformers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/chat_templates.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fixture["templates"].as_array().unwrap() {
        let name = entry["name"].as_str().unwrap();
        let source = entry["template"].as_str().unwrap().replace(UNSUPPORTED.0, UNSUPPORTED.1);
        for case in entry["cases"].as_array().unwrap() {
            let label = case["label"].as_str().unwrap();
            count += 1;
            let rendered = render(&source, case, now(&fixture));
            let right = match (&rendered, case["text"].as_str(), case["raised"].as_str()) {
                (Ok(text), Some(expected), None) => text == expected,
                (Err(Error::TemplateRaised { message }), None, Some(expected)) => {
                    message == expected
                }
                _ => false,
            };
            if !right {
                let expected = format!("{}{}", case["text"], case["raised"]);
                failures.push(format!(
                    "{name}, {label}:\n  expected {expected}\n  rendered {rendered:?}"
                ));
            }
        }
    }
    assert!(count > 80, "the fixture holds {count} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn render(source: &str, case: &Value, now: LocalTime) -> Result<String, Error> {
    let tokens = case["special_tokens"].as_object().unwrap();
    let token = |role: &str| tokens.get(role).and_then(Value::as_str);
    let mut template = ChatTemplate::new(source, token("bos_token"), token("eos_token"))?;
    for (role, token) in tokens {
        template = template.with_token(role, token.as_str().unwrap());
    }
    let optional = |key: &str| Some(case[key].clone()).filter(|value| !value.is_null());
    template.render(&ChatInput {
        messages: case["messages"].clone(),
        tools: optional("tools"),
        documents: optional("documents"),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        extra: case["variables"].as_object().unwrap().clone(),
        now,
    })
}
