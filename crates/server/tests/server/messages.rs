//! `/v1/messages`, before a model that says what it is told to.

use serde_json::{Value, json};
use stablemate_engine::testing::{Fake, FakeSettings};
use stablemate_engine::{EngineHandle, Plan};
use stablemate_server::Options;

use crate::chat::{CALL, TEMPLATE, model, start};
use crate::common::{Answer, JSON, Server, Setup, VOCABULARY, start_with, wait_until};

fn say(text: &str, more: Value) -> Value {
    let mut body = json!({"temperature": 0, "max_tokens": 200,
        "messages": [{"role": "user", "content": format!("say({text})")}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn ask(server: &Server, body: &Value) -> Value {
    let answer = server.post("/v1/messages", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()
}

fn tools() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}},
        "required": ["city"], "additionalProperties": false});
    json!([{"name": "weather", "input_schema": schema, "cache_control": {"type": "ephemeral"}},
           {"type": "custom", "name": "time", "description": "Now.", "input_schema": {"type": "object"}}])
}

/// The events of a stream, whose names are checked.
fn events(answer: &Answer) -> Vec<Value> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(Some(name.strip_prefix("event: ").unwrap()), data["type"].as_str());
        data
    };
    let events = answer.body.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    events.map(event).collect()
}

/// The error of Anthropic's envelope, whose form is checked.
fn error(answer: &Answer) -> (String, String) {
    let body = answer.json();
    assert_eq!(body["type"], "error", "{body}");
    assert_eq!(body["request_id"].as_str(), answer.header("request-id"), "{body}");
    assert!(answer.header("request-id").is_some() && body["error"].as_object().unwrap().len() == 2);
    let text = |field: &str| body["error"][field].as_str().unwrap().to_owned();
    (text("type"), text("message"))
}

#[test]
fn a_plain_answer() {
    let server = start(Some(TEMPLATE));
    let answer = ask(&server, &say("Hello", json!({"model": "abc", "metadata": {"user_id": "u"}})));
    assert!(answer["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!((&answer["type"], &answer["role"]), (&json!("message"), &json!("assistant")));
    assert_eq!(answer["content"], json!([{"type": "text", "text": "Hello"}]));
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("end_turn"), &Value::Null)
    );
    assert_eq!(answer["usage"]["output_tokens"], 6);
    let prompt = answer["usage"]["input_tokens"].as_u64().unwrap();
    let again = ask(&server, &say("Hello", json!({})))["usage"].clone();
    let cached = again["cache_read_input_tokens"].as_u64().unwrap();
    assert!(cached > 0 && again["input_tokens"].as_u64().unwrap() + cached == prompt, "{again}");
    let short = ask(&server, &say("Hello", json!({"max_tokens": 3})));
    assert_eq!(
        (&short["stop_reason"], &short["content"][0]["text"]),
        (&json!("max_tokens"), &json!("Hel"))
    );
    let stopped = ask(&server, &say("Hello", json!({"stop_sequences": ["x", "l"]})));
    assert_eq!(
        (&stopped["stop_reason"], &stopped["stop_sequence"]),
        (&json!("stop_sequence"), &json!("l"))
    );
    assert_eq!(stopped["content"][0]["text"], "He");
}

