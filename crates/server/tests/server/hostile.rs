//! Every field of every endpoint with values that do not belong there: answers are 4xx in the envelope or make sense of
//! the value, and never 5xx.

use serde_json::{Value, json};

use crate::common::{JSON, Server, Setup, start, wait_until};

fn values() -> Vec<Value> {
    let deep = (0..60).fold(json!(1), |value, _| json!([value]));
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(1.5),
        json!(-1e308),
        json!(1e308),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("\0\u{7f}\u{feff}\u{10ffff}"),
        json!("[".repeat(3000)),
        json!([]),
        json!([null]),
        json!([""]),
        json!(["a", 1]),
        json!([u64::MAX]),
        json!([[[]]]),
        json!({}),
        json!({"": null}),
        json!({"a": {"b": []}}),
        json!({"type": "x"}),
        deep,
    ]
}

/// A request of an endpoint that is right.
fn right(path: &str) -> Value {
    let messages = json!([{"role": "user", "content": "a"}]);
    match path {
        "/v1/completions" => json!({"prompt": "a", "max_tokens": 2}),
        "/v1/embeddings" => json!({"input": "a"}),
        "/v1/responses" => json!({"input": "a", "max_output_tokens": 16}),
        "/v1/messages/count_tokens" => json!({"messages": messages}),
        "/tokenize" => json!({"content": "a"}),
        "/apply-template" => json!({"messages": messages}),
        "/detokenize" => json!({"tokens": [97]}),
        _ => json!({"messages": messages, "max_tokens": 2}),
    }
}

fn check(server: &Server, path: &str, body: &Value) {
    let text = body.to_string();
    let answer = server.request("POST", path, JSON, text.as_bytes());
    assert!(
        (200..500).contains(&answer.status),
        "{path} {text}: {} {}",
        answer.status,
        answer.body
    );
    if answer.status >= 400 {
        let body = answer.json();
        assert!(body["error"]["message"].is_string(), "{path} {text}: {body}");
    }
}

/// Conversations in which all that there is occurs.
fn conversations() -> Vec<(&'static str, Value)> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    let choice = json!({"type": "auto", "disable_parallel_tool_use": false});
    let cached = json!({"type": "ephemeral", "ttl": "5m"});
    let items = json!([
        {"role": "system", "content": [{"type": "input_text", "text": "a"}]},
        {"role": "user", "content": "a"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a"}], "content": [{"type": "reasoning_text", "text": "a"}]},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "a"}]}]);
    let blocks = json!([
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": cached}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": ""},
            {"type": "tool_use", "id": "1", "name": "f", "input": {"a": "b"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": true,
            "content": [{"type": "text", "text": "a"}]}]}]);
    let format = json!({"type": "json_schema", "name": "x", "schema": schema});
    let output = json!({"format": {"type": "json_schema", "schema": schema}});
    let flat = json!([{"type": "function", "name": "f", "parameters": schema}]);
    let tools = json!([{"name": "f", "input_schema": schema}]);
    vec![
        (
            "/v1/responses",
            json!({"input": items, "tools": flat, "text": {"format": format},
            "max_output_tokens": 8, "reasoning": {"effort": "none", "summary": "auto"}}),
        ),
        (
            "/v1/messages",
            json!({"messages": blocks, "system": [{"type": "text", "text": "a"}], "tools": tools,
            "tool_choice": choice, "max_tokens": 8, "output_config": output, "thinking": {"type": "adaptive"}}),
        ),
    ]
}

/// The pointers to all values inside of one.
fn pointers(value: &Value, place: &str, found: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        _ => Vec::new(),
    };
    for (name, child) in children {
        let place = format!("{place}/{name}");
        pointers(child, &place, found);
        found.push(place);
    }
}

#[test]
fn no_value_breaks_a_conversation() {
    let server = crate::chat::start(Some(crate::chat::TEMPLATE));
    for (path, body) in conversations() {
        assert_eq!(server.post(path, &body).status, 200, "{}", server.post(path, &body).body);
        let mut found = Vec::new();
        pointers(&body, "", &mut found);
        assert!(found.len() > 30, "{path}: {}", found.len());
        for pointer in found {
            for value in values() {
                let mut body = body.clone();
                *body.pointer_mut(&pointer).unwrap() = value;
                check(&server, path, &body);
            }
        }
    }
    wait_until("all blocks are free", || server.engine.statistics().blocks_owned == 0);
}

#[test]
fn no_value_breaks_an_endpoint() {
    let server = start(Setup::default());
    let document = server.get("/openapi.json").json();
    let mut fields = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let body = &methods["post"]["requestBody"]["content"]["application/json"]["schema"];
        let Some(name) = body["$ref"].as_str().and_then(|name| name.rsplit('/').next()) else {
            continue;
        };
        for value in values() {
            check(&server, path, &value);
        }
        for field in
            document["components"]["schemas"][name]["properties"].as_object().unwrap().keys()
        {
            fields += 1;
            for value in values() {
                let mut body = right(path);
                body[field] = value;
                check(&server, path, &body);
            }
        }
    }
    assert!(fields > 40, "{fields}");
    assert_eq!(server.get("/health").status, 200);
    wait_until("all blocks are free", || server.engine.statistics().blocks_owned == 0);
}
