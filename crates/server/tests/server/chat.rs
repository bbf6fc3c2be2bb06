//! `/v1/chat/completions`, before a model that says what it is told to.

use serde_json::{Value, json};
use stablemate_engine::testing::{Fake, FakeSettings};
use stablemate_engine::{EngineHandle, Plan};
use stablemate_server::{Conversation, Served};

use crate::common::{
    Answer, END, Server, Setup, VOCABULARY, served, start_with, tokenizer, wait_until,
};

/// Ends the prompt; what follows is the model's.
const ANSWER: &str = "\nANSWER:";

/// Calls in tags, reasoning that can be turned off, no system messages after the first.
pub const TEMPLATE: &str = "{% if tools %}TOOLS <tool_call> {% for tool in tools %}{{ tool.function.name }} {% endfor %}{% endif %}\
    {% for message in messages %}{% if message.role == 'system' and not loop.first %}\
    {{ raise_exception('a system message comes first') }}{% endif %}{{ message.role }}={{ message.content }}\
    {% for call in message.tool_calls or [] %}{{ call.function.name }}{{ call.function.arguments | tojson }}{% endfor %};{% endfor %}\
    {% if add_generation_prompt %}{{ '\nANSWER:' }}{% if enable_thinking is defined and not enable_thinking %}\
    {{ '<think>\n</think>' }}{% endif %}{% endif %}";

/// The last `say(…)` of the prompt, letter by letter.
pub fn next(tokens: &[u32]) -> u32 {
    // A character for every byte, since the last bytes may be no whole one.
    let text: String =
        tokens.iter().filter_map(|id| u8::try_from(*id).ok()).map(char::from).collect();
    let Some((prompt, said)) = text.rsplit_once(ANSWER) else { return END };
    let said = said.strip_prefix("<think>\n</think>").unwrap_or(said);
    let script = prompt.rsplit_once("say(").and_then(|(_, rest)| rest.rsplit_once(')'));
    let script = script.map_or("", |(script, _)| script);
    script.chars().nth(said.chars().count()).map_or(END, u32::from)
}

pub fn model(template: Option<&str>) -> Served {
    let settings = FakeSettings {
        vocabulary: VOCABULARY,
        context: 1000,
        step_tokens: 64,
        ..FakeSettings::default()
    };
    let plan =
        Plan { parallel: 4, blocks: 1000, slots: 0, queue: 64, prefix_cache: true, pace: 2.0 };
    let mut served = served(&Setup::default());
    served.engine = EngineHandle::start(Fake::scripted(settings, next), &plan).unwrap();
    if let Some(template) = template {
        served.conversation = Ok(Conversation::new(&tokenizer(), Some(template)).unwrap());
    }
    served
}

pub fn start(template: Option<&str>) -> Server {
    let served = model(template);
    let engine = served.engine.clone();
    let server = start_with(Setup::default().options, engine, move || Ok(served));
    wait_until("the server is ready", || server.get("/health").status == 200);
    server
}