#[test]
fn a_stream_tells_what_the_whole_answer_says() {
    let server = start(Some(TEMPLATE));
    let text = format!("<think>\nLet me see.\n</think>\n\nI look.\n{CALL}");
    let whole = ask(&server, &say(&text, json!({"tools": tools()})));
    let content = &whole["content"];
    assert_eq!(content[0], json!({"type": "thinking", "thinking": "Let me see.", "signature": ""}));
    assert_eq!(content[1]["text"], "I look.");
    assert_eq!((&content[2]["type"], &content[2]["name"]), (&json!("tool_use"), &json!("weather")));
    assert_eq!(content[2]["input"], json!({"city": "Bern"}));
    assert!(content[2]["id"].as_str().unwrap().starts_with("toolu_"));
    assert_eq!(whole["stop_reason"], "tool_use");
    assert!(whole["usage"]["output_tokens_details"]["thinking_tokens"].as_u64().unwrap() >= 19);

    let streamed =
        server.post("/v1/messages", &say(&text, json!({"tools": tools(), "stream": true})));
    let events = events(&streamed);
    let mut kinds: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
    kinds.dedup();
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let expected = [
        &["message_start", "ping"][..],
        &block,
        &block,
        &block,
        &["message_delta", "message_stop"],
    ]
    .concat();
    assert_eq!(kinds, expected);
    assert_eq!(events[0]["message"]["content"], json!([]));
    assert_eq!(events[0]["message"]["stop_reason"], Value::Null);
    let joined = |index: u64, kind: &str, field: &str| -> String {
        let of =
            events.iter().filter(|event| event["index"] == index && event["delta"]["type"] == kind);
        of.filter_map(|event| event["delta"][field].as_str()).collect()
    };
    assert_eq!(joined(0, "thinking_delta", "thinking"), "Let me see.");
    assert_eq!(joined(1, "text_delta", "text"), "I look.");
    assert_eq!(joined(2, "input_json_delta", "partial_json"), "{\"city\": \"Bern\"}");
    let last = &events[events.len() - 2];
    assert_eq!(last["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert_eq!(last["usage"]["output_tokens"], whole["usage"]["output_tokens"]);
}

#[test]
fn conversations_go_on() {
    let server = start(Some(TEMPLATE));
    let cached = json!({"type": "ephemeral", "ttl": "1h"});
    let body = json!({"temperature": 0, "max_tokens": 20, "tools": tools(),
        "system": [{"type": "text", "text": "Be.", "cache_control": cached}], "messages": [
        {"role": "user", "content": "Weather"},
        {"role": "user", "content": [{"type": "text", "text": "now?"}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": ""},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [{"type": "text", "text": "say(Snow.)"}]}]}]});
    assert_eq!(ask(&server, &body)["content"][0]["text"], "Snow.");
    let shown = "TOOLS <tool_call> weather time system=Be.;user=Weather\nnow?;\
        assistant=I look.weather{\"city\": \"Bern\"};tool=Error:\nsay(Snow.);\nANSWER:";
    let mut question = body.clone();
    for field in ["temperature", "max_tokens"] {
        question.as_object_mut().unwrap().shift_remove(field);
    }
    let count = server.post("/v1/messages/count_tokens", &question).json();
    assert_eq!(count, json!({"input_tokens": shown.len()}));
    let prefill = json!({"temperature": 0, "max_tokens": 5, "messages": [
        {"role": "user", "content": "say(Once)"}, {"role": "assistant", "content": "\nANSWER:On"}]});
    assert_eq!(ask(&server, &prefill)["content"][0]["text"], "ce");
    for (choice, name) in
        [(json!({"type": "any"}), None), (json!({"type": "tool", "name": "time"}), Some("time"))]
    {
        let more =
            json!({"tools": tools(), "tool_choice": choice, "thinking": {"type": "disabled"}});
        let answer = ask(&server, &say("Hello", more));
        assert_eq!(answer["content"][0]["type"], "tool_use", "{answer}");
        assert!(name.is_none_or(|name| answer["content"][0]["name"] == name), "{answer}");
    }
    let thinking = json!({"type": "enabled", "budget_tokens": 100});
    let answer = ask(&server, &say("<think>\nA\n</think>\n\nB", json!({"thinking": thinking})));
    assert_eq!(answer["content"][0]["thinking"], "A");
    let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
        "additionalProperties": false});
    let more = json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}});
    assert_eq!(ask(&server, &say("{\"a\": true}", more))["content"][0]["text"], "{\"a\": true}");
}

#[test]
fn a_call_that_is_cut_off_has_no_input() {
    let server = start(Some(TEMPLATE));
    let answer = ask(&server, &say(CALL, json!({"tools": tools(), "max_tokens": 60})));
    assert_eq!(
        (&answer["stop_reason"], &answer["content"][0]["input"]),
        (&json!("max_tokens"), &json!({}))
    );
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let server = start(Some(TEMPLATE));
    let user = |content: Value| json!({"max_tokens": 5, "messages": [{"role": "user", "content": content}]});
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}});
    let cases = [
        (json!({"max_tokens": 5}), "messages"),
        (json!({"messages": [{"role": "user", "content": "a"}]}), "max_tokens"),
        (json!({"max_tokens": 5, "messages": []}), "messages"),
        (json!({"max_tokens": 5, "messages": [1]}), "messages[0]"),
        (
            json!({"max_tokens": 5, "messages": [{"role": "tool", "content": ""}]}),
            "messages[0].role",
        ),
        (user(json!(7)), "messages[0].content"),
        (user(json!([{"type": "image", "source": {}}])), "messages[0].content[0].type"),
        (user(json!([{"type": "document", "source": {}}])), "messages[0].content[0].source.type"),
        (user(json!([{"type": "text"}])), "messages[0].content[0].text"),
        (user(json!([{"type": "tool_result"}])), "messages[0].content[0].tool_use_id"),
        (
            user(
                json!([{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}]),
            ),
            "messages[0].content[0].content[0].type",
        ),
        (say("a", json!({"max_tokens": 0})), "max_tokens"),
        (say("a", json!({"temperature": 1.5})), "temperature"),
        (say("a", json!({"top_p": 0})), "top_p"),
        (say("a", json!({"top_k": -1})), "top_k"),
        (say("a", json!({"stop_sequences": [""]})), "stop_sequences"),
        (say("a", json!({"seed": 1})), "seed"),
        (say("a", json!({"container": "x"})), "container"),
        (say("a", json!({"system": [{"type": "image"}]})), "system[0].type"),
        (say("a", json!({"thinking": {"type": "deep"}})), "thinking.type"),
        (say("a", json!({"thinking": {"type": "adaptive", "depth": 1}})), "thinking.depth"),
        (
            say("a", json!({"output_config": {"format": {"type": "x"}}})),
            "output_config.format.type",
        ),
        (say("a", json!({"tools": [{"type": "odd", "name": "odd"}]})), "tools[0].type"),
        (say("a", json!({"tools": [{"name": "f"}]})), "tools[0].input_schema"),
        (
            say("a", json!({"tools": [{"name": "f", "input_schema": schema, "strict": true}]})),
            "tools[0].input_schema/properties/a",
        ),
        (say("a", json!({"tool_choice": {"type": "any"}})), "tool_choice"),
        (say("a", json!({"tool_choice": {"type": "tool"}})), "tool_choice.name"),
        (say("a", json!({"tool_choice": "auto"})), "tool_choice"),
        (say(&"a".repeat(2000), json!({})), "messages"),
    ];
    for (body, parameter) in cases {
        let answer = server.post("/v1/messages", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        let (kind, message) = error(&answer);
        assert_eq!(kind, "invalid_request_error");
        assert!(message.contains(parameter), "{body}: {message}");
    }
}

