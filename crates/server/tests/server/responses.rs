//! `/v1/responses`, before a model that says what it is told to.

use serde_json::{Value, json};

use crate::chat::{CALL, TEMPLATE, start};
use crate::common::{Answer, Server};

fn say(text: &str, more: Value) -> Value {
    let mut body = json!({"temperature": 0, "input": format!("say({text})")});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn ask(server: &Server, body: &Value) -> Value {
    let answer = server.post("/v1/responses", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}},
        "required": ["city"], "additionalProperties": false});
    json!([{"type": "function", "name": "weather", "parameters": parameters, "strict": true},
           {"type": "function", "name": "time", "description": "Now."}])
}

/// The events of a stream, whose names and numbers are checked.
fn events(answer: &Answer) -> Vec<Value> {
    let event = |(number, event): (usize, &str)| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(Some(name.strip_prefix("event: ").unwrap()), data["type"].as_str());
        assert_eq!(data["sequence_number"], number, "{data}");
        data
    };
    let events = answer.body.split_terminator("\n\n").filter(|event| !event.starts_with(':'));
    events.enumerate().map(event).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = events.iter().filter_map(|e| e["type"].as_str()).collect();
    kinds.dedup();
    kinds
}

/// An item without the parts that are new each time.
fn plain(mut item: Value) -> Value {
    let fields = item.as_object_mut().unwrap();
    assert!(fields.shift_remove("id").unwrap().is_string());
    fields.shift_remove("call_id");
    item
}