/// A request to say something, with more fields.
fn say(text: &str, more: Value) -> Value {
    let mut body = json!({"temperature": 0, "messages": [{"role": "user", "content": format!("say({text})")}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn ask(server: &Server, body: &Value) -> Value {
    let answer = server.post("/v1/chat/completions", body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.body);
    answer.json()
}

fn tools() -> Value {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Bern", "Rome"]}},
        "required": ["city"], "additionalProperties": false});
    json!([{"type": "function", "function": {"name": "weather", "parameters": parameters, "strict": true}},
           {"type": "function", "function": {"name": "time", "description": "Now."}}])
}

pub const CALL: &str =
    "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Bern\"}}\n</tool_call>";

/// The data of a stream's chunks.
fn chunks(answer: &Answer) -> Vec<Value> {
    let events = answer.events();
    assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{}", answer.body);
    let data = &events[..events.len() - 1];
    data.iter().map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// The text of a delta's field over all chunks.
fn joined(chunks: &[Value], field: &str) -> String {
    let deltas = chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap());
    deltas.filter_map(|choice| choice["delta"][field].as_str()).collect()
}

#[test]
fn a_plain_answer() {
    let server = start(Some(TEMPLATE));
    let answer = ask(&server, &say("Hello, world", json!({"model": "abc"})));
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    let message = json!({"role": "assistant", "content": "Hello, world", "refusal": null});
    assert_eq!(choice["message"], message);
    assert_eq!((&choice["finish_reason"], &choice["logprobs"]), (&json!("stop"), &Value::Null));
    assert_eq!(answer["usage"]["completion_tokens"], 13);
    let short = ask(&server, &say("Hello", json!({"max_completion_tokens": 3})));
    assert_eq!(short["choices"][0]["message"]["content"], "Hel");
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    let stopped = ask(&server, &say("Hello", json!({"stop": "l", "n": 2})));
    assert_eq!(stopped["choices"][1]["message"]["content"], "He");
    assert_eq!(stopped["choices"][1]["stop_reason"], "l");
    let parts = json!({"temperature": 0, "messages": [{"role": "developer", "content": "Be."},
        {"role": "user", "content": [{"type": "text", "text": "say(a"}, {"type": "text", "text": "b)"}]}]});
    assert_eq!(ask(&server, &parts)["choices"][0]["message"]["content"], "a\nb");
}

#[test]
fn log_probabilities() {
    let server = start(Some(TEMPLATE));
    let more = json!({"logprobs": true, "top_logprobs": 2});
    let answer = ask(&server, &say("é!", more.clone()));
    let content = answer["choices"][0]["logprobs"]["content"].as_array().unwrap();
    assert_eq!(content[0]["bytes"], json!([0xC3]));
    assert_eq!(content[2]["token"], "!");
    assert_eq!(content[2]["top_logprobs"].as_array().unwrap().len(), 2);
    assert_eq!(content[2]["top_logprobs"][0]["token"], "!");
    let mut body = say("é!", more);
    body["stream"] = json!(true);
    let chunks = chunks(&server.post("/v1/chat/completions", &body));
    let streamed: Vec<&Value> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .collect();
    assert_eq!(streamed, content.iter().collect::<Vec<_>>());
}

#[test]
fn a_stream_has_a_beginning_and_an_end() {
    let server = start(Some(TEMPLATE));
    let more = json!({"stream": true, "n": 2, "stream_options": {"include_usage": true}});
    let chunks = chunks(&server.post("/v1/chat/completions", &say("Hi there", more)));
    for index in 0..2 {
        let of: Vec<&Value> = chunks
            .iter()
            .filter_map(|c| c["choices"].get(0))
            .filter(|c| c["index"] == index)
            .collect();
        assert_eq!(of[0]["delta"], json!({"role": "assistant", "content": ""}));
        let text: String = of.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hi there");
        let (last, before) = of.split_last().unwrap();
        assert_eq!((&last["finish_reason"], &last["delta"]), (&json!("stop"), &json!({})));
        assert!(before.iter().all(|choice| choice["finish_reason"].is_null()));
    }
    let (last, before) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 18);
    assert!(
        before
            .iter()
            .all(|chunk| chunk["usage"].is_null() && chunk["object"] == "chat.completion.chunk")
    );
}

#[test]
fn reasoning_is_apart() {
    let server = start(Some(TEMPLATE));
    let text = "<think>\nLet me see.\n</think>\n\nYes.";
    let answer = ask(&server, &say(text, json!({})));
    // `<think>`, a line end and the text, and what was held back as it might have been the end.
    let thought = answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64();
    assert!((19..=30).contains(&thought.unwrap()), "{answer}");
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&message["reasoning_content"], &message["content"]),
        (&json!("Let me see."), &json!("Yes."))
    );
    let streamed =
        chunks(&server.post("/v1/chat/completions", &say(text, json!({"stream": true}))));
    assert_eq!(joined(&streamed, "reasoning_content"), "Let me see.");
    assert_eq!(joined(&streamed, "content"), "Yes.");
    for off in [
        json!({"chat_template_kwargs": {"enable_thinking": false}}),
        json!({"reasoning_effort": "none"}),
    ] {
        let message = &ask(&server, &say("Yes.", off))["choices"][0]["message"];
        assert_eq!(message["content"], "Yes.");
        assert!(message.get("reasoning_content").is_none());
    }
}

