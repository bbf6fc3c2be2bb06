//! Objects are objects, integers are integers however they are written, and what is told of a number is short.

use serde_json::{Value, json};

use crate::chat::TEMPLATE;
use crate::common::{Answer, Server};

fn start() -> Server {
    crate::chat::start(Some(TEMPLATE))
}

fn refused(answer: &Answer, parameter: &str, words: &str) {
    assert_eq!(answer.status, 400, "{}", answer.body);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(message.contains(parameter) && message.contains(words), "{parameter}: {message}");
    assert!(message.len() < 200, "{message}");
}

/// Serde would read a struct from an array of its fields.
#[test]
fn no_array_stands_for_an_object() {
    let server = start();
    let user = json!([{"role": "user", "content": "a"}]);
    let chat = |field: &str, value: Value| {
        let mut body = json!({"messages": user, "max_tokens": 1});
        body[field] = value;
        ("/v1/chat/completions", body)
    };
    let text = |field: &str, value: Value| {
        let mut body = json!({"prompt": "a", "max_tokens": 1, "stream": true});
        body[field] = value;
        ("/v1/completions", body)
    };
    let respond = |field: &str, value: Value| {
        let mut body = json!({"input": "a", "stream": true});
        body[field] = value;
        ("/v1/responses", body)
    };
    let message = |field: &str, value: Value| {
        let mut body = json!({"messages": user, "max_tokens": 1});
        body[field] = value;
        ("/v1/messages", body)
    };
    let function = json!(["a", "what it does", {"type": "object"}, false]);
    let format = json!(["json_schema", {"name": "x", "schema": {}}]);
    let named = json!({"type": "json_schema", "json_schema": ["x", null, {}, true]});
    let call = json!({"role": "assistant", "tool_calls": [{"id": "1", "function": ["f", "{}"]}]});
    let part = json!({"role": "user", "content": [["text", "a", null, null, null, null]]});
    for ((path, body), parameter) in [
        (chat("tools", json!([["function", {"name": "a"}]])), "tools[0]"),
        (chat("tools", json!([{"type": "function", "function": function}])), "tools[0].function"),
        (chat("messages", json!([["user", "a"]])), "messages[0]"),
        (chat("messages", json!([part])), "messages[0].content[0]"),
        (chat("messages", json!([call])), "messages[0].tool_calls[0].function"),
        (chat("response_format", format), "response_format"),
        (chat("response_format", named), "response_format.json_schema"),
        (chat("stream_options", json!([true, false])), "stream_options"),
        (text("stream_options", json!([true, false])), "stream_options"),
        (text("structured_outputs", json!([{}, null, null, null, null])), "structured_outputs"),
        (respond("text", json!([null, "medium"])), "text"),
        (respond("reasoning", json!([null, null])), "reasoning"),
        (respond("stream_options", json!([false])), "stream_options"),
        (message("output_config", json!([null, null])), "output_config"),
        (message("messages", json!([["user", "a"]])), "messages[0]"),
    ] {
        refused(&server.post(path, &body), parameter, "sequence, expected an object");
    }
    for path in ["/v1/embeddings", "/tokenize", "/v1/messages/count_tokens", "/apply-template"] {
        refused(&server.post(path, &json!([null, "a"])), "", "sequence, expected an object");
    }
    let named = json!({"input": "a", "pooling": {"last": null}});
    refused(&server.post("/v1/embeddings", &named), "pooling", "map, expected a string");
}

#[test]
fn integers_may_be_written_as_floats() {
    let server = start();
    let body =
        json!({"prompt": [97.0, 98], "max_tokens": 3.0, "seed": -1.0, "n": 2.0, "temperature": 0});
    let answer = server.complete(body);
    assert_eq!(answer["usage"]["prompt_tokens"], 2);
    assert_eq!(answer["choices"].as_array().unwrap().len(), 2);
    let answer = server.post("/detokenize", &json!({"tokens": [97.0]}));
    assert_eq!(answer.json(), json!({"content": "a"}));
    for (field, value) in [("max_tokens", json!(2.5)), ("n", json!(-1.0)), ("seed", json!(1e300))] {
        let body = json!({"prompt": "a", field: value});
        refused(&server.post("/v1/completions", &body), field, "expected a whole number");
    }
}

#[test]
fn numbers_are_told_in_short() {
    let server = start();
    for field in ["temperature", "top_p", "frequency_penalty", "max_tokens", "stop", "stream"] {
        let body = json!({"prompt": "a", field: 1e308});
        refused(&server.post("/v1/completions", &body), field, "1e308");
    }
    let body = json!({"prompt": "a", "logit_bias": {"1": -1e308}});
    refused(&server.post("/v1/completions", &body), "logit_bias", "-1e308");
    let body = json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 1, "temperature": 1e308});
    refused(&server.post("/v1/messages", &body), "temperature", "1e308");
}