#[test]
fn a_plain_answer() {
    let server = start(Some(TEMPLATE));
    let answer =
        ask(&server, &say("Hello", json!({"model": "abc", "metadata": {"a": "b"}, "top_p": 0.5})));
    assert_eq!((&answer["object"], &answer["status"]), (&json!("response"), &json!("completed")));
    assert!(answer["id"].as_str().unwrap().starts_with("resp_"));
    let text = json!({"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []});
    assert_eq!(answer["output"].as_array().unwrap().len(), 1);
    assert_eq!(
        plain(answer["output"][0].clone()),
        json!({"type": "message", "role": "assistant", "status": "completed", "content": [text]})
    );
    assert_eq!((&answer["model"], &answer["metadata"]), (&json!("abc"), &json!({"a": "b"})));
    assert_eq!((&answer["temperature"], &answer["top_p"]), (&json!(0.0), &json!(0.5)));
    assert_eq!((&answer["tool_choice"], &answer["tools"]), (&json!("auto"), &json!([])));
    assert_eq!(answer["text"]["format"], json!({"type": "text"}));
    let usage = &answer["usage"];
    assert_eq!(
        (&usage["output_tokens"], &usage["total_tokens"]),
        (&json!(6), &json!(6 + usage["input_tokens"].as_u64().unwrap()))
    );
    let short = ask(&server, &say("Hello", json!({"max_output_tokens": 3})));
    assert_eq!(short["status"], "incomplete");
    assert_eq!(short["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(short["output"][0]["status"], "incomplete");
    assert_eq!(short["output"][0]["content"][0]["text"], "Hel");
    let again = ask(&server, &say("Hello", json!({})));
    assert!(again["usage"]["input_tokens_details"]["cached_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn a_stream_tells_what_the_whole_answer_says() {
    let server = start(Some(TEMPLATE));
    let text = format!("<think>\nLet me see.\n</think>\n\nI look.\n{CALL}");
    let whole = ask(&server, &say(&text, json!({"tools": tools()})));
    let items: Vec<Value> =
        whole["output"].as_array().unwrap().iter().cloned().map(plain).collect();
    let thought = json!([{"type": "reasoning_text", "text": "Let me see."}]);
    assert_eq!(
        items[0],
        json!({"type": "reasoning", "summary": [], "content": thought, "status": "completed"})
    );
    assert_eq!(items[1]["content"][0]["text"], "I look.");
    assert_eq!(
        items[2],
        json!({"type": "function_call", "name": "weather", "arguments": "{\"city\": \"Bern\"}", "status": "completed"})
    );
    assert_eq!(whole["tools"][1]["parameters"], Value::Null);
    // `<think>`, a line end and the text are in any case.
    let thinking = whole["usage"]["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!((19..=30).contains(&thinking), "{thinking}");

    let streamed =
        server.post("/v1/responses", &say(&text, json!({"tools": tools(), "stream": true})));
    let events = events(&streamed);
    let part = |kind: &'static str, text: &'static str| {
        [
            "response.output_item.added",
            "response.content_part.added",
            kind,
            text,
            "response.content_part.done",
            "response.output_item.done",
        ]
    };
    let mut expected = vec!["response.created", "response.in_progress"];
    expected.extend(part("response.reasoning_text.delta", "response.reasoning_text.done"));
    expected.extend(part("response.output_text.delta", "response.output_text.done"));
    expected.extend([
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]);
    assert_eq!(kinds(&events), expected);
    let deltas = |index: u64| -> String {
        let of = events.iter().filter(|event| event["output_index"] == index);
        of.filter_map(|event| event["delta"].as_str()).collect()
    };
    assert_eq!(deltas(0), "Let me see.");
    assert_eq!(deltas(1), "I look.");
    assert_eq!(deltas(2), "{\"city\": \"Bern\"}");
    let last = &events.last().unwrap()["response"];
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(events[0]["response"]["id"], last["id"]);
    let streamed: Vec<Value> =
        last["output"].as_array().unwrap().iter().cloned().map(plain).collect();
    assert_eq!(streamed, items);
    for event in &events {
        if let (Some(id), Some(index)) = (event["item_id"].as_str(), event["output_index"].as_u64())
        {
            assert_eq!(last["output"][index as usize]["id"], id);
        }
    }
}

#[test]
fn streams_that_do_not_complete() {
    let server = start(Some(TEMPLATE));
    let body = say("Hello", json!({"stream": true, "max_output_tokens": 2}));
    let events = events(&server.post("/v1/responses", &body));
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "He");
    assert_eq!(last["response"]["usage"]["output_tokens"], 2);
}

#[test]
fn conversations_go_on() {
    let server = start(Some(TEMPLATE));
    let input = json!([
        {"role": "developer", "content": [{"type": "input_text", "text": "Be."}]},
        {"type": "message", "role": "user", "content": "Weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}], "encrypted_content": null},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{\"city\":\"Bern\"}"},
        {"type": "function_call_output", "call_id": "call_1", "output": [{"type": "input_text", "text": "say(Sunny.)"}]}]);
    let body = json!({"temperature": 0, "tools": tools(), "instructions": "You.", "input": input});
    let answer = ask(&server, &body);
    assert_eq!(answer["output"][0]["content"][0]["text"], "Sunny.");
    assert_eq!(answer["instructions"], "You.");
    // The template would refuse a system message that is not the first.
    let usage = ask(&server, &body)["usage"]["input_tokens"].as_u64().unwrap();
    let shown = "TOOLS <tool_call> weather time system=You.\nBe.;user=Weather?;\
        assistant=I look.weather{\"city\": \"Bern\"};tool=say(Sunny.);\nANSWER:";
    assert!(usage.abs_diff(shown.len() as u64) <= 1, "{usage} {}", shown.len());
    let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
        "additionalProperties": false});
    let format = json!({"type": "json_schema", "name": "x", "schema": schema});
    let more = json!({"text": {"format": format}, "reasoning": {"effort": "none"}});
    let answer = ask(&server, &say("{\"a\": true}", more));
    assert_eq!(answer["output"][0]["content"][0]["text"], "{\"a\": true}");
    assert_eq!(answer["text"]["format"]["schema"], schema);
    let more = json!({"tools": tools(), "tool_choice": {"type": "function", "name": "time"},
        "max_output_tokens": 200, "reasoning": {"effort": "none"}});
    let answer = ask(&server, &say("Hello", more));
    assert_eq!(answer["output"][0]["name"], "time", "{answer}");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let server = start(Some(TEMPLATE));
    let items = |items: Value| json!({"input": items});
    let one = |item: Value| json!({"input": [item]});
    let schema =
        json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}});
    let bad_tool = json!([{"type": "function", "name": "f", "parameters": schema, "strict": true}]);
    let bad_format =
        json!({"format": {"type": "json_schema", "name": "x", "schema": {"$ref": "other.json"}}});
    let call = |arguments: &str| json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": arguments});
    let cases = [
        (json!({}), "input"),
        (items(json!([])), "input"),
        (items(json!(7)), "input"),
        (items(json!([7])), "input[0]"),
        (one(json!({"role": "wizard", "content": ""})), "input[0].role"),
        (one(json!({"role": "user"})), "input[0].content"),
        (one(json!({"role": "user", "content": "", "mood": 1})), "input[0].mood"),
        (
            one(json!({"role": "user", "content": [{"type": "input_image"}]})),
            "input[0].content[0].type",
        ),
        (
            one(json!({"role": "user", "content": [{"type": "input_text"}]})),
            "input[0].content[0].text",
        ),
        (one(json!({"type": "item_reference", "id": "x"})), "input[0].id"),
        (one(call("[1]")), "input[0].arguments"),
        (
            items(json!([{"role": "user", "content": "a"}, {"role": "system", "content": "b"}])),
            "input",
        ),
        (say("a", json!({"background": true})), "background"),
        (say("a", json!({"previous_response_id": "resp_1"})), "previous_response_id"),
        (say("a", json!({"conversation": "conv_1"})), "conversation"),
        (say("a", json!({"truncation": "half"})), "truncation"),
        (say("a", json!({"include": ["message.output_text.logprobs"]})), "include[0]"),
        (say("a", json!({"top_logprobs": 1})), "top_logprobs"),
        (say("a", json!({"max_tokens": 5})), "max_tokens"),
        (say("a", json!({"max_output_tokens": 0})), "max_output_tokens"),
        (say("a", json!({"n": 2})), "n"),
        (say("a", json!({"messages": []})), "messages"),
        (say("a", json!({"reasoning": {"effort": "huge"}})), "reasoning.effort"),
        (say("a", json!({"text": {"format": {"type": "xml"}}})), "text.format.type"),
        (
            say("a", json!({"text": {"format": {"type": "json_schema", "schema": {}}}})),
            "text.format.name",
        ),
        (say("a", json!({"text": bad_format})), "text.format.schema"),
        (say("a", json!({"tools": [{"type": "odd"}]})), "tools[0].type"),
        (say("a", json!({"tools": bad_tool})), "tools[0].parameters/properties/a"),
        (say("a", json!({"tool_choice": "required"})), "tool_choice"),
        (say("a", json!({"tool_choice": {"type": "file_search"}})), "tool_choice"),
        (say("a", json!({"stream_options": {}})), "stream_options"),
        (say("a", json!({"metadata": {"a": 1}})), "metadata.a"),
        (say(&"a".repeat(2000), json!({})), "input"),
    ];
    for (body, parameter) in cases {
        let answer = server.post("/v1/responses", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.error()["param"], parameter, "{body}: {}", answer.body);
        let message = answer.error()["message"].as_str().unwrap().to_owned();
        assert!(!message.contains("messages["), "{message}");
    }
    let other = server.post("/v1/responses", &say("a", json!({"model": "gpt-4"})));
    assert_eq!((other.status, &other.error()["param"]), (404, &json!("model")));
}