#[test]
fn calls_are_made() {
    let server = start(Some(TEMPLATE));
    let answer = ask(&server, &say(&format!("I look.\n{CALL}"), json!({"tools": tools()})));
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], "I look.");
    let call = &choice["message"]["tool_calls"][0];
    assert!(call["id"].as_str().unwrap().starts_with("call_") && call["type"] == "function");
    assert_eq!(call["function"], json!({"name": "weather", "arguments": "{\"city\": \"Bern\"}"}));
    let body = say(&format!("{CALL}\n{CALL}"), json!({"tools": tools(), "stream": true}));
    let streamed = chunks(&server.post("/v1/chat/completions", &body));
    let pieces: Vec<&Value> =
        streamed.iter().filter_map(|c| c["choices"][0]["delta"]["tool_calls"].get(0)).collect();
    for index in 0..2 {
        let of: Vec<&&Value> = pieces.iter().filter(|piece| piece["index"] == index).collect();
        assert_eq!(of[0]["function"], json!({"name": "weather", "arguments": ""}));
        assert!(of[0]["id"].is_string() && of[0]["type"] == "function");
        let text: String = of.iter().filter_map(|p| p["function"]["arguments"].as_str()).collect();
        assert_eq!(text, "{\"city\": \"Bern\"}");
    }
    assert_eq!(joined(&streamed, "content"), "");
    assert_eq!(streamed.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    let quiet = ask(&server, &say(CALL, json!({"tools": tools(), "tool_choice": "none"})));
    assert_eq!(quiet["choices"][0]["message"]["content"], CALL);
    assert_eq!(quiet["choices"][0]["finish_reason"], "stop");
}

/// The model would rather say something else; the grammar does not let it.
#[test]
fn calls_and_forms_are_kept_to() {
    let server = start(Some(TEMPLATE));
    let wrong = "<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"city\": \"Rxx";
    let answer = ask(&server, &say(wrong, json!({"tools": tools(), "max_tokens": 90})));
    let arguments =
        answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"].as_str();
    assert!(arguments.unwrap().starts_with("{\"city\": \"Rome\""), "{answer}");
    let function = json!({"type": "function", "function": {"name": "time"}});
    for choice in [json!("required"), function] {
        let more = json!({"tools": tools(), "tool_choice": choice, "max_tokens": 200,
            "chat_template_kwargs": {"enable_thinking": false}});
        let answer = ask(&server, &say("Hello", more));
        assert!(
            answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"].is_string(),
            "{answer}"
        );
    }
    let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
        "additionalProperties": false});
    let format = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    for text in ["{\"a\": true}", "<think>\nHm {\n</think>\n\n{\"a\": true}"] {
        let answer = ask(&server, &say(text, json!({"response_format": format})));
        assert_eq!(answer["choices"][0]["message"]["content"], "{\"a\": true}", "{answer}");
    }
}