#[test]
fn errors_of_all_kinds_are_in_the_envelope() {
    let server = start(Some(TEMPLATE));
    let other = server.post("/v1/messages", &say("a", json!({"model": "claude"})));
    assert_eq!((other.status, error(&other).0.as_str()), (404, "not_found_error"));
    assert_eq!(error(&server.post("/v1/messages/batches", &json!({}))).0, "not_found_error");
    assert_eq!(server.get("/v1/messages").status, 405);
    assert_eq!(error(&server.get("/v1/messages")).0, "invalid_request_error");
    assert_eq!(error(&server.request("POST", "/messages", JSON, b"{")).0, "invalid_request_error");
    let options =
        Options { api_keys: vec!["key".to_owned()], body_limit: 500, ..Setup::default().options };
    let served = model(Some(TEMPLATE));
    let engine = served.engine.clone();
    let server = start_with(options, engine, move || Ok(served));
    wait_until("the server is ready", || server.get("/health").status == 200);
    let body = say("a", json!({})).to_string();
    let version = format!("{JSON}anthropic-version: 2023-06-01\r\n");
    let unknown = server.request("POST", "/v1/messages", &version, body.as_bytes());
    assert_eq!((unknown.status, error(&unknown).0.as_str()), (401, "authentication_error"));
    let with_key = format!("{version}x-api-key: key\r\n");
    let known = server.request("POST", "/v1/messages", &with_key, body.as_bytes());
    assert_eq!(known.status, 200, "{}", known.body);
    assert!(known.header("request-id").is_some());
    let long = say(&"a".repeat(600), json!({})).to_string();
    let long = server.request("POST", "/v1/messages", &with_key, long.as_bytes());
    assert_eq!((long.status, error(&long).0.as_str()), (413, "request_too_large"));
    // The other dialect keeps its own envelope.
    assert_eq!(server.get("/v1/models").error()["type"], "authentication_error");
}

/// The server tells a failure amid a stream, and nothing after it.
#[test]
fn a_failure_amid_a_stream_is_told() {
    let mut served = model(Some(TEMPLATE));
    let settings = FakeSettings {
        vocabulary: VOCABULARY,
        context: 1000,
        step_tokens: 64,
        fail_at: (6..100).collect(),
        ..FakeSettings::default()
    };
    let plan =
        Plan { parallel: 4, blocks: 1000, slots: 0, queue: 64, prefix_cache: true, pace: 2.0 };
    served.engine.abort();
    served.engine =
        EngineHandle::start(Fake::scripted(settings, crate::chat::next), &plan).unwrap();
    let engine = served.engine.clone();
    let server = start_with(Setup::default().options, engine, move || Ok(served));
    wait_until("the server is ready", || server.get("/health").status == 200);
    let told = events(&server.post("/v1/messages", &say("A long answer", json!({"stream": true}))));
    let last = told.last().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")));
    let body = json!({"input": "say(A long answer)", "stream": true});
    let told = server.post("/v1/responses", &body);
    assert!(
        told.body.contains("event: response.failed") && told.body.contains("server_error"),
        "{}",
        told.body
    );
    assert!(!told.body.contains("response.completed"));
}