#[test]
fn conversations_go_on() {
    let server = start(Some(TEMPLATE));
    let body = json!({"temperature": 0, "tools": tools(), "messages": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Bern\"}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "say(Sunny.)"}]});
    assert_eq!(ask(&server, &body)["choices"][0]["message"]["content"], "Sunny.");
    let body = json!({"temperature": 0, "continue_final_message": true, "add_generation_prompt": false, "max_tokens": 5,
        "messages": [{"role": "user", "content": "say(Once)"}, {"role": "assistant", "content": "\nANSWER:On"}]});
    assert_eq!(ask(&server, &body)["choices"][0]["message"]["content"], "ce");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let server = start(Some(TEMPLATE));
    let user = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let bad_tool = json!([{"type": "function", "function": {"name": "f", "parameters":
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=x)"}}}, "strict": true}}]);
    let bad_format = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "other.json"}}});
    let cases = [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        (json!({"messages": [{"role": "wizard", "content": ""}]}), "messages[0].role"),
        (json!({"messages": [{"role": "user", "content": "", "mood": 1}]}), "messages[0].mood"),
        (
            user(json!([{"type": "image_url", "image_url": {"url": "x"}}])),
            "messages[0].content[0].type",
        ),
        (user(json!([{"type": "text"}])), "messages[0].content[0].text"),
        (
            user(json!([{"type": "text", "text": "a", "image_url": 5}])),
            "messages[0].content[0].image_url",
        ),
        (user(json!(7)), "messages[0].content"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), "messages[0].tool_call_id"),
        (
            json!({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}),
            "messages",
        ),
        (say("a", json!({"functions": [{}]})), "functions"),
        (say("a", json!({"modalities": ["audio"]})), "modalities"),
        (say("a", json!({"top_logprobs": 2})), "top_logprobs"),
        (say("a", json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs"),
        (say("a", json!({"max_completion_tokens": -2})), "max_completion_tokens"),
        (say("a", json!({"reasoning_effort": "huge"})), "reasoning_effort"),
        (say("a", json!({"chat_template_kwargs": {"mood": 1}})), "chat_template_kwargs.mood"),
        (
            say("a", json!({"chat_template_kwargs": {"messages": 3}})),
            "chat_template_kwargs.messages",
        ),
        (say("a", json!({"tool_choice": "sometimes"})), "tool_choice"),
        (say("a", json!({"tool_choice": "required"})), "tool_choice"),
        (say("a", json!({"tools": bad_tool})), "tools[0].function.parameters/properties/a"),
        (
            say("a", json!({"response_format": {"type": "json_schema"}})),
            "response_format.json_schema",
        ),
        (say("a", json!({"response_format": bad_format})), "response_format.json_schema.schema"),
        (say("a", json!({"response_format": {"type": "xml"}})), "response_format.type"),
        (say(&"a".repeat(2000), json!({})), "messages"),
        (say("a", json!({"stream_options": {"include_usage": true}})), "stream_options"),
    ];
    for (body, parameter) in cases {
        let answer = server.post("/v1/chat/completions", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.error()["param"], parameter, "{body}: {}", answer.body);
    }
}

#[test]
fn the_prompt_can_be_looked_at() {
    let server = start(Some(TEMPLATE));
    let ask = |body: Value| server.post("/apply-template", &body);
    let messages = json!([{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi"}]);
    let answer = ask(json!({"messages": messages})).json();
    assert_eq!(answer, json!({"prompt": "system=Be.;user=Hi;\nANSWER:"}));
    let more = json!({"messages": messages, "tools": tools(), "model": "abc",
        "chat_template_kwargs": {"enable_thinking": false}});
    let prompt = ask(more).json()["prompt"].as_str().unwrap().to_owned();
    assert!(prompt.starts_with("TOOLS <tool_call> weather time "), "{prompt}");
    assert!(prompt.ends_with("\nANSWER:<think>\n</think>"), "{prompt}");
    let begun = json!({"messages": [{"role": "assistant", "content": "On"}], "continue_final_message": true});
    assert_eq!(ask(begun).json(), json!({"prompt": "assistant=On"}));
    for (body, parameter) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": messages, "typo": 1}), "typo"),
        (json!({"messages": messages, "chat_template_kwargs": {"x": 1}}), "chat_template_kwargs.x"),
    ] {
        assert_eq!(ask(body).error()["param"], parameter);
    }
    let unknown = ask(json!({"messages": messages, "model": "other"}));
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    assert_eq!(
        start(None).post("/apply-template", &json!({"messages": messages})).error()["code"],
        "no_chat_template"
    );
}

/// The name that was asked for; else the alias, for it was given for this.
#[test]
fn answers_name_the_model_as_the_request_did() {
    let server = start(Some(TEMPLATE));
    let message = json!([{"role": "user", "content": "say(a)"}]);
    for (path, body) in [
        ("/v1/chat/completions", json!({"messages": message})),
        ("/v1/completions", json!({"prompt": "a"})),
        ("/v1/responses", json!({"input": "a"})),
        ("/v1/messages", json!({"messages": message, "max_tokens": 5})),
        ("/v1/embeddings", json!({"input": "a"})),
    ] {
        for (asked, told) in
            [(Some("org/alphabet"), "org/alphabet"), (Some("abc"), "abc"), (None, "abc")]
        {
            let mut body = body.clone();
            body["model"] = json!(asked);
            let answer = server.post(path, &body);
            assert_eq!(answer.json()["model"], told, "{path} {asked:?}: {}", answer.body);
        }
    }
}

#[test]
fn models_without_a_template_cannot_chat() {
    let server = start(None);
    let answer = server.post("/v1/chat/completions", &say("a", json!({})));
    assert_eq!((answer.status, &answer.error()["code"]), (400, &json!("no_chat_template")));
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
    served.engine = EngineHandle::start(Fake::scripted(settings, next), &plan).unwrap();
    let engine = served.engine.clone();
    let server = start_with(Setup::default().options, engine, move || Ok(served));
    wait_until("the server is ready", || server.get("/health").status == 200);
    let answer =
        server.post("/v1/chat/completions", &say("A long answer", json!({"stream": true})));
    let events = answer.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert!(last["error"]["message"].is_string(), "{}", answer.body);
    assert!(!events.iter().any(|event| event == "[DONE]"));
}
